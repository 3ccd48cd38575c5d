"""Token buckets: a rate over time, and a burst at once. No I/O."""

from dataclasses import dataclass
from math import inf


@dataclass(slots=True)
class TokenBucket:
    """Grants at most `burst` at once, and `rate_per_s` over time."""

    rate_per_s: float
    burst: float
    tokens: float
    at_s: float
    """When `tokens` was computed (monotonic)."""

    def take(self, count: int, now_s: float) -> float:
        """Take `count` tokens, all or none. 0: they are taken; else the seconds until they could
        be, infinite where the burst is smaller."""
        self._refill(now_s)
        if count <= self.tokens:
            self.tokens -= count
            return 0.0
        return (count - self.tokens) / self.rate_per_s if count <= self.burst else inf

    def limit(self, rate_per_s: float, burst: float, now_s: float) -> None:
        """Change the limits from now on."""
        self._refill(now_s)
        self.rate_per_s, self.burst = rate_per_s, burst
        self.tokens = min(self.tokens, burst)

    def _refill(self, now_s: float) -> None:
        if now_s > self.at_s:
            self.tokens = min(self.burst, self.tokens + (now_s - self.at_s) * self.rate_per_s)
            self.at_s = now_s
