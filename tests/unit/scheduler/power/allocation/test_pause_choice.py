"""Whom to pause: lowest priority first, whole gangs, as few as possible, none for nothing."""

from wattline_scheduler.power.allocation.pause_choice import Candidate, choose

SITE, RACK = 0, 1


def gang(key: int, priority: int, **relief: int) -> Candidate[int]:
    rows = {"site": SITE, "rack": RACK}
    return Candidate(key, priority, {rows[name]: mw for name, mw in relief.items()})


def keys(chosen: list[Candidate[int]]) -> list[int]:
    return [one.key for one in chosen]


def test_nothing_is_paused_where_nothing_is_short() -> None:
    assert choose([gang(1, 25, site=100)], {SITE: 0}) == []


def test_the_lowest_priority_goes_first_though_a_higher_one_would_be_enough_alone() -> None:
    pool = [gang(1, 25, site=60), gang(2, 25, site=60), gang(3, 75, site=500)]
    assert keys(choose(pool, {SITE: 100})) == [1, 2]


def test_inside_a_priority_the_smallest_that_is_enough_is_taken() -> None:
    pool = [gang(1, 25, site=900), gang(2, 25, site=150), gang(3, 25, site=90)]
    assert keys(choose(pool, {SITE: 100})) == [2]


def test_where_none_is_enough_the_largest_goes_first() -> None:
    pool = [gang(1, 25, site=40), gang(2, 25, site=70), gang(3, 25, site=30)]
    assert keys(choose(pool, {SITE: 100})) == [2, 3]


def test_what_a_larger_one_makes_up_for_is_spared() -> None:
    pool = [gang(1, 25, site=10), gang(2, 50, site=500)]
    assert keys(choose(pool, {SITE: 100})) == [2]


def test_a_gang_outside_the_short_row_is_left_alone() -> None:
    pool = [gang(1, 0, site=500), gang(2, 75, rack=50, site=50)]
    assert keys(choose(pool, {RACK: 40})) == [2]


def test_every_short_row_is_relieved_as_far_as_can_be() -> None:
    pool = [gang(1, 25, rack=30, site=30), gang(2, 25, site=80)]
    assert sorted(keys(choose(pool, {RACK: 100, SITE: 90}))) == [1, 2]
