"""What a job is kept at: the knee of its curve, what it asks for, and what placement books."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.core.sites import gpu, job
from wattline_protocol.wire.agent_messages import GpuInfo
from wattline_scheduler.power.demand.node_load import busy_gpu, gpu_admission_mw
from wattline_scheduler.power.demand.useful_cap import (
    Need,
    admission_cap_mw,
    curve_of,
    job_caps,
    need_of,
)

W = 1000
H100 = gpu(0, overshoot_permille=1_000)
NAMES = ("NVIDIA H100", "NVIDIA A100", "Tesla V100", "NVIDIA A40", "Quadro RTX 6000", "unheard of")

gpus = st.sampled_from([gpu(0, name=name, overshoot_permille=1_030) for name in NAMES])
demands = st.integers(200 * W, 700 * W)
needs = st.builds(
    Need,
    watts_hint_mw=st.sampled_from((0, 150 * W, 300 * W, 700 * W)),
    min_performance_permille=st.integers(0, 1_000),
    is_service=st.booleans(),
)
steepnesses = st.floats(0.25, 4.0)


def test_a_job_says_what_it_needs() -> None:
    spec = job().kind("service").watts_per_gpu(450).min_performance(0.85).build()
    assert need_of(spec) == Need(450 * W, 850, is_service=True)
    assert need_of(job().build()) == Need()


def test_a_hot_job_is_kept_at_its_knee() -> None:
    v100 = gpu(0, name="Tesla V100", cap_min_mw=100 * W, cap_max_mw=300 * W)
    assert job_caps(v100, 300 * W, Need()).useful_mw == pytest.approx(0.547 * 300 * W, rel=0.01)
    assert job_caps(H100, 600 * W, Need()).useful_mw == 300 * W


def test_a_light_job_is_kept_by_its_own_draw_not_by_the_maximum() -> None:
    assert job_caps(H100, 300 * W, Need()).useful_mw == 150 * W


@given(gpus, demands, st.integers(1, 999), st.booleans(), steepnesses)
def test_a_job_has_the_performance_it_asked_for(
    g: GpuInfo, demand_mw: int, permille: int, is_service: bool, steepness: float
) -> None:
    need = Need(min_performance_permille=permille, is_service=is_service)
    curve = curve_of(g, demand_mw, need)
    for cap_mw in job_caps(g, demand_mw, need, steepness):
        assert curve.performance(cap_mw / W, demand_mw / W, steepness) >= permille / 1000 - 1e-6


@given(gpus, demands, needs, steepnesses)
def test_a_load_is_in_order(g: GpuInfo, demand_mw: int, need: Need, steepness: float) -> None:
    load = busy_gpu(g, demand_mw, 50, need, steepness)
    goals = (load.floor_mw, load.asked_mw, load.useful_mw, load.target_mw, load.ceiling_mw)
    assert list(goals) == sorted(goals)
    assert load.gain >= 0.0


@given(gpus, demands, needs)
def test_placement_books_no_less_than_the_job_is_kept_at(
    g: GpuInfo, demand_mw: int, need: Need
) -> None:
    """Also where the job draws more than its user said: it is capped, and others keep theirs."""
    assert busy_gpu(g, demand_mw, 50, need).useful_mw <= gpu_admission_mw(g, need)


def test_who_asks_for_little_has_no_more_than_that_before_others() -> None:
    """The knee is what makes sense, not what was asked for: only the latter precedes priorities."""
    little, nothing = (
        busy_gpu(H100, 600 * W, 50, Need(min_performance_permille=permille))
        for permille in (600, 0)
    )
    assert little.floor_mw < little.asked_mw < little.useful_mw == nothing.useful_mw == 300 * W
    assert nothing.asked_mw == nothing.floor_mw


def test_never_capped_is_kept_at_the_maximum() -> None:
    need = Need(watts_hint_mw=300 * W, min_performance_permille=1_000)
    load = busy_gpu(H100, 250 * W, 50, need)
    assert load.asked_mw == load.useful_mw == load.target_mw == 700 * W
    assert admission_cap_mw(H100, need) == 700 * W


def test_a_gpu_that_cannot_be_capped_is_kept_in_full() -> None:
    load = busy_gpu(gpu(0, can_cap=False, overshoot_permille=1_000), 300 * W, 50)
    assert load.floor_mw == load.useful_mw == load.target_mw == 700 * W


def test_a_steeper_job_asks_for_a_higher_cap() -> None:
    need = Need(min_performance_permille=900)
    caps = [job_caps(H100, 600 * W, need, steepness).useful_mw for steepness in (0.5, 1.0, 2.0)]
    assert caps == sorted(set(caps))


def test_gain_orders_by_what_a_watt_does() -> None:
    small, large = (busy_gpu(H100, watts * W, 50, is_bound=True) for watts in (300, 600))
    assert small.gain > large.gain > 0
    steep = busy_gpu(H100, 600 * W, 50, steepness=2.0, is_bound=True)
    assert steep.gain == pytest.approx(2 * large.gain)


def test_more_watts_are_of_use_only_where_a_cap_binds() -> None:
    assert busy_gpu(H100, 300 * W, 50).gain == 0.0
