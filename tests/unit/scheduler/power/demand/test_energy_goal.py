"""`power.goal = "efficiency"`: the cap with the least energy per result, and no more."""

from math import inf

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from support.core.sites import gpu
from wattline_protocol.wire.agent_messages import GpuInfo
from wattline_scheduler.power.demand.energy_goal import (
    BEGIN_S,
    EVERY_S,
    MEASURE_S,
    efficient_cap_mw,
    is_measuring,
)
from wattline_scheduler.power.demand.models import Curve
from wattline_scheduler.power.demand.node_load import GpuLoad, busy_gpu
from wattline_scheduler.power.demand.useful_cap import Need, curve_of

W = 1000
H100 = gpu(0, overshoot_permille=1_000)
NAMES = ("NVIDIA H100", "NVIDIA A100", "Tesla V100", "NVIDIA A40", "Quadro RTX 6000")
gpus = st.sampled_from([gpu(0, name=name, overshoot_permille=1_030) for name in NAMES])
demands = st.integers(200 * W, 700 * W)
hosts = st.integers(0, 400 * W)
steepnesses = st.floats(0.25, 4.0)


def joules(curve: Curve, cap_w: float, demand_w: float, host_w: float, steepness: float) -> float:
    """Energy of a result that takes a second uncapped."""
    performance = curve.performance(cap_w, demand_w, steepness)
    return (min(cap_w, demand_w) + host_w) / performance if performance > 0 else inf


@given(gpus, demands, hosts, steepnesses, st.floats(0.01, 1.0))
def test_no_other_cap_needs_less_energy_for_a_result(
    g: GpuInfo, demand_mw: int, host_mw: int, steepness: float, other: float
) -> None:
    curve = curve_of(g, demand_mw, Need())
    assume(other >= curve.knee_permille / 1000)
    demand_w, host_w = demand_mw / W, host_mw / W
    cap_w = curve.efficient_cap(demand_w, host_w, steepness)
    assert curve.knee_permille / 1000 - 1e-9 <= cap_w / demand_w <= 1
    best = joules(curve, cap_w, demand_w, host_w, steepness)
    assert best <= joules(curve, other * demand_w, demand_w, host_w, steepness) * (1 + 1e-6)


@given(gpus, demands, hosts, hosts)
def test_the_more_a_host_draws_the_higher_the_cap(
    g: GpuInfo, demand_mw: int, one_mw: int, other_mw: int
) -> None:
    low, high = sorted((one_mw, other_mw))
    lower, higher = (efficient_cap_mw(g, demand_mw, Need(), mw) for mw in (low, high))
    assert lower <= higher + 1


def test_an_h100_of_a_fitted_server() -> None:
    """x = sqrt(bend x host share), for its curve has order 1."""
    cap_w = efficient_cap_mw(H100, 700 * W, Need(), 259 * W) / W
    assert cap_w == pytest.approx(700 * (0.987 * 259 / 700) ** 0.5, rel=1e-3)


def goals(load: GpuLoad) -> tuple[int, ...]:
    return (load.floor_mw, load.asked_mw, load.useful_mw, load.target_mw, load.ceiling_mw)


@given(gpus, demands, st.integers(0, 1_000), hosts, steepnesses)
def test_it_has_what_it_asked_for_and_no_more_than_its_goal(
    g: GpuInfo, demand_mw: int, permille: int, host_mw: int, steepness: float
) -> None:
    need = Need(min_performance_permille=permille)
    plain = busy_gpu(g, demand_mw, 50, need, steepness)
    load = busy_gpu(g, demand_mw, 50, need, steepness, is_bound=True, host_mw=host_mw)
    assert list(goals(load)) == sorted(goals(load))
    assert goals(load)[:3] == goals(plain)[:3]
    assert load.target_mw <= plain.target_mw
    if permille < 1_000:
        assert (load.ceiling_mw, load.gain) == (load.target_mw, 0.0)
    else:
        assert goals(load) == goals(plain)


def test_it_is_measured_while_it_begins_and_for_a_while_of_each_hour() -> None:
    assert is_measuring(0.0)
    assert is_measuring(BEGIN_S - 1)
    assert not is_measuring(BEGIN_S)
    assert not is_measuring(EVERY_S - 1)
    assert is_measuring(EVERY_S)
    assert not is_measuring(EVERY_S + MEASURE_S)
