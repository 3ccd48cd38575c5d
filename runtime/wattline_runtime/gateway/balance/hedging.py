"""Hedging: a request that waits unusually long is sent to a second worker, if few are."""

from collections import deque
from dataclasses import dataclass, field

SHARE = 20
"""At most one of so many requests is hedged."""
SAVED = 10
"""Hedges that quiet times may save up."""
NEWEST = 256
"""Newest answers whose p95 counts."""
RENEW_EVERY = 32
"""Answers before the p95 is computed again; the first is known after so many."""


@dataclass(slots=True)
class Hedging:
    """Of one service: how long its answers take, and how many more requests may be hedged."""

    p95_s: float | None = None
    """Of the newest answers, from the request's arrival; None: too few yet."""
    hedged: int = 0
    """Requests sent to a second worker since the gateway knows the service."""
    _tokens: int = 0
    _took_s: deque[float] = field(default_factory=lambda: deque(maxlen=NEWEST))
    _since_renewed: int = 0

    def arrived(self) -> None:
        """A request was accepted."""
        if self._tokens < SAVED * SHARE:
            self._tokens += 1

    def answered(self, took_s: float) -> None:
        """A worker's output arrived so long after the request."""
        self._took_s.append(took_s)
        self._since_renewed += 1
        if self._since_renewed >= RENEW_EVERY:
            self._since_renewed = 0
            ordered = sorted(self._took_s)
            self.p95_s = ordered[len(ordered) * 95 // 100]

    @property
    def is_allowed(self) -> bool:
        """Whether one more request may be hedged."""
        return self._tokens >= SHARE and self.p95_s is not None

    def take(self) -> None:
        """A request is hedged."""
        self._tokens -= SHARE
        self.hedged += 1
