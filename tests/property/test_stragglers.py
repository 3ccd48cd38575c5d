"""Stragglers: the rule holds whatever the ranks report."""

from statistics import median_low

from hypothesis import given
from hypothesis import strategies as st

from wattline_protocol.wire.task_reports.rank_steps import RankSteps
from wattline_scheduler.core.lifecycle.straggler_rule import (
    KEEPS_UP,
    LEAST_STEPS,
    SLOWER,
    cause_of,
    judged,
    slow_ranks,
    usual_of,
)
from wattline_scheduler.core.model.usage.rank_watch import Signals

SECONDS = st.floats(0.0, 1e8, allow_subnormal=False)
TIMES = st.dictionaries(st.integers(0, 2**31 - 1), SECONDS, max_size=20)
SHARES = st.floats(0.0, 1.0)
SIGNALS = st.builds(
    Signals,
    capped=SHARES,
    hot=SHARES,
    clock_mhz=st.none() | st.floats(0.0, 1e4),
    util=st.none() | SHARES,
)


@given(TIMES, st.data())
def test_only_ranks_above_the_median_are_slow_and_never_most(
    busy_s: dict[int, float], data: st.DataObject
) -> None:
    known = data.draw(st.sets(st.sampled_from(sorted(busy_s)))) if busy_s else set()
    slow = slow_ranks(busy_s, known)
    assert 2 * len(slow) <= len(busy_s)
    for rank, factor in slow.items():
        limit = KEEPS_UP if rank in known else SLOWER
        assert factor >= limit * (1 - 1e-9)
        assert busy_s[rank] > median_low(busy_s.values())
    assert slow.keys() <= slow_ranks(busy_s, set(busy_s)).keys(), "known ones have the lower limit"


@given(st.integers(2, 64), st.floats(1e-3, 1e4), st.floats(1.11, 10.0), st.data())
def test_one_slow_rank_is_found_whatever_its_number(
    ranks: int, usual_s: float, factor: float, data: st.DataObject
) -> None:
    slow = data.draw(st.integers(0, ranks - 1))
    steps = {
        rank: RankSteps(rank, 1, 50, usual_s * factor, usual_s * (factor if rank == slow else 1), n)
        for rank in range(ranks)
        for n in (LEAST_STEPS,)
    }
    assert set(slow_ranks(judged(steps, ranks), ())) == {slow}


@given(st.none() | SIGNALS, st.lists(SIGNALS, max_size=8))
def test_a_cause_rests_on_what_was_measured(slow: Signals | None, others: list[Signals]) -> None:
    cause = cause_of(slow, usual_of(others))
    if slow is None:
        assert cause == "unknown"
        return
    assert cause != "hot" or slow.hot >= 0.25
    assert cause != "capped" or slow.capped >= 0.25 > slow.hot
    assert cause != "clocks" or slow.clock_mhz is not None
    assert cause != "input" or slow.util is not None
    if not others:
        assert cause in ("hot", "capped", "unknown")
