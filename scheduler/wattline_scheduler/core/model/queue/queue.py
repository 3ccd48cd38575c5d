"""The queue: jobs with a gang that may start, grouped in classes, in the order of the planner.

Theory. A hundred thousand jobs may wait, but only a few hundred differ in properties that the
planner evaluates. Jobs that do not differ form one *class*, by age; a plan's result for the first
ones holds for all behind them, so that a cycle gets at most as many of each class as it can place.
The order of classes depends on values that change constantly (use of accounts, learned runtimes);
it is computed once per class and cycle, and only the jobs passed to the cycle are sorted again.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from wattline_protocol.ids import JobId, UnixTime, UserName
from wattline_protocol.job.spec import JobSpec
from wattline_scheduler.core.model.jobs.job import Job
from wattline_scheduler.core.model.jobs.output_need import needs_of
from wattline_scheduler.core.model.queue.job_class import ClassKey, Entry, JobClass
from wattline_scheduler.core.model.queue.queue_order import Order, Rank
from wattline_scheduler.core.model.queue.runtime_bounds import RuntimeBounds
from wattline_scheduler.plan.cycle import MAX_PLACEMENTS
from wattline_scheduler.plan.learning.fairshare import Level
from wattline_scheduler.plan.model.shape import Shape


class QueuePosition(NamedTuple):
    """Number of jobs ahead of another, by the first reason that puts them there."""

    more_urgent: int
    accounts_first: int
    older: int


class Queue:
    """Job classes and their order."""

    def __init__(self, order: Order, bounds: RuntimeBounds) -> None:
        self.order = order
        self.runtime_bounds = bounds
        self.classes: dict[ClassKey, JobClass] = {}
        self._count = 0
        self._unknown: dict[str, dict[JobId, None]] = {}
        """By the kind at the time of queueing; an update may have changed it."""

    def __len__(self) -> int:
        """Number of queued jobs."""
        return self._count

    @property
    def top_priority(self) -> int:
        """The highest priority of a queued job; 0 if there is none."""
        return max((key.shape.priority for key in self.classes), default=0)

    def set(self, job: Job, *, wants_in: bool) -> None:
        """Queues, moves or removes the job."""
        if job.job_class is None and not wants_in:
            return
        key = self.key(job) if wants_in else None
        if job.job_class is not None:
            if job.job_class.key == key:
                return
            self._leave(job.job_class, job)
        if key is not None:
            job_class = self.classes.get(key)
            if job_class is None:
                job_class = self.classes[key] = JobClass(key)
            insort(job_class.entries, _entry(job))
            job.job_class = job_class
            self._count += 1
            if not key.kind:
                self._unknown.setdefault(job.kind, {})[job.id] = None

    def _leave(self, job_class: JobClass, job: Job) -> None:
        del job_class.entries[bisect_left(job_class.entries, _entry(job))]
        if not job_class.entries:
            del self.classes[job_class.key]
        job.job_class = None
        self._count -= 1
        alike = self._unknown.get(job.kind, {})
        alike.pop(job.id, None)
        if not alike:
            self._unknown.pop(job.kind, None)

    def key_of(self, owner: UserName, spec: JobSpec, shape: Shape, kind: str) -> ClassKey:
        """Class of a job, submitted or not."""
        return ClassKey(
            shape=shape,
            account=spec.account or owner,
            queue=spec.queue,
            kind=kind if self.runtime_bounds.knows(kind) else "",
            runtime_s=spec.limits.runtime_s,
            grace_s=spec.recovery.grace_s,
            is_service=spec.kind == "service",
            is_late=False,
            reservation=spec.reservation,
            data=spec.data.datasets,
        )

    def key(self, job: Job) -> ClassKey:
        """Class of a job."""
        key = self.key_of(job.record.owner, job.spec, job.shape, job.kind)
        return key._replace(is_late=bool(job.late), grace_s=job.grace_s, data=needs_of(job))

    def runs_s(self, key: ClassKey) -> float | None:
        """Maximum runtime of a gang of such a job; None = unknown."""
        if key.is_service:
            return None
        return self.runtime_bounds.bound_s(key.kind, key.runtime_s, key.grace_s)

    def unknown(self, kind: str) -> list[JobId]:
        """Queued jobs of a kind whose runtime was unknown when they were queued."""
        return list(self._unknown.get(kind, ()))

    def regroup(self, jobs: Iterable[Job]) -> None:
        """Moves queued jobs of which only the class has changed: of each class all at once, as tens
        of thousands may be of a kind whose runtime becomes known."""
        leaving: dict[tuple[ClassKey, str], list[Job]] = {}
        for job in jobs:
            if job.job_class is not None:
                leaving.setdefault((job.job_class.key, job.kind), []).append(job)
        for (before, kind), some in leaving.items():
            if self.runtime_bounds.knows(kind) and not before.kind:
                self._regroup(self.classes[before], before._replace(kind=kind), some)

    def _regroup(self, old: JobClass, key: ClassKey, jobs: list[Job]) -> None:
        moved = {job.id: _entry(job) for job in jobs}
        old.entries = [entry for entry in old.entries if entry[1] not in moved]
        if not old.entries:
            del self.classes[old.key]
        new = self.classes.setdefault(key, JobClass(key))
        new.entries = sorted([*new.entries, *moved.values()])
        for job in jobs:
            job.job_class = new
        alike = self._unknown.pop(key.kind, {})
        left = {number: None for number in alike if number not in moved}
        if left:
            self._unknown[key.kind] = left

    def fronts(self) -> Iterator[tuple[JobId, JobClass]]:
        """The first jobs of each class, as many as one cycle can place, all in order."""
        seen: dict[tuple[int, Level], list[tuple[float, JobId, JobClass]]] = {}
        for job_class in self.classes.values():
            before, later_s = self.order.rank(job_class.key)
            front = job_class.entries[:MAX_PLACEMENTS]
            job_class.last = front[-1][1]
            job_class.runs_s = self.runs_s(job_class.key)
            alike = seen.setdefault(before, [])
            alike += [(at + later_s, job, job_class) for at, job in front]
        for before in sorted(seen):
            for _, job, job_class in sorted(seen[before]):
                yield job, job_class

    def ahead_of(self, rank: Rank, submitted_unix_s: float, job: JobId) -> QueuePosition:
        """Number of jobs ahead of one of this rank."""
        turn_s, ahead = submitted_unix_s + rank.later_s, [0, 0, 0]
        for job_class in self.classes.values():
            other = self.order.rank(job_class.key)
            if other.before < rank.before:
                ahead[other.before[0] == rank.before[0]] += len(job_class.entries)
            elif other.before == rank.before:
                turn = UnixTime(turn_s - other.later_s)
                ahead[2] += bisect_left(job_class.entries, (turn, job))
        return QueuePosition(*ahead)


def _entry(job: Job) -> Entry:
    return job.record.submitted_unix_s, job.id
