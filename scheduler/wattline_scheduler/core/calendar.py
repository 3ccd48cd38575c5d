"""The schedules of the site file: which limit each of them brings next, and when."""

from dataclasses import dataclass
from datetime import datetime, tzinfo

from wattline_protocol.ids import DomainId, Now, UnixTime
from wattline_protocol.site import Schedule, Site
from wattline_protocol.windows import Window, next_opening, parse_window, time_zone
from wattline_scheduler.core.records import LimitRecord


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
    """The schedules of a site, ready to be asked when they open."""

    def __init__(self, site: Site) -> None:
        self.zone: tzinfo = time_zone(site.time_zone)
        self.entries = tuple(
            Entry(f"schedule {number}", one, tuple(parse_window(text) for text in one.when))
            for number, one in enumerate(site.schedules, start=1)
        )
        self.newest_unix_s = UnixTime(0.0)
        self.begun: dict[tuple[DomainId, str], UnixTime] = {}
        """Start of the window of each schedule that began last in this run."""

    def upcoming(self, entry: Entry, now: Now) -> LimitRecord | None:
        """The limit of its opening that is now, or next."""
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
            who="site file",
            why=schedule.reason,
        )

    def said(self, unix_s: float) -> str:
        """A time in the site's time zone."""
        return f"{datetime.fromtimestamp(unix_s, self.zone):%Y-%m-%d %H:%M %Z}"
