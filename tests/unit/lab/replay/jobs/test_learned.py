"""The learned order: what comes first, and which jobs are neighbours."""

import pytest

from wattline_lab.replay.jobs.learned import next_look_s
from wattline_lab.replay.jobs.neighbours import (
    MAX_BURST,
    MAX_LINES,
    NEIGHBOURS,
    TOGETHER_S,
    Neighbours,
)
from wattline_lab.replay.jobs.service_order import LONG_GPU_S, PATIENCE, Asking, in_order


def asking(
    key: str, *, priority: int = 50, gpus: int = 1, index_s: float = 60.0, since_s: float = 0.0
) -> Asking[str]:
    return Asking(key, priority, gpus, index_s, since_s, number=1)


def keys(*askings: Asking[str], now_s: float = 10.0) -> list[str]:
    return [each.key for each in in_order(askings, now_s)]


def test_priority_goes_before_everything() -> None:
    low, high = asking("low", priority=10, index_s=1.0), asking("high", priority=90, index_s=1e6)
    assert keys(low, high) == ["high", "low"]


def test_what_counts_is_time_times_gpus() -> None:
    wide, narrow = asking("wide", gpus=8, index_s=60.0), asking("narrow", index_s=300.0)
    assert keys(wide, narrow) == ["narrow", "wide"]


def test_long_work_is_served_by_age() -> None:
    older = asking("older", index_s=LONG_GPU_S * 3, since_s=1.0)
    newer = asking("newer", index_s=LONG_GPU_S * 2, since_s=2.0)
    short = asking("short", index_s=LONG_GPU_S / 2, since_s=3.0)
    assert keys(newer, older, short) == ["short", "older", "newer"]


def test_who_has_waited_long_for_what_it_takes_counts_for_less() -> None:
    large, small = asking("large", index_s=1_000.0), asking("small", index_s=600.0)
    newer = asking("newer", index_s=600.0, since_s=1_000.0 * PATIENCE)
    assert keys(large, small, now_s=1_000.0 * PATIENCE) == ["small", "large"], "both have waited"
    assert keys(large, newer, now_s=1_000.0 * PATIENCE) == ["large", "newer"]


def test_long_work_is_not_made_short_by_waiting() -> None:
    long, short = asking("long", index_s=LONG_GPU_S), asking("short", index_s=60.0, since_s=1e12)
    assert keys(long, short, now_s=1e12) == ["short", "long"]


def test_work_that_is_expected_to_end_now_goes_first() -> None:
    assert keys(asking("some"), asking("none", index_s=0.0)) == ["none", "some"]


@pytest.mark.parametrize(("held_s", "look_s"), [(0.0, 600.0), (600.0, 1200.0), (1300.0, 2400.0)])
def test_the_time_between_looks_doubles(held_s: float, look_s: float) -> None:
    assert next_look_s(held_s) == look_s


def test_neighbours_of_one_account_and_size_are_of_one_kind() -> None:
    kinds, apart_s = Neighbours(), 2 * TOGETHER_S
    groups = [kinds.submitted("vision", 8, n * apart_s) for n in range(NEIGHBOURS + 1)]
    assert len({each.names[1] for each in groups[:NEIGHBOURS]}) == 1
    assert groups[NEIGHBOURS].names[1] != groups[0].names[1]
    assert {each.names[0] for each in groups} == {groups[0].names[0]}
    assert kinds.submitted("speech", 8, 0.0).names[0] != groups[0].names[0]


def test_what_came_together_is_of_one_burst() -> None:
    kinds = Neighbours()
    burst = [kinds.submitted("vision", 8, 1_000.0) for _ in range(NEIGHBOURS + 1)]
    burst.append(kinds.submitted("vision", 8, 1_000.0 + TOGETHER_S))
    assert len({each.names[2] for each in burst}) == 1
    assert kinds.submitted("vision", 8, 1_000.0 + 3 * TOGETHER_S).names[2] != burst[0].names[2]
    assert kinds.submitted("vision", 4, 1_000.0).names[2] != burst[0].names[2]


def test_of_a_large_burst_only_those_beside_each_other_count_together() -> None:
    kinds = Neighbours()
    burst = [kinds.submitted("vision", 8, 1_000.0).names[2] for _ in range(3 * MAX_BURST)]
    assert len(set(burst)) == 3
    assert [burst.count(each) for each in dict.fromkeys(burst)] == [MAX_BURST] * 3


def test_lines_are_bounded() -> None:
    kinds = Neighbours()
    first = [kinds.submitted("a", 1, 0.0) for _ in range(NEIGHBOURS + 1)]
    for number in range(MAX_LINES):
        kinds.submitted("b", number, 0.0)
    assert kinds.submitted("a", 1, 0.0) == first[0], "counted from the start again"
