"""Busiest minutes of a service by the hour over five weeks, for the same hour of the week; pure."""

from dataclasses import dataclass, field

from wattline_protocol.ids import UnixTime

MINUTE_S = 60
HOUR_S = 3_600
WEEK_HOURS = 7 * 24
WEEKS = 5
KEPT_S = WEEKS * WEEK_HOURS * HOUR_S

LEAST_S = 30.0
"""A minute of which less is known is left out."""


@dataclass(slots=True)
class LoadHistory:
    """The highest mean of a minute, as work a second, by the number of the hour since the epoch."""

    peaks: dict[int, float] = field(default_factory=dict)
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
                self._keep(self._minute * MINUTE_S // HOUR_S, self._work / self._seconds)
            self._minute, self._work, self._seconds = minute, 0.0, 0.0
        self._work += rate * seconds
        self._seconds += seconds

    def _keep(self, hour: int, rate: float) -> None:
        if hour not in self.peaks:
            first = hour - WEEKS * WEEK_HOURS
            self.peaks = {one: peak for one, peak in self.peaks.items() if one > first}
        self.peaks[hour] = max(self.peaks.get(hour, 0.0), rate)

    def asked(self, unix_s: float) -> float | None:
        """The busiest minute of the same hour of this weekday, in the newest week that has it."""
        hour = int(unix_s) // HOUR_S
        if hour != self._hour:
            weeks = (hour - week * WEEK_HOURS for week in range(1, WEEKS + 1))
            known = (self.peaks[one] for one in weeks if one in self.peaks)
            self._hour, self._asked = hour, next(known, None)
        return self._asked
