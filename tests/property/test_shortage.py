"""Whom to pause, against the rule spelled out: one gang at a time, all of them looked at anew."""

import time

from hypothesis import given
from hypothesis import strategies as st

from wattline_scheduler.power.allocation.pause_choice import Candidate, choose

ROWS = st.integers(0, 3)
RELIEF = st.dictionaries(ROWS, st.integers(0, 12), max_size=3)
POOL = st.lists(st.tuples(st.integers(0, 2), RELIEF), max_size=9)
SHORT = st.dictionaries(ROWS, st.integers(0, 30), max_size=3)

Gangs = list[Candidate[int]]


def plainly(pool: Gangs, short_mw: dict[int, int]) -> list[int]:
    """Keys, in the order in which they are taken; before what is not needed is given back."""
    left = {row: mw for row, mw in short_mw.items() if mw > 0}
    waiting, taken = list(pool), list[int]()
    while left:
        useful = [(one, covered(one, left)) for one in waiting if covered(one, left) > 0]
        if not useful:
            break
        lowest = min(one.priority for one, _ in useful)
        some = [pair for pair in useful if pair[0].priority == lowest]
        enough = [one for one, mw in some if mw == sum(left.values())]
        if enough:
            best = min(enough, key=lambda one: (sum(one.relief.values()), one.key))
        else:
            best = min(some, key=lambda pair: (-pair[1], pair[0].key))[0]
        waiting.remove(best)
        taken.append(best.key)
        left = {row: mw - best.relief.get(row, 0) for row, mw in left.items()}
        left = {row: mw for row, mw in left.items() if mw > 0}
    return taken


def covered(one: Candidate[int], left: dict[int, int]) -> int:
    return sum(min(mw, one.relief.get(row, 0)) for row, mw in left.items())


def relieved(gangs: Gangs, short_mw: dict[int, int]) -> dict[int, int]:
    return {
        row: min(mw, sum(one.relief.get(row, 0) for one in gangs)) for row, mw in short_mw.items()
    }


@given(POOL, SHORT)
def test_what_is_chosen_is_what_the_rule_says(
    pool: list[tuple[int, dict[int, int]]], short_mw: dict[int, int]
) -> None:
    gangs = [Candidate(key, priority, relief) for key, (priority, relief) in enumerate(pool)]
    chosen, expected = choose(gangs, short_mw), plainly(gangs, short_mw)
    kept = [one.key for one in chosen]
    assert kept == [key for key in expected if key in kept]
    by_rule = [one for one in gangs if one.key in expected]
    assert relieved(chosen, short_mw) == relieved(by_rule, short_mw)
    for key in set(expected) - set(kept):  # what was given back was made up for
        without = [one for one in by_rule if one.key != key]
        assert relieved(without, short_mw) == relieved(by_rule, short_mw)


def test_thousands_of_gangs_are_chosen_from_in_no_time() -> None:
    """A site of 1,000 nodes with one job on every GPU, short by a quarter in three rows."""
    relief_mw = 260_000
    gangs = [
        Candidate(at, 50, {0: relief_mw, 1: relief_mw, 2 + at // 160: relief_mw})
        for at in range(8_000)
    ]
    short_mw = {0: 2_000 * relief_mw, 1: 2_000 * relief_mw, 2: 80 * relief_mw}
    began = time.process_time()
    chosen = choose(gangs, short_mw)
    assert time.process_time() - began < 1.0
    assert len(chosen) == 2_000
