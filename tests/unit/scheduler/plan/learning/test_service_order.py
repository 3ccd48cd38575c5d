"""The order of a queue, what it learns of run times, and who teaches whom."""

import pytest

from wattline_scheduler.plan.learning.gittins import (
    BINS,
    FIRST_S,
    MAX_GROUPS,
    SHORTER,
    Groups,
    Runtimes,
    alike,
    bin_of,
    next_look_s,
)
from wattline_scheduler.plan.learning.neighbours import (
    MAX_BURST,
    MAX_LINES,
    NEIGHBOURS,
    TOGETHER_S,
    Neighbours,
)
from wattline_scheduler.plan.learning.service_order import LONG_GPU_S, PATIENCE, Asking, in_order

HOUR_S = 3600.0


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


def test_while_nothing_is_known_who_had_least_goes_first() -> None:
    index = [Runtimes().index_s(alike(1), held_s) for held_s in (0.0, 3600.0, 86400.0)]
    assert index == sorted(index)
    assert index[0] < index[1] < index[2]


def run(runtimes: Runtimes, groups: Groups, hours: float, times: int = 20) -> None:
    for _ in range(times):
        runtimes.survived(groups, 0, bin_of(hours * HOUR_S))
        runtimes.ended(groups, bin_of(hours * HOUR_S))


def test_a_kind_that_ends_soon_has_a_small_index_and_others_keep_theirs() -> None:
    runtimes, short, other = Runtimes(), alike(1, "short"), alike(1, "other")
    run(runtimes, other, 24.0)
    before = runtimes.index_s(other, 0.0)
    run(runtimes, short, 0.1)
    assert runtimes.index_s(short, 0.0) < FIRST_S
    assert runtimes.index_s(other, 0.0) > 0.8 * before


def test_a_kind_that_ends_at_one_time_is_worth_more_the_nearer_that_is() -> None:
    runtimes, kind = Runtimes(), alike(1, "size", "long")
    run(runtimes, kind, 40.0)
    index = [runtimes.index_s(kind, hours * HOUR_S) for hours in (0, 10, 20)]
    assert index[0] > index[1] > index[2]


def test_a_job_that_still_runs_teaches_that_its_kind_is_long() -> None:
    runtimes, kind = Runtimes(), alike(1, "size", "kind")
    before = runtimes.index_s(kind, 0.0)
    runtimes.survived(kind, 0, bin_of(24 * HOUR_S))
    assert runtimes.index_s(kind, 0.0) > before


def test_among_all_jobs_wide_ones_are_taken_to_run_shorter() -> None:
    runtimes = Runtimes()
    run(runtimes, alike(16, "some"), 8.0)
    same, wide = (runtimes.index_s(alike(gpus), 0.0) for gpus in (16, 256))
    assert same == pytest.approx(8 * HOUR_S, rel=0.25)
    assert same / wide == pytest.approx(16.0**SHORTER, rel=0.5)
    assert runtimes.index_s(alike(4), 0.0) > 1.5 * same


def test_wide_jobs_that_end_at_once_are_known_to() -> None:
    runtimes = Runtimes()
    run(runtimes, alike(32, "some"), 0.0)
    assert runtimes.index_s(alike(32), 0.0) < FIRST_S
    assert runtimes.index_s(alike(1), 0.0) < 32 * FIRST_S


def test_a_job_without_gpus_counts_as_one_and_there_is_a_widest() -> None:
    assert alike(0) == alike(1)
    runtimes = Runtimes()
    run(runtimes, alike(1_000_000), 1e6)
    assert alike(1_000_000) == alike(2_000_000)
    assert runtimes.index_s(alike(1_000_000), 0.0) > FIRST_S


def test_a_narrow_group_leans_on_the_wider_one() -> None:
    runtimes = Runtimes()
    run(runtimes, alike(1, "wide"), 0.0)
    nothing = Runtimes().index_s(alike(1, "narrow"), 0.0)
    assert runtimes.index_s(alike(1, "wide", "narrow"), 0.0) < nothing


def test_groups_are_bounded_and_the_newest_stay() -> None:
    runtimes = Runtimes()
    for number in range(MAX_GROUPS + 10):
        runtimes.survived(alike(1, number), 0, bin_of(24 * HOUR_S))
    nothing = runtimes.index_s(alike(1, "nobody's"), 0.0)
    assert runtimes.index_s(alike(1, 0), 0.0) == nothing
    assert runtimes.index_s(alike(1, MAX_GROUPS + 9), 0.0) > nothing


@pytest.mark.parametrize(
    ("held_s", "at"), [(0.0, 0), (599.0, 0), (600.0, 1), (1200.0, 3), (1e12, BINS - 1)]
)
def test_bins(held_s: float, at: int) -> None:
    assert bin_of(held_s) == at


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


def test_a_size_of_which_little_is_known_is_hoped_to_be_short() -> None:
    runtimes = Runtimes()
    runtimes.survived(alike(1, "size"), 0, bin_of(86400.0))
    hoped, learned = alike(1, "size"), alike(1, "nobody's", "size")  # the same is known of both
    assert runtimes.index_s(hoped, 0.0) < runtimes.index_s(learned, 0.0)


def test_hope_gives_way_to_what_is_learned() -> None:
    runtimes = Runtimes()

    def index_s(runs: int) -> float:
        run(runtimes, alike(1, "size"), 24.0, runs)
        return runtimes.index_s(alike(1, "size"), 0.0)

    first, later, last = index_s(1), index_s(20), index_s(2_000)
    assert first < later < last
    assert 0.8 * 86400.0 < last < 1.2 * 86400.0
