"""The inlet controller against rooms: below the limit, no hunting, floors, blindness."""

import math
from itertools import pairwise

import pytest

from support.core.rooms import Room, Story, controlled
from wattline_protocol.ids import Instant
from wattline_scheduler.power.sensing.inlets import (
    BLIND_AFTER_S,
    BLIND_PERMILLE,
    InletControl,
    is_plausible_c,
    warm_end_c,
)

LIMIT_C = 27.0


def control() -> InletControl:
    return InletControl(LIMIT_C, Instant(0.0))


def third_lost(second: int) -> float:
    return 1000.0 if second < 600 else 667.0


def third_lost_for_an_hour(second: int) -> float:
    return 667.0 if 600 <= second < 4200 else 1000.0


def heat_wave(second: int) -> float:
    """Two hours in which the plant fades to 70 % and comes back."""
    return 1000.0 - 300.0 * math.sin(math.pi * second / 7200)


@pytest.mark.parametrize("warms", [0.7, 1.5, 3.0])
@pytest.mark.parametrize("lag_s", [5.0, 30.0])
def test_a_third_of_the_cooling_lost_and_nobody_says_so(warms: float, lag_s: float) -> None:
    story = controlled(Room(warms, sensor_lag_s=lag_s), control(), third_lost)
    assert max(story.inlets_c) < LIMIT_C
    assert story.reversals(by=20) <= 2
    settled = story.shares[-1800:]
    assert max(settled) - min(settled) < 20
    assert min(settled) > 640, "it holds no more than it has to"


def overbooking() -> InletControl:
    """What the cooling removes is 1000 / 1.3 of the budget."""
    return InletControl(LIMIT_C, Instant(0.0), base_permille=1000 / 1.3)


def test_cool_inlets_let_more_be_booked_than_the_cooling_removes() -> None:
    story = controlled(Room(), overbooking(), lambda _: 1000 / 1.3, demand=600.0)
    assert story.shares[1] == pytest.approx(1000 / 1.3, abs=2)
    assert story.shares[-1] == 1000.0
    assert max(b - a for a, b in pairwise(story.shares[1:])) <= 1.0
    assert max(story.inlets_c) < LIMIT_C


@pytest.mark.parametrize("warms", [0.7, 1.5, 3.0])
@pytest.mark.parametrize("lag_s", [5.0, 30.0])
def test_when_all_that_is_booked_is_drawn_inlets_stay_below_their_limit(
    warms: float, lag_s: float
) -> None:
    room, control = Room(warms, sensor_lag_s=lag_s), overbooking()
    controlled(room, control, lambda _: 769.0, demand=600.0, seconds=1_800)
    assert control.share_permille is None, "all of it is booked"
    story = Story()
    for second in range(1_800, 9_000):
        share = 1000.0 if control.share_permille is None else control.share_permille
        told_c = room.step(share, 769.0)
        control.step(told_c, share, lambda: 300.0, Instant(float(second)))
        story.inlets_c.append(room.inlet_c)
        story.shares.append(share)
    assert max(story.inlets_c) < LIMIT_C
    assert 740 < min(story.shares[-1_800:]) <= max(story.shares[-1_800:]) < 830


def test_a_lost_unit_takes_back_what_was_overbooked_and_nothing_else() -> None:
    control = overbooking()
    controlled(Room(), control, lambda _: 769.0, demand=600.0, seconds=1_800)
    control.base_permille = 500.0
    control.lose_unit()
    assert control.share_permille == 500.0
    plain = InletControl(LIMIT_C, Instant(0.0))
    controlled(Room(), plain, lambda _: 1000.0, demand=600.0, seconds=60)
    plain.lose_unit()
    assert plain.step(25.0, 600.0, lambda: 0.0, Instant(61.0)) is None


def test_a_restart_takes_nothing_from_what_is_drawn() -> None:
    control = overbooking()
    assert control.step(24.0, 900.0, lambda: 0.0, Instant(1.0)) == 900.0


@pytest.mark.parametrize("warms", [0.7, 3.0, 8.0])
def test_a_heat_wave(warms: float) -> None:
    story = controlled(Room(warms, noise_c=0.05), control(), heat_wave)
    assert max(story.inlets_c) < LIMIT_C
    assert story.reversals(by=30) <= 4


def test_a_fast_room_with_slow_sensors_comes_back_and_does_not_hunt() -> None:
    story = controlled(Room(5.0, sensor_lag_s=60.0), control(), third_lost)
    assert max(story.inlets_c) < LIMIT_C + 1.2
    assert max(story.inlets_c[-3600:]) < LIMIT_C
    assert max(story.shares[-3600:]) - min(story.shares[-3600:]) < 40


def test_sensors_that_know_whole_degrees_only_keep_it_below_the_limit() -> None:
    story = controlled(Room(3.0, step_c=1.0, noise_c=0.1), control(), third_lost)
    assert max(story.inlets_c) < LIMIT_C


def test_everything_is_given_back_slowly_when_the_cooling_is_back() -> None:
    under = control()
    story = controlled(Room(3.0), under, third_lost_for_an_hour)
    assert under.share_permille is None
    rises = [after - before for before, after in pairwise(story.shares)]
    assert max(rises) < 1.01


def test_a_cool_room_is_never_limited() -> None:
    story = controlled(Room(3.0, noise_c=0.2), control(), lambda _: 1000.0)
    assert set(story.shares) == {1000.0}


def test_it_stops_at_the_floors_until_the_air_is_far_too_warm() -> None:
    under = control()
    for second in range(300):
        under.step(LIMIT_C + 3.0, 900.0, lambda: 400.0, Instant(float(second)))
    assert under.share_permille == 400.0
    for second in range(300, 400):
        under.step(LIMIT_C + 6.0, 400.0, lambda: 400.0, Instant(float(second)))
    assert under.share_permille == 0.0


def test_its_first_step_bites_although_little_of_the_budget_is_used() -> None:
    under = control()
    under.step(LIMIT_C + 0.5, 500.0, lambda: 100.0, Instant(0.0))
    under.step(LIMIT_C + 0.5, 500.0, lambda: 100.0, Instant(1.0))
    assert under.share_permille is not None
    assert under.share_permille < 500.0


def test_a_long_time_at_the_floor_winds_nothing_up() -> None:
    under = control()
    for second in range(7200):
        under.step(LIMIT_C + 2.0, 500.0, lambda: 450.0, Instant(float(second)))
    assert under.share_permille == 450.0
    for second in range(7200, 7500):
        under.step(LIMIT_C - 3.0, 450.0, lambda: 450.0, Instant(float(second)))
    assert under.share_permille is not None
    assert under.share_permille > 700.0, "it rises at its full pace at once"


def test_blind_for_a_while_changes_nothing_then_a_part_is_kept_free() -> None:
    under = control()
    assert under.step(None, 950.0, lambda: 300.0, Instant(0.0)) is None
    assert under.step(None, 950.0, lambda: 300.0, Instant(BLIND_AFTER_S - 1)) is None
    for second in range(600):
        under.step(None, 950.0, lambda: 300.0, Instant(BLIND_AFTER_S + second))
    assert under.is_blind
    assert under.share_permille == BLIND_PERMILLE
    assert under.step(20.0, 900.0, lambda: 300.0, Instant(700.0)) is not None
    assert not under.is_blind


def test_blind_while_limited_nothing_rises() -> None:
    under = control()
    under.step(LIMIT_C + 1.0, 600.0, lambda: 300.0, Instant(0.0))
    under.step(LIMIT_C + 1.0, 600.0, lambda: 300.0, Instant(1.0))
    before = under.share_permille
    for second in range(2, 900):
        assert under.step(None, 500.0, lambda: 300.0, Instant(float(second))) == before


def test_a_restart_goes_on_from_where_it_was() -> None:
    under = control()
    under.resume(600.0)
    assert under.step(LIMIT_C - 1.0, 600.0, lambda: 300.0, Instant(0.0)) == pytest.approx(
        600.0, abs=5
    )


def test_which_inlet_stands_for_a_zone() -> None:
    assert warm_end_c([24.0]) == 24.0
    assert warm_end_c([20.0, 30.0, 25.0]) == 30.0
    assert warm_end_c([25.0] * 99 + [60.0]) == 25.0
    assert [is_plausible_c(c) for c in (-40.0, 24.0, 127.0)] == [False, True, False]
