"""Young's interval: within its range, longer for longer saves, shorter where more fails."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattline.task import due
from wattline_scheduler.plan.learning.checkpoint_interval import (
    LEAST_S,
    MOST_S,
    PRIOR_S,
    failure_free_s,
    interval_s,
)

SAVES = st.floats(0.0, 1e6)
FREE = st.floats(1.0, 1e9)
NODES = st.lists(st.tuples(st.integers(0, 1_000), st.floats(0.0, 1e9)), min_size=1, max_size=9)


@given(SAVES, SAVES, FREE, FREE)
def test_it_grows_with_the_save_and_with_the_time_between_failures(
    one: float, other: float, free_s: float, longer_s: float
) -> None:
    short, long = sorted((max(one, 0.001), max(other, 0.001)))
    rare, often = max(free_s, longer_s), min(free_s, longer_s)
    assert LEAST_S <= interval_s(short, often) <= interval_s(long, rare) <= MOST_S
    assert interval_s(short, rare) <= interval_s(long, rare)
    assert interval_s(long, often) <= interval_s(long, rare)


@given(st.floats(1.0, 60.0), st.floats(3_600.0, 100_000.0))
def test_no_other_interval_in_range_costs_less(save_s: float, free_s: float) -> None:
    def cost(every_s: float) -> float:  # share of time in saves, and of work lost
        return save_s / every_s + every_s / (2 * free_s)

    best = interval_s(save_s, free_s)
    others = (LEAST_S * (MOST_S / LEAST_S) ** (at / 20) for at in range(21))
    assert all(cost(best) <= cost(other) * (1 + 1e-9) for other in others)


@given(NODES, st.integers(0, 8))
def test_each_failure_and_each_node_makes_the_time_between_failures_shorter(
    nodes: list[tuple[int, float]], at: int
) -> None:
    at %= len(nodes)
    failures, seen_s = nodes[at]
    worse = [*nodes[:at], (failures + 1, seen_s), *nodes[at + 1 :]]
    assert 0.0 < failure_free_s(worse) < failure_free_s(nodes)
    assert failure_free_s([*nodes, (0, 0.0)]) < failure_free_s(nodes)
    assert math.isfinite(failure_free_s(nodes))


def test_nothing_seen_is_the_prior() -> None:
    assert failure_free_s([(0, 0.0)]) == pytest.approx(PRIOR_S)
    assert failure_free_s([(0, 0.0)] * 4) == pytest.approx(PRIOR_S / 4)


@given(st.floats(0.001, 1e5), st.floats(0.0, 1e5), FREE)
def test_the_task_library_has_the_same_interval(
    waited_s: float, more_s: float, free_s: float
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WATTLINE_FAILURE_FREE_S", str(free_s))
        patch.setenv("WATTLINE_CHECKPOINT_EVERY_S", "77")
        patch.setattr(due, "clock", due.Clock())
        assert due._every_s() == 77.0, "until a save was made"
        due.clock.saved(0.0, waited_s)
        due.clock.longest_s += more_s  # in the background
        assert due._every_s() == pytest.approx(interval_s(waited_s, free_s, waited_s + more_s))
