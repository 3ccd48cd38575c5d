"""A GPU with any holders: it counts once, keeps no more than was found for it, adds up exactly."""

from hypothesis import given
from hypothesis import strategies as st

from support.core.sites import gpu
from support.node.parts import order, ref
from wattline_agent.core.power.gpus import Step
from wattline_agent.core.tasks.attempt import Attempt, Launched
from wattline_agent.core.tasks.usage import divided
from wattline_scheduler.power.demand.node_load import busy_gpu, gpu_admission_mw, most_demanding
from wattline_scheduler.power.demand.useful_cap import Need

W = 1000
needs = st.builds(
    Need,
    watts_hint_mw=st.one_of(st.just(0), st.integers(50, 900).map(lambda w: w * W)),
    min_performance_permille=st.one_of(st.just(0), st.integers(1, 1000)),
    is_service=st.booleans(),
)
holders = st.lists(st.tuples(needs, st.integers(0, 100)), min_size=1, max_size=5)


@given(holders, st.integers(200, 700), st.booleans())
def test_the_views_of_all_holders_make_one_load(
    held: list[tuple[Need, int]], demand_w: int, is_bound: bool
) -> None:
    one = gpu(0)
    views = [
        busy_gpu(one, demand_w * W, priority, need, is_bound=is_bound) for need, priority in held
    ]
    load = most_demanding(views)
    assert load.floor_mw <= load.asked_mw <= load.useful_mw <= load.target_mw <= load.ceiling_mw
    assert load.priority == max(priority for _, priority in held)
    assert all(load.useful_mw >= v.useful_mw and load.asked_mw >= v.asked_mw for v in views)
    assert load.useful_mw <= max(gpu_admission_mw(one, need) for need, _ in held)
    assert most_demanding([load]) == load


@given(holders, needs)
def test_one_more_holder_never_needs_more_than_it_would_alone(
    held: list[tuple[Need, int]], new: Need
) -> None:
    """What the planner looks for is enough, and is what is booked afterwards."""
    one = gpu(0)
    before_mw = max(gpu_admission_mw(one, need) for need, _ in held)
    after_mw = max(before_mw, gpu_admission_mw(one, new))
    assert after_mw - before_mw <= gpu_admission_mw(one, new) - one.idle_mw


@given(
    st.lists(st.tuples(st.integers(1, 1000), st.integers(0, 100)), min_size=1, max_size=6),
    st.integers(0, 10**9),
)
def test_what_is_booked_of_a_gpu_adds_up(parts: list[tuple[int, int]], energy_mj: int) -> None:
    attempts = [
        Attempt(order(ref(job=n), 0, gpu_share_permille=share), Launched())
        for n, (share, _) in enumerate(parts, 1)
    ]
    use = {attempt.ref: used for attempt, (_, used) in zip(attempts, parts, strict=True)}
    steps = divided(Step(1.0, energy_mj, 0.0, 0.8), attempts, use)
    assert sum(step.energy_mj for step in steps) == energy_mj
    assert abs(sum(step.util for step in steps) - 0.8) < 1e-9
    if any(use.values()):
        assert all(
            step.energy_mj == 0 for step, (_, used) in zip(steps, parts, strict=True) if not used
        )
