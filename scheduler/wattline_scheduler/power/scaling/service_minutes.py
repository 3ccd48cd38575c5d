"""The load of a service minute by minute, for its SLO; pure."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf

from wattline_protocol.ids import UnixTime, UserName
from wattline_protocol.wire.rollouts import ServiceTraffic
from wattline_scheduler.power.scaling.load_history import LoadHistory
from wattline_scheduler.service_rollup import ServiceHour, ServiceRollup

MINUTE_S = 60

RECENT_MINUTES = 6 * 60 + 1
"""In memory: the longest window of an SLO, and the minute in progress."""

BACK_S = 3_600
"""Minutes that lie further ahead are dropped: the clock was wrong and was set back."""


@dataclass(slots=True)
class ServiceMinutes:
    """Of one service of one user."""

    service: str
    owner: UserName
    history: LoadHistory = field(default_factory=LoadHistory)
    recent: deque[ServiceRollup] = field(default_factory=lambda: deque(maxlen=RECENT_MINUTES))
    """The newest last; minutes in which the scheduler did not run are missing."""

    def add(
        self, counts: ServiceTraffic, rate: float | None, seconds: float, unix_s: UnixTime
    ) -> None:
        """Takes what gateways have counted in so many seconds. `rate`: work that arrived a second;
        None = not known, since not all of them reported."""
        minute = self._minute(int(unix_s) // MINUTE_S * MINUTE_S)
        known_s = 0.0 if rate is None else seconds
        if rate is not None:
            self.history.add(rate, unix_s, seconds)
        covered = min(counts.covered, minute.failed + counts.failed)
        part = ServiceRollup(
            self.service,
            self.owner,
            minute.start_unix_s,
            known_s,
            (rate or 0.0) * known_s,
            counts.requests,
            counts.answered + covered,
            counts.failed - covered,
            counts.left,
            counts.work,
            counts.times,
        )
        self.recent[-1] = minute.plus(part)

    def take_over(self, hours: Iterable[ServiceHour], minutes: Sequence[ServiceRollup]) -> None:
        """Adds what is on record of the time before the first minute in memory."""
        for hour in hours:
            self.history.take_over(hour)
        first_s = self.recent[0].start_unix_s if self.recent else inf
        for one in minutes:
            if one.start_unix_s == first_s and len(self.recent) == 1:
                self.recent[0] = one.plus(self.recent[0])  # in progress, so not on record
        earlier = [one for one in minutes if one.start_unix_s < first_s]
        self.recent = deque([*earlier, *self.recent], RECENT_MINUTES)

    def _minute(self, start: int) -> ServiceRollup:
        recent = self.recent
        while recent and recent[-1].start_unix_s > start + BACK_S:
            recent.pop()
        if not recent or recent[-1].start_unix_s < start:
            recent.append(ServiceRollup(self.service, self.owner, start))
        return recent[-1]

    def since(self, unix_s: float) -> Iterator[ServiceRollup]:
        """Minutes that began then or later, the newest first."""
        for minute in reversed(self.recent):
            if minute.start_unix_s < unix_s:
                return
            yield minute
