"""When work will have ended, by how far it says it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattline_scheduler.plan.learning.progress_rate import NEWS, TRUST_S, Course


def test_nothing_is_said_of_a_pace_that_was_not_seen_for_long() -> None:
    course = Course()
    assert not course.heard(0.0, 100.0)
    assert not course.heard(0.5, 100.0 + TRUST_S - 1)
    assert course.end_s is None
    assert course.heard(0.6, 100.0 + TRUST_S)
    assert course.end_s == pytest.approx(100.0 + TRUST_S / 0.6)


def test_what_went_on_from_a_checkpoint_is_told_by_its_own_pace() -> None:
    course = Course()
    course.heard(0.8, 0.0)
    course.heard(0.9, 1_000.0)
    assert course.end_s == pytest.approx(2_000.0)


def test_a_value_that_rests_says_nothing() -> None:
    """Between two reports; and work that stands still is not said to need ever longer."""
    course = Course()
    course.heard(0.0, 0.0)
    course.heard(0.5, 1_000.0)
    assert not course.heard(0.5, 1_900.0)
    assert course.end_s == pytest.approx(2_000.0)


def test_a_counter_that_starts_anew_is_followed_from_there() -> None:
    course = Course()
    course.heard(0.5, 0.0)
    assert course.heard(0.9, 1_000.0)
    assert course.heard(0.1, 1_100.0)
    assert course.end_s is None
    assert course.heard(0.2, 2_100.0)
    assert course.end_s == pytest.approx(10_100.0)


def test_what_is_told_in_coarse_steps_says_little() -> None:
    course = Course()
    course.heard(0.0, 0.0)
    assert not course.heard(0.001, 10_000.0)
    assert course.end_s is None


def test_what_stands_still_ends_later_by_so_long_and_keeps_its_pace() -> None:
    course = Course()
    course.heard(0.0, 0.0)
    course.heard(0.5, 1_000.0)
    for at_s in (1_110.0, 1_200.0, 1_300.0):
        course.stands(1_100.0, at_s)
        assert course.end_s == pytest.approx(2_000.0 + at_s - 1_100.0)
    assert course.heard(0.55, 1_310.0), "its end is another"
    assert course.end_s == pytest.approx(2_210.0)
    assert not course.heard(0.75, 1_710.0), "as fast as before"
    course.stands(1_800.0, 1_801.0)
    assert course.end_s == pytest.approx(2_211.0)


def test_what_stands_still_before_its_pace_is_known_is_not_taken_to_be_slow() -> None:
    course = Course()
    course.heard(0.0, 0.0)
    course.stands(500.0, 5_000.0)
    assert not course.heard(0.25, 5_000.0)
    assert course.heard(0.5, 5_500.0)
    assert course.end_s == pytest.approx(6_500.0)


@given(st.lists(st.floats(0.5, 2.0), min_size=40, max_size=40))
def test_the_end_follows_a_changing_pace(paces: list[float]) -> None:
    """What is reported is never further from what is known than by what counts as news."""
    course, done = Course(), 0.0
    for beat, pace in enumerate(paces):
        course.heard(done, beat * 300.0)
        if course.end_s is not None:
            left_s = (1.0 - done) / (done / (beat * 300.0))
            assert abs(course.end_s - (beat * 300.0 + left_s)) <= NEWS * left_s + 1e-6
        done += 0.01 * pace


def test_a_steady_pace_is_told_once() -> None:
    course = Course()
    reported = sum(course.heard(beat / 1_000, beat * 60.0) for beat in range(1_000))
    assert reported == 1
    assert course.end_s == pytest.approx(60_000.0)
