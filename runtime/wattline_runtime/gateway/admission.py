"""Admission control: whether a request that must queue can still be answered in time.

A bounded queue alone limits memory, but a deadline shorter than the queue's wait would make every
admitted request late. So the rate at which the service finishes requests *while it is saturated*
(its gateway queue is not empty) is measured, and a request that cannot meet its deadline is refused
at once. Unsaturated time shows nothing about the workers' capacity, and is ignored.
"""

from dataclasses import dataclass

MEMORY = 0.98
"""Weight of the previous measurement, per finished request (about the last 50 count)."""
MIN_EVIDENCE = 8.0
"""Finished requests, weighted, before the rate is trusted."""
MAX_RETRY_AFTER_S = 30


@dataclass(slots=True)
class ServiceRate:
    """Requests finished per second of saturation, an exponentially weighted average."""

    _finished: float = 0.0
    _saturated_s: float = 0.0
    _since_s: float | None = None

    def finished(self, now_s: float, *, saturated: bool) -> None:
        """One request was finished; `saturated`: others still wait in the gateway's queue."""
        if self._since_s is not None:
            self._finished = self._finished * MEMORY + 1
            self._saturated_s = self._saturated_s * MEMORY + (now_s - self._since_s)
        self._since_s = now_s if saturated else None

    def wait_s(self, ahead: int) -> float | None:
        """Expected time until `ahead` requests are finished; None: unknown."""
        if self._finished < MIN_EVIDENCE or self._saturated_s <= 0:
            return None
        return ahead * self._saturated_s / self._finished

    def retry_after_s(self, ahead: int) -> int:
        """Whole seconds until the queue has likely drained, for the Retry-After header."""
        wait_s = self.wait_s(ahead)
        return 1 if wait_s is None else max(1, min(MAX_RETRY_AFTER_S, round(wait_s)))
