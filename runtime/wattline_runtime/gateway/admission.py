"""Admission control: whether a request that must queue can still be answered in time.

A bounded queue alone limits memory, but a deadline shorter than the queue's wait would make every
admitted request late. So the rate at which the workers finish requests *while they are saturated*
(the gateway's queue is not empty) is measured, and a request that cannot meet its deadline is
refused at once. Unsaturated time shows nothing about the workers' capacity: it only makes what was
measured before count less, so that a rate from a bad moment is not believed for ever.
"""

from dataclasses import dataclass, field
from math import ceil

MEMORY = 0.95
"""Weight of the previous measurements, per group of answers (about the last 20 count)."""
MIN_EVIDENCE = 8.0
"""Finished requests, weighted, before the rate is trusted."""
MAX_RETRY_AFTER_S = 30


@dataclass(slots=True)
class ServiceRate:
    """Requests finished per worker and second of saturation, an exponentially weighted average.

    Answers that arrive together are one group: the time since the group before is theirs.
    """

    _finished: float = 0.0
    _worker_s: float = 0.0
    _group_s: float = 0.0
    """When the newest group arrived."""
    _is_counted: bool = False
    """The newest group's interval began saturated."""
    _is_saturated: bool = False

    def finished(self, now_s: float, *, workers: int, saturated: bool) -> None:
        """One request was finished; `saturated`: others wait in the gateway's queue."""
        if now_s > self._group_s:
            self._finished *= MEMORY
            self._worker_s *= MEMORY
            self._is_counted = self._is_saturated
            if self._is_counted:
                self._worker_s += (now_s - self._group_s) * workers
            self._group_s = now_s
        self._finished += self._is_counted
        self._is_saturated = saturated

    def worker_s(self) -> float | None:
        """Seconds of one worker that a request takes; None: unknown."""
        if self._finished < MIN_EVIDENCE or self._worker_s <= 0:
            return None
        return self._worker_s / self._finished


@dataclass(frozen=True, slots=True)
class BatchPace:
    """Time of a worker's batches as it measured them: a fixed part, and one for each request."""

    size: int
    """Requests of a full batch."""
    batch_s: float
    """Of a full batch; 0: unknown."""
    lone_s: float
    """Of a batch of one; 0: unknown."""
    each_s: float = field(init=False)
    """For each request of a batch."""
    fixed_s: float = field(init=False)
    """For a batch."""

    def __post_init__(self) -> None:
        each_s = max(0.0, self.batch_s - self.lone_s) / max(1, self.size - 1)
        object.__setattr__(self, "each_s", each_s)
        object.__setattr__(self, "fixed_s", max(0.0, self.lone_s - each_s))

    def finish_s(self, requests: int) -> float:
        """Time in which a worker finishes so many, in full batches; 0: unknown."""
        return -(-requests // self.size) * self.fixed_s + requests * self.each_s

    @property
    def mean_s(self) -> float:
        """Of a batch of middle size."""
        return (self.batch_s + self.lone_s) / 2

    def expected_s(self, requests: float) -> float | None:
        """Time for so many requests, and for the fixed part of the running batch; None: unknown."""
        batches = ceil(requests / self.size) + 1
        return batches * self.fixed_s + (requests + 1) * self.each_s or None


def retry_after_s(wait_s: float | None) -> int:
    """Whole seconds until the queue has likely drained, for the Retry-After header."""
    return 1 if wait_s is None else max(1, min(MAX_RETRY_AFTER_S, round(wait_s)))
