"""Weekly windows in the site's time zone: of schedules and of jobs."""

from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from wattline_protocol.ids import DomainId, Now, UnixTime
from wattline_protocol.site.model import Schedule, Site
from wattline_protocol.text.windows import Opening, Window, next_opening, parse_window, time_zone
from wattline_protocol.wire.bounds import MAX_UNIX_S
from wattline_scheduler.records import LimitRecord

NEVER = Opening(UnixTime(0.0), UnixTime(0.0))

MAX_OPENINGS = 1_024
"""Maximum number of cached windows of jobs."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One schedule of the site file."""

    name: str
    schedule: Schedule
    windows: tuple[Window, ...]

    @property
    def key(self) -> tuple[DomainId, str]:
        return self.schedule.domain, self.name


class Calendar:
    """The schedules of a site and their next openings."""

    def __init__(self, site: Site) -> None:
        self.zone: tzinfo = time_zone(site.time_zone)
        self.entries = tuple(
            Entry(f"schedule {number}", one, tuple(parse_window(text) for text in one.when))
            for number, one in enumerate(site.schedules, start=1)
        )
        self.newest_unix_s = UnixTime(0.0)
        self.begun: dict[tuple[DomainId, str], UnixTime] = {}
        """Start of the newest window of each schedule that began in this run."""
        self._day = self._month = NEVER
        self._openings: dict[tuple[str, ...], tuple[UnixTime, Opening]] = {}
        """By a job's windows: the opening found, and the time from which it is valid."""

    def upcoming(self, entry: Entry, now: Now) -> LimitRecord | None:
        """The limit of its current or next opening."""
        opening = next_opening(entry.windows, self.zone, now.unix_s)
        if opening is None:
            return None
        schedule = entry.schedule
        return LimitRecord(
            domain=schedule.domain,
            name=entry.name,
            source="schedule",
            phase="planned",
            value_mw=schedule.limit_mw,
            from_mw=None,
            start_unix_s=opening.start_unix_s,
            ramp_s=schedule.ramp_s,
            end_unix_s=opening.end_unix_s,
            release_s=schedule.release_s,
            requester="site file",
            why=schedule.reason,
        )

    def opening(self, windows: tuple[str, ...], now: Now) -> Opening:
        """The current or next opening of a job's windows, cached."""
        known = self._openings.get(windows)
        if known is not None and known[0] <= now.unix_s < known[1].end_unix_s:
            return known[1]
        opening = next_opening([parse_window(text) for text in windows], self.zone, now.unix_s)
        if opening is None:
            raise ValueError(f"{windows} never open")  # a parsed window opens every week
        if len(self._openings) >= MAX_OPENINGS:
            self._openings.clear()
        self._openings[windows] = now.unix_s, opening
        return opening

    def day(self, unix_s: float) -> Opening:
        """The day that contains a time; of 23 or 25 hours where clocks change."""
        if not self._day.start_unix_s <= unix_s < self._day.end_unix_s:
            start = self._midnight(unix_s)
            self._day = self._span(start, start + timedelta(days=1))
        return self._day

    def month(self, unix_s: float) -> Opening:
        """The calendar month that contains a time."""
        if not self._month.start_unix_s <= unix_s < self._month.end_unix_s:
            start = self._midnight(unix_s).replace(day=1)
            later = start + timedelta(days=31)
            self._month = self._span(start, later.replace(day=1))
        return self._month

    def _midnight(self, unix_s: float) -> datetime:
        at = self._at(unix_s)
        return at.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)

    def _span(self, start: datetime, end: datetime) -> Opening:
        return Opening(UnixTime(start.timestamp()), UnixTime(end.timestamp()))

    def moment(self, text: str) -> UnixTime:
        """A point in time in ISO 8601, in local time where it has no offset. Raises ValueError."""
        at = datetime.fromisoformat(text)
        aware = at if at.tzinfo is not None else at.replace(tzinfo=self.zone)
        return UnixTime(_dated(aware.timestamp()))

    def text(self, unix_s: float) -> str:
        """Formats a time in the site's time zone."""
        return f"{self._at(unix_s):%Y-%m-%d %H:%M %Z}"

    def _at(self, unix_s: float) -> datetime:
        return datetime.fromtimestamp(_dated(unix_s), self.zone)


def _dated(unix_s: float) -> float:
    """The nearest time with a date in every zone. Input of users is bounded where it is read; a
    stored time, or one of a node's clock, must not end the run."""
    return min(max(0.0, unix_s), MAX_UNIX_S)
