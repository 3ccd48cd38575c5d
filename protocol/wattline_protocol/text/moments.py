"""Points in time as users write them: a time of day, a date and time, or a time from now."""

import re
from datetime import datetime, time, timedelta, tzinfo

from wattline_protocol.text.quantities import parse_duration_s
from wattline_protocol.wire.bounds import MAX_UNIX_S

FIRST_YEAR = 2000
LAST_YEAR = 2199
"""Range of years of valid dates. Dates beyond are mistakes, or do not exist in every time zone."""

DAY_S = 86_400.0

_TIME_OF_DAY = re.compile(r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?")


def moment_unix_s(text: str, after_unix_s: float, zone: tzinfo | None = None) -> float:
    """A time of day (the next one after `after_unix_s`), a date and time, `now`, or `in 30m`.

    In `zone` (None: that of this machine), unless the text specifies one (`2026-12-01T16:00Z`).
    Raises ValueError, also outside `FIRST_YEAR` to `LAST_YEAR`.
    """
    unix_s = _moment_unix_s(text, after_unix_s, zone)
    if not 0 <= unix_s <= MAX_UNIX_S:
        raise ValueError(f"{text!r} is too far ahead; expected a time before {LAST_YEAR + 1}")
    return unix_s


def check_year(at: datetime) -> None:
    """Raises ValueError for a date out of range."""
    if not FIRST_YEAR <= at.year <= LAST_YEAR:
        raise ValueError(f"expected a date from {FIRST_YEAR} to {LAST_YEAR}, not in {at.year}")


def _moment_unix_s(text: str, after_unix_s: float, zone: tzinfo | None) -> float:
    if text == "now":
        return after_unix_s
    if text.startswith("in "):
        return after_unix_s + parse_duration_s(text.removeprefix("in "))
    try:
        if _TIME_OF_DAY.fullmatch(text):
            return _next(time.fromisoformat(text), after_unix_s, zone)
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is not a time; write 16:00, 2026-12-01T16:00, now or 'in 30m'"
        ) from None
    check_year(at)
    return _aware(at, zone).timestamp()


def local_time_of_day(unix_s: float) -> str:
    """To the second, in the time zone of this machine."""
    return f"{datetime.fromtimestamp(unix_s).astimezone():%H:%M:%S}"


def local_time(unix_s: float) -> str:
    """Date and time to the second, in the time zone of this machine."""
    return datetime.fromtimestamp(unix_s).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def when(unix_s: float, now_s: float) -> str:
    """Local time, short: `18:10:05` today, `Mon 16:00` within a week, the date beyond."""
    at = datetime.fromtimestamp(unix_s).astimezone()
    if at.date() == datetime.fromtimestamp(now_s).astimezone().date():
        return f"{at:%H:%M:%S}"
    return f"{at:%a %H:%M}" if _is_near(unix_s, now_s) else f"{at:%Y-%m-%d %H:%M}"


def clock(unix_s: float, now_s: float) -> str:
    """The shortest form: `18:10` within a day, `Mon 16` within a week, `12-24` beyond."""
    at = datetime.fromtimestamp(unix_s).astimezone()
    if abs(unix_s - now_s) < DAY_S:
        return f"{at:%H:%M}"
    return f"{at:%a %H}" if _is_near(unix_s, now_s) else f"{at:%m-%d}"


def _is_near(unix_s: float, now_s: float) -> bool:
    """Whether the day of the week says which day it is."""
    return abs(unix_s - now_s) < 6 * DAY_S


def is_time_of_day(*texts: str) -> bool:
    """Whether all are times of day without a date, which mean the next such time."""
    return all(_TIME_OF_DAY.fullmatch(text) for text in texts)


def _next(of_day: time, after_unix_s: float, zone: tzinfo | None) -> float:
    today = datetime.fromtimestamp(after_unix_s, zone).date()
    at = _aware(datetime.combine(today, of_day), zone).timestamp()
    if at > after_unix_s:
        return at
    return _aware(datetime.combine(today + timedelta(days=1), of_day), zone).timestamp()


def _aware(at: datetime, zone: tzinfo | None) -> datetime:
    if at.tzinfo is not None:
        return at
    return at.astimezone() if zone is None else at.replace(tzinfo=zone)
