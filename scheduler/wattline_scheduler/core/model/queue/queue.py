"""The queue: jobs with a gang that may start, grouped in classes, in the order of the planner.

Theory. A hundred thousand jobs may wait, but only a few hundred differ in properties that the
planner evaluates. Jobs that do not differ form one *class*, by age; a plan's result for the first
ones holds for all behind them, so that a cycle gets at most as many of each class as it can place.
The order of classes depends on values that change constantly (use of accounts, learned runtimes);
it is computed once per class and cycle, and only the jobs passed to the cycle are sorted again.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import NamedTuple

from wattline_protocol.ids import JobId, UnixTime, UserName
from wattline_protocol.job.spec import JobSpec
from wattline_scheduler.core.model.jobs.job import Job
from wattline_scheduler.core.model.queue.job_class import Entry, Line, LineKey
from wattline_scheduler.core.model.queue.queue_order import Order, Rank
from wattline_scheduler.core.model.queue.runtime_bounds import Longest
from wattline_scheduler.plan.cycle import MAX_PLACEMENTS
from wattline_scheduler.plan.learning.fairshare import Level
from wattline_scheduler.plan.model.shape import Shape


class Ahead(NamedTuple):
    """Number of jobs ahead of another, by the first reason that puts them there."""

    more_urgent: int
    accounts_first: int
    older: int


class Queue:
    """Job classes and their order."""

    def __init__(self, order: Order, longest: Longest) -> None:
        self.order = order
        self.longest = longest
        self.lines: dict[LineKey, Line] = {}
        self._count = 0
        self._unknown: dict[str, dict[JobId, None]] = {}
        """By the kind at the time of queueing; an update may have changed it."""

    def __len__(self) -> int:
        """Number of queued jobs."""
        return self._count

    def set(self, job: Job, *, wants_in: bool) -> None:
        """Queues, moves or removes the job."""
        if job.line is None and not wants_in:
            return
        key = self.key(job) if wants_in else None
        if job.line is not None:
            if job.line.key == key:
                return
            self._leave(job.line, job)
        if key is not None:
            line = self.lines.get(key)
            if line is None:
                line = self.lines[key] = Line(key)
            insort(line.entries, _entry(job))
            job.line = line
            self._count += 1
            if not key.kind:
                self._unknown.setdefault(job.kind, {})[job.id] = None

    def _leave(self, line: Line, job: Job) -> None:
        del line.entries[bisect_left(line.entries, _entry(job))]
        if not line.entries:
            del self.lines[line.key]
        job.line = None
        self._count -= 1
        alike = self._unknown.get(job.kind, {})
        alike.pop(job.id, None)
        if not alike:
            self._unknown.pop(job.kind, None)

    def key_of(self, owner: UserName, spec: JobSpec, shape: Shape, kind: str) -> LineKey:
        """Class of a job, submitted or not."""
        return LineKey(
            shape=shape,
            account=spec.account or owner,
            queue=spec.queue,
            kind=kind if self.longest.knows(kind) else "",
            runtime_s=spec.limits.runtime_s,
            grace_s=spec.recovery.grace_s,
            is_service=spec.kind == "service",
            is_late=False,
            reservation=spec.reservation,
        )

    def key(self, job: Job) -> LineKey:
        """Class of a job."""
        key = self.key_of(job.record.owner, job.spec, job.shape, job.kind)
        return key._replace(is_late=bool(job.late), grace_s=job.grace_s)

    def runs_s(self, key: LineKey) -> float | None:
        """Maximum runtime of a gang of such a job; None = unknown."""
        if key.is_service:
            return None
        return self.longest.bound_s(key.kind, key.runtime_s, key.grace_s)

    def unknown(self, kind: str) -> list[JobId]:
        """Queued jobs of a kind whose runtime was unknown when they were queued."""
        return list(self._unknown.get(kind, ()))

    def fronts(self) -> Iterator[tuple[JobId, Line]]:
        """The first jobs of each class, as many as one cycle can place, all in order."""
        seen: dict[tuple[int, Level], list[tuple[float, JobId, int]]] = {}
        for number, line in enumerate(self.lines.values()):
            before, later_s = self.order.rank(line.key)
            front = line.entries[:MAX_PLACEMENTS]
            line.last = front[-1][1]
            alike = seen.setdefault(before, [])
            alike += [(at + later_s, job, number) for at, job in front]
        lines = list(self.lines.values())
        for before in sorted(seen):
            for _, job, number in sorted(seen[before]):
                yield job, lines[number]

    def ahead_of(self, rank: Rank, submitted_unix_s: float, job: JobId) -> Ahead:
        """Number of jobs ahead of one of this rank."""
        turn_s, ahead = submitted_unix_s + rank.later_s, [0, 0, 0]
        for line in self.lines.values():
            other = self.order.rank(line.key)
            if other.before < rank.before:
                ahead[other.before[0] == rank.before[0]] += len(line.entries)
            elif other.before == rank.before:
                turn = UnixTime(turn_s - other.later_s)
                ahead[2] += bisect_left(line.entries, (turn, job))
        return Ahead(*ahead)


def _entry(job: Job) -> Entry:
    return job.record.submitted_unix_s, job.id
