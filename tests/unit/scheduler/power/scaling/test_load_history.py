"""What the same hour of the week asked."""

from wattline_protocol.ids import UnixTime
from wattline_scheduler.power.scaling.load_history import HOUR_S, WEEK_HOURS, WEEKS, LoadHistory

WEEK_S = WEEK_HOURS * HOUR_S
MONDAY_S = 1.7e9 // 3600 * 3600


def with_minutes(*minutes: tuple[float, float]) -> LoadHistory:
    history = LoadHistory()
    for begin_s, rate in minutes:
        for second in range(60):
            history.add(rate, UnixTime(begin_s + second))
    history.add(0.0, UnixTime(minutes[-1][0] + 60))
    return history


def test_the_busiest_minute_of_that_hour_a_week_ago() -> None:
    history = with_minutes((MONDAY_S, 5.0), (MONDAY_S + 600, 9.0), (MONDAY_S + 3600, 50.0))
    assert history.asked(MONDAY_S + WEEK_S + 1_800) == 9.0
    assert history.asked(MONDAY_S + WEEK_S + 3_600) == 50.0
    assert history.asked(MONDAY_S + WEEK_S + 7_200) is None


def test_the_newest_week_that_has_the_hour_counts() -> None:
    history = with_minutes((MONDAY_S, 5.0), (MONDAY_S + WEEK_S, 3.0))
    assert history.asked(MONDAY_S + 2 * WEEK_S) == 3.0
    assert history.asked(MONDAY_S + 4 * WEEK_S) == 3.0


def test_five_weeks_are_kept() -> None:
    minutes = [(MONDAY_S + week * WEEK_S, 1.0) for week in range(WEEKS + 3)]
    assert len(with_minutes(*minutes).hours) == WEEKS


def test_a_minute_of_which_little_is_known_is_left_out() -> None:
    history = LoadHistory()
    history.add(9_000.0, UnixTime(MONDAY_S), seconds=29.0)
    history.add(5.0, UnixTime(MONDAY_S + 60), seconds=30.0)
    history.add(0.0, UnixTime(MONDAY_S + 120))
    assert history.asked(MONDAY_S + WEEK_S) == 5.0
