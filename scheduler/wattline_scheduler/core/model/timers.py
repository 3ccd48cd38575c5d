"""When a job must be looked at again because of the time of day."""

import heapq
from collections.abc import Iterator

from wattline_protocol.ids import JobId, UnixTime

CLOCK_SET_BACK_S = 1.0
"""A wall clock that goes back by more makes every job be looked at anew."""

KEPT_REPLACED = 1_000
"""Times that were replaced and may be kept, beside as many as there are jobs."""


class Alarms:
    """One time for each job, in order of time."""

    def __init__(self) -> None:
        self._at: dict[JobId, UnixTime] = {}
        self._heap: list[tuple[UnixTime, JobId]] = []
        self._newest = UnixTime(0.0)

    def set(self, job: JobId, at: UnixTime) -> None:
        """Look at it then, instead of when it was to be looked at before."""
        if self._at.get(job) != at:
            self._at[job] = at
            heapq.heappush(self._heap, (at, job))
            self._tidy()

    def forget(self, job: JobId) -> None:
        """It need not be looked at any more."""
        self._at.pop(job, None)

    def __len__(self) -> int:
        """Times kept, those that were replaced and are not due yet among them."""
        return len(self._heap)

    def _tidy(self) -> None:
        """Each move of an index sets its array's time anew: what was replaced must not pile up
        until a deadline that is weeks away."""
        if len(self._heap) > 2 * len(self._at) + KEPT_REPLACED:
            self._heap = [(at, job) for job, at in self._at.items()]
            heapq.heapify(self._heap)

    def take_due(self, now: UnixTime) -> Iterator[JobId]:
        """Those that are due, each once; they must be set again. Those not taken stay due."""
        if now < self._newest - CLOCK_SET_BACK_S:
            self._heap = [(now, job) for job in sorted(self._at)]
            self._at = dict.fromkeys(self._at, now)
        self._newest = now
        while self._heap and self._heap[0][0] <= now:
            at, job = heapq.heappop(self._heap)
            if self._at.get(job) == at:
                del self._at[job]
                yield job
