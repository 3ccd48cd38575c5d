"""A gateway's part of a key's token budget of the day. No I/O.

Tokens are counted when they are made, and a request is admitted before it is known how many it
needs: the one that uses a budget up is answered in full, and the next is refused.
"""

from dataclasses import dataclass, replace
from math import ceil, inf, isinf

from wattline_protocol.ids import UnixTime
from wattline_protocol.wire.api_keys import BudgetDay


@dataclass(frozen=True, slots=True)
class Day:
    """A day of the site, on this gateway's monotonic clock: it needs no right time of day."""

    start_unix_s: UnixTime
    """0: the scheduler has not reported any yet."""
    length_s: float = 86_400.0
    end_s: float = inf

    def left_s(self, now_s: float) -> int:
        """Until it ends, in whole seconds; 1 where no day is known."""
        return 1 if isinf(self.end_s) else max(1, ceil(self.end_s - now_s))

    def following(self) -> "Day":
        """The next day, until the scheduler reports it."""
        start_unix_s = UnixTime(self.start_unix_s + self.length_s)
        return replace(self, start_unix_s=start_unix_s, end_s=self.end_s + self.length_s)


UNKNOWN_DAY = Day(UnixTime(0.0))


def as_reported(day: BudgetDay, now_s: float) -> Day:
    """The day of an answer that has just come."""
    return Day(day.start_unix_s, day.length_s, now_s + day.left_s)


@dataclass(slots=True)
class TokenCount:
    """Tokens of a key at this gateway."""

    per_day: int = 0
    """Its budget at all gateways; 0 = none."""
    left: float = inf
    """What this gateway may still use until the next answer of the scheduler."""
    used: int = 0
    """At all gateways today, as the scheduler knows."""
    counted: int = 0
    """Since the last report. Below 0 while a stream has counted more than it had in the end."""
    counted_today: int = 0

    def spend(self, count: int) -> None:
        """Tokens were made, or fewer than were counted before."""
        self.counted += count
        self.counted_today += count
        self.left -= count

    def allow(self, share: float, used: int) -> None:
        """The part of what is left of the budget that this gateway may use."""
        self.used = used
        left = share * (self.per_day - used) - self.counted_today
        self.left = left if self.per_day else inf

    @property
    def is_used_up(self) -> bool:
        """Whether the whole budget is, not only this gateway's part."""
        return self.used + self.counted_today >= self.per_day

    def begin_day(self, share: float) -> None:
        """The counts of the day that is over stay for the report."""
        self.counted_today = 0
        self.allow(share, 0)

    def take(self) -> tuple[int, int]:
        """Tokens since the last call, and those of today; the counts begin again."""
        found = max(0, self.counted), max(0, self.counted_today)
        self.counted, self.counted_today = min(0, self.counted), min(0, self.counted_today)
        return found
