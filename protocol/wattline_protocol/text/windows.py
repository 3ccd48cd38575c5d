"""Weekly windows of time, "Mon-Fri 20:00-06:00": one syntax for job files and site files.

A window opens on each of its days and may extend into the next day. Times are local times of a time
zone: on the day of a clock change a window is longer or shorter by the change. Windows that touch
or overlap are one opening.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from wattline_protocol.ids import UnixTime

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
DAY_MINUTES = 24 * 60
WEEK_MINUTES = 7 * DAY_MINUTES

_DAY = "|".join(DAYS)
_WINDOW = re.compile(
    rf"(?P<first>{_DAY})(?:-(?P<last>{_DAY}))?"
    r"(?: (?P<opens>(?:[01]\d|2[0-3]):[0-5]\d)-(?P<closes>(?:[01]\d|2[0-3]):[0-5]\d))?"
)


@dataclass(frozen=True, slots=True)
class Window:
    """Days, and minutes of the day, in which it is open."""

    days: tuple[int, ...]
    """0 = Monday."""
    opens_min: int
    """Minute of the day."""
    lasts_min: int

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """First and last minute of each opening, from Monday; it may end in the next week."""
        starts = [day * DAY_MINUTES + self.opens_min for day in self.days]
        return tuple((start, start + self.lasts_min) for start in starts)


@dataclass(frozen=True, slots=True)
class Opening:
    """A period in which some window is open."""

    start_unix_s: UnixTime
    end_unix_s: UnixTime


def parse_window(text: str) -> Window:
    """Raises ValueError with a valid form."""
    found = _WINDOW.fullmatch(text)
    if found is None:
        raise ValueError(f'"{text}": expected windows such as "Mon-Fri 20:00-06:00" or "Sat-Sun"')
    first = DAYS.index(found["first"])
    last = first if found["last"] is None else DAYS.index(found["last"])
    days = tuple((first + step) % 7 for step in range((last - first) % 7 + 1))
    if found["opens"] is None:
        return Window(days, 0, DAY_MINUTES)
    opens_min, closes_min = _minutes(found["opens"]), _minutes(found["closes"])
    if opens_min == closes_min:
        raise ValueError(
            f'"{text}" never opens: it begins and ends at {found["opens"]}; for whole days omit '
            f'the times, as in "{text.split(" ")[0]}"'
        )
    return Window(days, opens_min, (closes_min - opens_min) % DAY_MINUTES)


def _minutes(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


def is_always_open(windows: Iterable[Window]) -> bool:
    """Whether together they cover the whole week."""
    every = [span for window in windows for span in window.spans]
    wrapped = [(start - WEEK_MINUTES, end - WEEK_MINUTES) for start, end in every]
    reached = 0
    for start, end in sorted((*wrapped, *every)):
        if start > reached:
            return False
        reached = max(reached, end)
    return reached >= WEEK_MINUTES


def time_zone(name: str) -> tzinfo:
    """The zone of that name in the time zone database. Raises ValueError."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f'expected a time zone such as "Europe/Berlin" or "UTC" ({error})'
        ) from error


def next_opening(windows: Sequence[Window], zone: tzinfo, now: UnixTime) -> Opening | None:
    """The opening that contains `now`, or the next one; None if there are no windows.

    Searches a week and a day around `now`, for windows that close once a week.
    """
    today = datetime.fromtimestamp(now, zone).date()
    spans = sorted(
        span
        for offset in range(-8, 9)
        for window in windows
        if (span := _on(window, today + timedelta(days=offset), zone)) is not None
    )
    merged: list[Opening] = []
    for start, end in spans:
        if merged and start <= merged[-1].end_unix_s:
            merged[-1] = Opening(merged[-1].start_unix_s, max(end, merged[-1].end_unix_s))
        else:
            merged.append(Opening(start, end))
    return next((opening for opening in merged if opening.end_unix_s > now), None)


def _on(window: Window, day: date, zone: tzinfo) -> tuple[UnixTime, UnixTime] | None:
    """When the window of that day is open; None: it is not, or a clock change skips it."""
    if day.weekday() not in window.days:
        return None
    opens = datetime.combine(day, time(), zone) + timedelta(minutes=window.opens_min)
    closes = opens + timedelta(minutes=window.lasts_min)  # local time: clocks may change in between
    start, end = UnixTime(opens.timestamp()), UnixTime(closes.timestamp())
    return (start, end) if end > start else None
