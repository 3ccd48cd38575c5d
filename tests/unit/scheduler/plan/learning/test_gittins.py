"""Learned run times per kind of job, and the index that follows."""

import pytest

from wattline_scheduler.core.model.queue.runtime_bounds import MAX_KINDS
from wattline_scheduler.plan.learning.gittins import (
    BINS,
    FIRST_S,
    MAX_GROUPS,
    SHORTER,
    Groups,
    Runtimes,
    alike,
    bin_of,
)

HOUR_S = 3600.0


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


def test_an_index_is_computed_once_for_each_kind_of_known_runtime(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each plan asks for all of them."""
    runtimes, computed = Runtimes(), list[Groups]()
    of = runtimes._computed

    def noted(groups: Groups) -> list[float]:
        computed.append(groups)
        return of(groups)

    monkeypatch.setattr(runtimes, "_computed", noted)
    groups = [alike(1, ("account", 1), number) for number in range(MAX_KINDS)]
    for _ in range(2):
        for one in groups:
            runtimes.index_s(one, 0.0)
    assert computed == groups


@pytest.mark.parametrize(
    ("held_s", "at"), [(0.0, 0), (599.0, 0), (600.0, 1), (1200.0, 3), (1e12, BINS - 1)]
)
def test_bins(held_s: float, at: int) -> None:
    assert bin_of(held_s) == at


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
