"""Curves and node models: shape, inverse, and which constants apply to which GPU."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattline_scheduler.power.demand import models
from wattline_scheduler.power.demand.models import FITTED, Curve, Phase

PHASES: tuple[Phase, ...] = ("training_hot", "training_light", "prefill", "decode")
CLASSES = ("h200", "b200", "a100", "v100", "a40", "rtx6000")
CURVES = [FITTED.curve_of(gpu, phase).curve for gpu in CLASSES for phase in PHASES]

curves = st.sampled_from(CURVES)
watts = st.floats(10.0, 1200.0)
steepness = st.floats(0.25, 4.0)


@given(curves, watts, steepness)
def test_nothing_is_lost_from_the_demand_upwards(c: Curve, demand_w: float, s: float) -> None:
    assert c.performance(demand_w, demand_w, s) == 1.0
    assert c.performance(demand_w * 2, demand_w, s) == 1.0
    assert c.performance(np.nextafter(demand_w, 0.0), demand_w, s) == pytest.approx(1.0)


@given(curves, watts, st.floats(0.0, 1.0), st.floats(0.0, 1.0), steepness)
def test_more_watts_never_make_a_job_slower(
    c: Curve, demand_w: float, x: float, y: float, s: float
) -> None:
    low, high = sorted((x, y))
    below, above = (c.performance(share * demand_w, demand_w, s) for share in (low, high))
    assert 0.0 <= below <= above <= 1.0


@given(curves, watts, st.floats(0.01, 1.0), steepness)
def test_the_cap_for_a_performance_keeps_just_that(
    c: Curve, demand_w: float, performance: float, s: float
) -> None:
    cap_w = c.cap_for(performance, demand_w, s)
    assert 0.0 <= cap_w <= demand_w * (1 + 1e-9)
    assert c.performance(cap_w, demand_w, s) == pytest.approx(performance, rel=1e-6)
    share = float(models.share_for(performance ** (1.0 / s), c.bend, c.order))
    assert share * demand_w == pytest.approx(cap_w), "also over arrays"


@given(curves, watts, steepness)
def test_the_slope_is_that_just_below_the_demand(c: Curve, demand_w: float, s: float) -> None:
    step = 1e-6
    fall = 1.0 - c.performance(demand_w * (1.0 - step), demand_w, s)
    assert fall / step == pytest.approx(c.slope_at_demand * s, rel=1e-3, abs=1e-6)


@given(curves, st.lists(st.tuples(watts, watts), min_size=1, max_size=20))
def test_arrays_and_scalars_agree(c: Curve, pairs: list[tuple[float, float]]) -> None:
    caps, demands = np.array(pairs).T
    expected = [c.performance(cap, demand) for cap, demand in pairs]
    assert c.performance_of(caps, demands) == pytest.approx(expected)


def test_arrays_take_a_gpu_without_demand() -> None:
    assert CURVES[0].performance_of([100.0, 0.0], [0.0, 300.0]).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("c", CURVES)
def test_below_the_knee_a_result_costs_more_energy(c: Curve) -> None:
    knee = c.knee_permille / 1000
    shares = np.linspace(knee, 1.0, 50)
    energy = shares / c.performance_of(shares, 1.0)
    assert (np.diff(energy) > -1e-4).all()
    assert 0.3 < knee < 0.9


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("NVIDIA H100 80GB HBM3", "h200"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA B200", "b200"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("Tesla V100-SXM2-16GB", "v100"),
        ("NVIDIA A40", "a40"),
        ("NVIDIA L40S", "a40"),
        ("NVIDIA RTX A6000", "a40"),
        ("NVIDIA RTX 6000 Ada Generation", "a40"),
        ("Quadro RTX 6000", "rtx6000"),
        ("Tesla T4", "rtx6000"),
        ("a GPU of the future", "h200"),
    ],
)
def test_the_class_of_a_gpu(name: str, known: str) -> None:
    assert models.gpu_class(name) == known
    for phase in PHASES:
        assert models.curve(name, phase) == FITTED.curve_of(known, phase).curve


def test_every_class_has_a_curve_that_was_measured_or_says_what_stands_in() -> None:
    measured = {(fit.gpu, fit.phase) for fit in FITTED.curve}
    stands_in = {(near.gpu, near.phase): near.why for near in FITTED.nearest}
    assert not measured & set(stands_in)
    assert {(gpu, phase) for gpu in CLASSES for phase in PHASES} == measured | set(stands_in)
    assert all(stands_in.values())


def test_an_unknown_class_is_an_error() -> None:
    with pytest.raises(KeyError, match="no fitted curve for abacus decode"):
        FITTED.curve_of("abacus", "decode")


def test_hot_is_four_fifths_of_the_maximum_cap() -> None:
    assert models.training_phase(560_000, 700_000) == "training_hot"
    assert models.training_phase(559_999, 700_000) == "training_light"


def test_the_node_model_is_within_five_percent_of_every_second() -> None:
    model = models.node_model("NVIDIA H200")
    assert model.mape_pct is not None
    assert model.mape_pct <= 5.0
    assert model.mape_unseen_pct is not None
    assert model.mape_unseen_pct <= 5.0


def test_node_power_is_what_was_measured() -> None:
    model = models.node_model("NVIDIA H200")
    at_350_w, at_500_w = models.node_power(model, [8 * 350.0, 8 * 500.0])
    assert at_350_w == pytest.approx(4_817, rel=0.03)  # mean of the runs at each limit
    assert at_500_w == pytest.approx(6_116, rel=0.03)
    idle_w = models.node_power(model, 8 * 75.0, cpu_busy=0.0)
    assert idle_w == pytest.approx(model.idle_wall_w, rel=0.001)


def test_cards_share_the_pcie_server() -> None:
    assert models.node_model("NVIDIA A40").gpu == "pcie"
    assert models.node_model("NVIDIA B200").gpu == "h200"
