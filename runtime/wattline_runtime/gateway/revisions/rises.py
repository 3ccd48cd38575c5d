"""Detects a significant rise of the load of a service. No I/O.

The gateway looks ten times a second. What arrived lately is compared with what arrived before, by
the likelihood ratio of both rates, which holds for few requests, too.
"""

from collections import deque
from dataclasses import dataclass, field
from math import log

from wattline_protocol.wire.rollouts import LEAST_RISE_S

LOOK_S, LATE_LOOK_S = 0.1, 0.2

NEWEST_S = 1.0
"""Requests of up to this time may show a rise."""

USUAL_S, LEAST_USUAL_S = 20.0, 5.0
"""Time over which what is usual is averaged, and after which it is known."""

LEAST_REQUESTS, LEAST_RATIO, SURE = 8, 1.5, 4.5
"""A rise has so many requests, so many times the usual ones, and these lie so many standard
deviations above them. The ratio matters for high rates: they differ less by chance than because a
busy host runs the gateway late."""

HALF = 0.5
"""The least that counts as usual in all the time known: none so far does not mean never."""


@dataclass(slots=True)
class RiseWatch:
    """Of one service at one gateway."""

    _seen: int = 0
    """Requests in all at the last look."""
    _requests: int = 0
    _seconds: float = 0.0
    """Since the last look that was in time, like its requests."""
    _newest: deque[tuple[int, float]] = field(default_factory=deque)
    """Requests and seconds of looks, the newest first."""
    _newest_s: float = 0.0
    _usual_per_s: float = 0.0
    _usual_s: float = 0.0
    """Time that this is the mean of."""
    _dispersion: float = 1.0
    """Variance of the requests of a look over their mean: 1 of single ones by chance, more of
    groups. By the difference of one look to the next, in which a step of the load is one."""
    _before: int | None = None
    """Requests of the look before, of those that are no longer new; None: it was longer."""

    def look(self, total: int, passed_s: float) -> float:
        """Requests a second beyond what is usual; 0: no rise is shown. `total`: requests since the
        gateway knows the service; `passed_s`: time since the last look."""
        self._requests += total - self._seen
        self._seconds += passed_s
        self._seen = total
        if passed_s > LATE_LOOK_S:  # requests that came meanwhile are read after it
            return 0.0
        self._newest.appendleft((self._requests, self._seconds))
        self._newest_s += self._seconds
        self._requests, self._seconds = 0, 0.0
        while self._newest_s - self._newest[-1][1] >= NEWEST_S:
            self._age(*self._newest.pop())
        return self._rise() if self._usual_s >= LEAST_USUAL_S else 0.0

    def _age(self, requests: int, seconds: float) -> None:
        """What is no longer new becomes usual."""
        self._newest_s -= seconds
        self._usual_s = min(self._usual_s + seconds, USUAL_S)
        share = min(seconds / self._usual_s, 1.0)
        before, self._before = self._before, requests if seconds <= LATE_LOOK_S else None
        if before is not None and self._before is not None and before + requests:
            found = (requests - before) ** 2 / (requests + before)
            self._dispersion += (found - self._dispersion) * share
        self._usual_per_s += (requests / seconds - self._usual_per_s) * share

    @property
    def _least_usual_per_s(self) -> float:
        return max(self._usual_per_s, HALF / self._usual_s)

    def _rise(self) -> float:
        """By the part of the newest time that shows it best."""
        usual_per_s = self._least_usual_per_s
        requests, seconds, rise = 0, 0.0, 0.0
        best = SURE**2 * max(self._dispersion, 1.0)
        for count, passed_s in self._newest:
            requests, seconds = requests + count, seconds + passed_s
            usual = usual_per_s * seconds
            if seconds < LEAST_RISE_S or requests < max(LEAST_REQUESTS, LEAST_RATIO * usual):
                continue
            deviance = 2.0 * (requests * log(requests / usual) - (requests - usual))
            if deviance >= best:
                best, rise = deviance, requests / seconds - usual_per_s
        return rise
