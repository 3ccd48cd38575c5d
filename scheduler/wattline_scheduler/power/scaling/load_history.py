"""Load of a service by the hour over five weeks, for the same hour of the week; pure."""

from dataclasses import dataclass, field
from typing import NamedTuple

from wattline_protocol.ids import UnixTime
from wattline_scheduler.service_rollup import ServiceHour

MINUTE_S = 60
HOUR_S = 3_600
WEEK_HOURS = 7 * 24
WEEKS = 5
KEPT_S = WEEKS * WEEK_HOURS * HOUR_S

LEAST_S = 30.0
"""A minute of which less is known is left out."""


class HourLoad(NamedTuple):
    """What a service was asked in an hour."""

    busiest: float = 0.0
    """The highest mean of a minute, as work a second."""
    work: float = 0.0
    seconds: float = 0.0
    """In which `work` arrived."""

    def plus(self, other: "HourLoad") -> "HourLoad":
        """Of both times together."""
        busiest = max(self.busiest, other.busiest)
        return HourLoad(busiest, self.work + other.work, self.seconds + other.seconds)


@dataclass(slots=True)
class LoadHistory:
    """By the number of the hour since the epoch."""

    hours: dict[int, HourLoad] = field(default_factory=dict)
    _minute: int = -1
    _work: float = 0.0
    _seconds: float = 0.0
    _hour: int = -1
    _asked: float | None = None
    """What the same hour as `_hour` asked."""

    def add(self, rate: float, unix_s: UnixTime, seconds: float = 1.0) -> None:
        """Takes the work a second that arrived in so many seconds."""
        minute = int(unix_s) // MINUTE_S
        if minute != self._minute:
            if self._seconds >= LEAST_S:
                hour = self._minute * MINUTE_S // HOUR_S
                self._keep(hour, HourLoad(self._work / self._seconds, self._work, self._seconds))
            self._minute, self._work, self._seconds = minute, 0.0, 0.0
        self._work += rate * seconds
        self._seconds += seconds

    def _keep(self, hour: int, load: HourLoad) -> None:
        if hour not in self.hours:
            first = hour - WEEKS * WEEK_HOURS
            self.hours = {one: known for one, known in self.hours.items() if one > first}
        self.hours[hour] = self.hours.get(hour, HourLoad()).plus(load)

    def take_over(self, hour: ServiceHour) -> None:
        """Adds what is on record of an hour."""
        load = HourLoad(hour.busiest, hour.work, hour.seconds)
        self.hours[hour.hour] = self.hours.get(hour.hour, HourLoad()).plus(load)
        self._hour = -1

    def asked(self, unix_s: float) -> float | None:
        """The busiest minute of the same hour of this weekday, in the newest week that has it."""
        hour = int(unix_s) // HOUR_S
        if hour != self._hour:
            weeks = (hour - week * WEEK_HOURS for week in range(1, WEEKS + 1))
            known = (self.hours[one].busiest for one in weeks if one in self.hours)
            self._hour, self._asked = hour, next(known, None)
        return self._asked
