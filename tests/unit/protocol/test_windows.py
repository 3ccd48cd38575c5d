"""Weekly windows: the syntax, and when they are open in a time zone whose clocks change."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from wattline_protocol.ids import UnixTime
from wattline_protocol.text.windows import is_always_open, next_opening, parse_window, time_zone

BERLIN = ZoneInfo("Europe/Berlin")


def unix(text: str) -> UnixTime:
    """Local time in Berlin."""
    return UnixTime(datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp())


def opening(windows: list[str], now: str) -> tuple[str, str]:
    """The opening at or after `now`, in local times."""
    found = next_opening([parse_window(w) for w in windows], BERLIN, unix(now))
    assert found is not None
    start, end = (
        datetime.fromtimestamp(at, BERLIN).strftime("%a %d %H:%M")
        for at in (found.start_unix_s, found.end_unix_s)
    )
    return start, end


@pytest.mark.parametrize(
    ("windows", "now", "start", "end"),
    [
        (["Mon-Fri 16:00-20:00"], "2026-11-25 12:00", "Wed 25 16:00", "Wed 25 20:00"),
        (["Mon-Fri 16:00-20:00"], "2026-11-25 16:00", "Wed 25 16:00", "Wed 25 20:00"),
        (["Mon-Fri 16:00-20:00"], "2026-11-25 20:00", "Thu 26 16:00", "Thu 26 20:00"),
        (["Mon-Fri 16:00-20:00"], "2026-11-27 21:00", "Mon 30 16:00", "Mon 30 20:00"),
        (["Mon-Fri 20:00-06:00"], "2026-11-26 03:00", "Wed 25 20:00", "Thu 26 06:00"),
        (["Sat-Sun"], "2026-11-25 12:00", "Sat 28 00:00", "Mon 30 00:00"),
        (["Fri 20:00-00:00", "Sat-Sun"], "2026-11-29 12:00", "Fri 27 20:00", "Mon 30 00:00"),
        (["Fri-Mon"], "2026-11-30 12:00", "Fri 27 00:00", "Tue 01 00:00"),
        (
            ["Tue 08:00-09:00", "Tue 09:00-10:00"],
            "2026-11-25",
            "Tue 01 08:00",
            "Tue 01 10:00",
        ),
    ],
)
def test_the_opening_now_or_next(windows: list[str], now: str, start: str, end: str) -> None:
    assert opening(windows, now) == (start, end)


def test_a_night_is_longer_or_shorter_where_clocks_change() -> None:
    night = [parse_window("Mon-Sun 22:00-06:00")]

    def hours(now: str) -> float:
        found = next_opening(night, BERLIN, unix(now))
        assert found is not None
        return (found.end_unix_s - found.start_unix_s) / 3600

    assert hours("2026-10-24 12:00") == 9
    assert hours("2026-10-25 12:00") == 8
    assert hours("2027-03-27 12:00") == 7


def test_a_window_in_the_hour_that_clocks_skip_is_passed_over() -> None:
    skipped = ["Sun 02:00-03:00"]
    assert opening(skipped, "2027-03-27 12:00") == ("Sun 04 02:00", "Sun 04 03:00")


def test_without_windows_nothing_opens() -> None:
    assert next_opening([], BERLIN, unix("2026-11-25 12:00")) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Mon-Fri 20-06", "expected windows such as"),
        ("mon 20:00-21:00", "expected windows such as"),
        ("Mon 24:00-25:00", "expected windows such as"),
        ("Mon-Fri 16:00-16:00", 'never opens: it begins and ends at 16:00.*as in "Mon-Fri"'),
        ("", "expected windows such as"),
    ],
)
def test_what_is_no_window_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_window(text)


@pytest.mark.parametrize(
    ("windows", "always"),
    [
        (["Mon-Sun"], True),
        (["Mon-Fri", "Sat-Sun"], True),
        (["Mon-Sun 06:00-22:00", "Mon-Sun 22:00-06:00"], True),
        (["Mon-Sun 06:00-05:59"], False),
        (["Mon-Sat"], False),
        ([], False),
    ],
)
def test_windows_that_cover_the_week(windows: list[str], *, always: bool) -> None:
    assert is_always_open([parse_window(w) for w in windows]) is always


def test_time_zones_come_from_the_database() -> None:
    assert time_zone("Europe/Berlin") == BERLIN
    assert time_zone("UTC").tzname(None) == "UTC"
    for wrong in ("Mars/Olympus", "../etc/passwd", ""):
        with pytest.raises(ValueError, match="expected a time zone such as"):
            time_zone(wrong)
