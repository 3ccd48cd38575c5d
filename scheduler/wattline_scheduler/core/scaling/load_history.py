"""Load of a service by the minute over five weeks, and what an hour of the week asked; pure."""

from dataclasses import dataclass, field

from wattline_protocol.ids import UnixTime

MINUTE_S = 60
HOUR_MINUTES = 60
WEEK_MINUTES = 7 * 24 * HOUR_MINUTES
WEEKS = 5


@dataclass(slots=True)
class LoadHistory:
    """Mean work a second of each minute, by the number of the minute since the epoch."""

    rates: dict[int, float] = field(default_factory=dict)
    _sum: float = 0.0
    _minute: int = -1
    _hour: int = -1
    _asked: float | None = None
    """What the same hour as `_hour` asked."""

    def add(self, arrived: float, unix_s: UnixTime) -> None:
        """Takes the work that arrived in a second."""
        minute = int(unix_s) // MINUTE_S
        if minute != self._minute:
            if self._minute >= 0:
                self.rates[self._minute] = self._sum / MINUTE_S
                self.rates.pop(self._minute - WEEKS * WEEK_MINUTES, None)
            self._minute, self._sum = minute, 0.0
        self._sum += arrived

    def asked(self, unix_s: float) -> float | None:
        """The busiest minute of the same hour of this weekday, in the newest week that has it."""
        hour = int(unix_s) // MINUTE_S // HOUR_MINUTES
        if hour != self._hour:
            self._hour, self._asked = hour, self._found(hour * HOUR_MINUTES)
        return self._asked

    def _found(self, begin: int) -> float | None:
        for week in range(1, WEEKS + 1):
            first = begin - week * WEEK_MINUTES
            minutes = range(first, first + HOUR_MINUTES)
            known = [self.rates[minute] for minute in minutes if minute in self.rates]
            if known:
                return max(known)
        return None
