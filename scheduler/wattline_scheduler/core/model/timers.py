"""Times at which jobs are evaluated again because of the clock."""

import heapq
from collections.abc import Iterator

from wattline_protocol.ids import JobId, UnixTime

CLOCK_SET_BACK_S = 1.0
"""Set-back of the wall clock above which all jobs are evaluated again."""

KEPT_REPLACED = 1_000
"""Maximum number of replaced times in the heap, beyond the number of jobs."""


class Timers:
    """One time for each job, in order of time."""

    def __init__(self) -> None:
        self._at: dict[JobId, UnixTime] = {}
        self._heap: list[tuple[UnixTime, JobId]] = []
        self._newest = UnixTime(0.0)

    def set(self, job: JobId, at: UnixTime) -> None:
        """Sets the time of a job, replacing an earlier one."""
        if self._at.get(job) != at:
            self._at[job] = at
            heapq.heappush(self._heap, (at, job))
            self._tidy()

    def forget(self, job: JobId) -> None:
        """Removes the time of a job."""
        self._at.pop(job, None)

    def __len__(self) -> int:
        """Number of stored times, including replaced ones that are not due yet."""
        return len(self._heap)

    def _tidy(self) -> None:
        """Each transition of an index sets its array's time again: replaced times must not pile up
        until a deadline that is weeks away."""
        if len(self._heap) > 2 * len(self._at) + KEPT_REPLACED:
            self._heap = [(at, job) for job, at in self._at.items()]
            heapq.heapify(self._heap)

    def take_due(self, now: UnixTime) -> Iterator[JobId]:
        """Yields due jobs, each once; they must be set again. Those not consumed stay due."""
        if now < self._newest - CLOCK_SET_BACK_S:
            self._heap = [(now, job) for job in sorted(self._at)]
            self._at = dict.fromkeys(self._at, now)
        self._newest = now
        while self._heap and self._heap[0][0] <= now:
            at, job = heapq.heappop(self._heap)
            if self._at.get(job) == at:
                del self._at[job]
                yield job
