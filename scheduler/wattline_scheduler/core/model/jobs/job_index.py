"""All jobs in memory and their indexes: queue, back-offs, starting and paused gangs.

`move` is the only way to change a gang's phase, so that indexes and phases cannot disagree.
"""

import heapq
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from itertools import islice
from typing import NamedTuple

from wattline_protocol.ids import Instant, JobId, NodeId, Now, TaskRef, UserName
from wattline_protocol.wire.client_messages import Acted
from wattline_scheduler.core.model.jobs.job import (
    LEGAL,
    LIVE,
    NAMES,
    Attempt,
    Ended,
    Gang,
    Job,
    Paused,
    Pending,
    Phase,
    Publishing,
    Running,
    Starting,
)
from wattline_scheduler.core.model.jobs.output_need import needs_of
from wattline_scheduler.core.model.jobs.replicas import open_replicas
from wattline_scheduler.core.model.jobs.service_names import ServiceNames
from wattline_scheduler.core.model.queue.queue import Queue
from wattline_scheduler.core.model.queue.queue_order import Order
from wattline_scheduler.core.model.queue.runtime_bounds import RuntimeBounds
from wattline_scheduler.core.model.timers import Timers
from wattline_scheduler.core.model.usage.open_job_counts import OpenJobs
from wattline_scheduler.core.model.usage.quota_book import QuotaBook
from wattline_scheduler.core.model.usage.usage import NO_USAGE
from wattline_scheduler.plan.cycle import MAX_PLACEMENTS
from wattline_scheduler.plan.model.columns import PRIORITY_LEVELS
from wattline_scheduler.plan.model.shape import GangKey, Shape, Waiting

MAX_ENDED_JOBS = 10_000
"""Maximum number of ended jobs in memory, equal to that of one list; older ones are on disk."""

MAX_ENDED_GANGS = 250_000
"""Maximum number of their gangs: 300 MB. Of large arrays fewer jobs stay."""

MAX_BACKOFFS_ENDED = 5_000
"""Back-offs that end in one tick, 10 µs each; the others end in the next ones."""

MAX_TOKENS = 100_000
"""Maximum number of submission tokens: a client repeats within minutes, before that many others."""

MAX_REQUEUES = 100
"""Maximum number of stored requeue answers: a client repeats within minutes; each may be large."""

MAX_SHAPES = 10_000
"""Maximum number of shared shapes."""

UNSTAGED = "its data is not examined yet"


class IllegalTransition(AssertionError):
    """An illegal phase transition of a gang; includes the job's history."""


class _Held(NamedTuple):
    """Frozen phase and live attempts of a gang with allocated GPUs."""

    phase: Phase
    live: tuple[Attempt, ...]


class Workload:
    """Jobs by id, and the indexes that spare handlers a scan of all jobs."""

    def __init__(self, order: Order, quotas: QuotaBook, services: ServiceNames) -> None:
        self.jobs: dict[JobId, Job] = {}
        self.tokens: dict[tuple[UserName, str], JobId] = {}
        """By user, so that a guessed token neither reveals nor blocks a job of another user."""
        self.live: dict[TaskRef, Attempt] = {}
        self.runtime_bounds = RuntimeBounds()
        self.queue = Queue(order, self.runtime_bounds)
        """Jobs with a gang that may start."""
        self.quotas = quotas
        self.services = services
        self.backoff: list[tuple[Instant, JobId, int]] = []
        """Heap of pending gangs that may not start yet."""
        self.starting: dict[GangKey, Gang] = {}
        self.paused: dict[GangKey, Gang] = {}
        self.publishing: dict[GangKey, Gang] = {}
        self.with_output: dict[GangKey, Gang] = {}
        """Gangs that were placed and have not ended, of whose output something becomes."""
        self.output_users: Counter[UserName] = Counter()
        """Open jobs of whose output something becomes, by owner."""
        self.growing: dict[GangKey, Gang] = {}
        """Running gangs that may have more nodes."""
        self.children: dict[JobId, dict[JobId, Job]] = {}
        """Children by the parent they wait for."""
        self.left: list[Job] = []
        """Jobs evicted from memory in this event: its handlers may still reference them."""
        self.over: deque[Job] = deque()
        """Ended jobs whose end was not propagated to all children yet."""
        self.metered: dict[JobId, Job] = {}
        """Jobs with usage limits that have allocated GPUs, or had and were not checked since."""
        self.with_data: dict[JobId, Job] = {}
        """Jobs that read data sets and have, or had, pending gangs, the oldest first."""
        self.is_data_new = False
        """There are such jobs that no staging has examined."""
        self.keeping: dict[JobId, Job] = {}
        """Jobs whose checkpoints are copied into the store."""
        self.timers = Timers()
        """Times at which the clock changes something for a job."""
        self.open: dict[JobId, Job] = {}
        """Jobs that have not ended, in the order in which they were opened."""
        self.open_jobs = OpenJobs(quotas)
        """Open gangs per user, account and queue: every index of an array counts."""
        self.live_at: Counter[int] = Counter()
        """Number of gangs with allocated GPUs, by priority; without zero entries."""
        self.requeues: dict[tuple[UserName, str], Acted] = {}
        """Answers by user and token: a repeat must not stop gangs that run again."""
        self._shapes: dict[Shape, Shape] = {}
        self._ended: dict[JobId, None] = {}
        self._ended_gangs = 0
        self.held: dict[Gang, _Held] | None = None
        """Frozen gangs of a copy made by `frozen`; None = not frozen."""
        self._requeued_later: dict[JobId, Job] | None = None
        """Jobs to be queued again; None = not `in_bulk`."""
        self._moved: dict[NodeId, None] = {}
        """Nodes of gangs whose phase changed since `take_moved`."""
        self.redescribe: dict[NodeId, None] = {}
        """The same since `preemption.running_gangs` described them, and nodes of gangs that do not
        run and whose run time was reported again."""

    def shared(self, shape: Shape) -> Shape:
        """Interns a shape, so that equal shapes compare by identity."""
        if len(self._shapes) >= MAX_SHAPES:
            self._shapes.clear()
        return self._shapes.setdefault(shape, shape)

    def add(self, job: Job, now: Now) -> None:
        """Adds a job with all of its gangs, in any phase."""
        self.jobs[job.id] = job
        self._remember_token(job)
        for gang in job.gangs:
            job.count[gang.phase_name] += 1
            self.count_live(job, int(gang.phase_name in LIVE))
            self._index(gang, now)
        self.open[job.id] = job
        self._count_output(job, 1)
        self.open_jobs.count(job, job.open_count)
        self.services.opened(job)
        self._evaluate_soon(job, now)
        self.meter(job)
        if job.spec.data.outputs:
            self.keeping[job.id] = job
        if job.reads and not job.is_ended:
            job.unstaged = UNSTAGED
            self.with_data[job.id] = job
        self.requeue(job)

    def grow(self, job: Job, gang: Gang, now: Now) -> None:
        """Adds a pending gang."""
        job.gangs.append(gang)
        job.count[gang.phase_name] += 1
        self.open_jobs.count(job, 1)
        self._index(gang, now)
        self.requeue(job)

    def _count_output(self, job: Job, by: int) -> None:
        if job.spec.data.has_output:
            owner = job.record.owner
            self.output_users[owner] += by
            if not self.output_users[owner]:
                del self.output_users[owner]

    def meter(self, job: Job) -> None:
        """Meters a job with usage limits that uses or has used anything."""
        uses = job.live_count or job.spent is not NO_USAGE
        if job.spec.has_use_limits and uses and not job.is_ended:
            self.metered[job.id] = job

    def _evaluate_soon(self, job: Job, now: Now) -> None:
        if job.follows_clock:
            self.timers.set(job.id, now.unix_s)

    def _remember_token(self, job: Job) -> None:
        self.tokens[job.record.owner, job.record.token] = job.id
        while len(self.tokens) > MAX_TOKENS:
            del self.tokens[next(iter(self.tokens))]

    def move(self, gang: Gang, phase: Phase, now: Now) -> None:
        """Changes a gang's phase. Raises IllegalTransition with the job's history."""
        before, after = gang.phase_name, NAMES[type(phase)]
        if after not in LEGAL[before]:
            raise IllegalTransition(
                f"gang {gang.number} may not go from {before} to {after}; {gang.job.story()}"
            )
        job = gang.job
        job.count[before] -= 1
        job.count[after] += 1
        if (before in LIVE) != (after in LIVE):
            self.count_live(job, int(after in LIVE) - int(before in LIVE))
        if after == "pending" and job.reads:
            self.with_data[job.id] = job
            self.is_data_new = True
            if job.spec.data.outputs:
                job.unstaged = UNSTAGED
        if "ended" in (before, after):
            self.open_jobs.count(job, int(before == "ended") - int(after == "ended"))
        if before != after:
            job.history.append((now.mono_s, gang.number, before, after))
        if job.most_live:
            job.most_live = min(job.most_live, job.live_count)
        gang.phase = phase
        if gang.live:
            nodes = dict.fromkeys(attempt.node for attempt in gang.live)
            self._moved.update(nodes)
            self.redescribe.update(nodes)
        if before in ("pending", "ended"):
            job.ready.discard(gang.number)
        else:
            self._unindex(gang)
        self._index(gang, now)
        if before != after:
            self._evaluate_soon(job, now)
            self.meter(job)
        self.requeue(job)

    def count_live(self, job: Job, count: int) -> None:
        """Adds to the number of gangs with allocated GPUs at the job's priority."""
        priority = job.spec.priority
        self.live_at[priority] += count
        if not self.live_at[priority]:
            del self.live_at[priority]

    @property
    def least_priority(self) -> int:
        """The lowest priority with allocated GPUs; above every priority if there is none."""
        return min(self.live_at, default=PRIORITY_LEVELS)

    def take_moved(self) -> list[NodeId]:
        """Nodes on which a gang changed its phase since the last call."""
        moved, self._moved = list(self._moved), {}
        return moved

    def is_moved(self, node: NodeId) -> bool:
        """Whether `take_moved` would return the node."""
        return node in self._moved

    def _unindex(self, gang: Gang) -> None:
        """Removes a gang that was neither pending nor ended."""
        key = gang.key
        self.starting.pop(key, None)
        self.paused.pop(key, None)
        self.publishing.pop(key, None)
        self.growing.pop(key, None)
        self.with_output.pop(key, None)

    def _index(self, gang: Gang, now: Now) -> None:
        phase, key, ready = gang.phase, gang.key, gang.job.ready
        if gang.job.spec.kind == "service":
            is_open, numbers = not isinstance(phase, Ended), gang.job.open
            (numbers.add if is_open else numbers.discard)(gang.number)
        if gang.job.spec.data.has_output and not isinstance(phase, Pending | Ended):
            self.with_output[key] = gang
        if isinstance(phase, Starting):
            self.starting[key] = gang
        elif isinstance(phase, Paused):
            self.paused[key] = gang
        elif isinstance(phase, Publishing):
            self.publishing[key] = gang
        elif isinstance(phase, Running) and gang.size < gang.job.spec.gang_size:
            self.growing[key] = gang
        elif isinstance(phase, Pending):
            if phase.not_before <= now.mono_s:
                if not gang.is_held:
                    ready.add(gang.number)
            else:
                heapq.heappush(self.backoff, (phase.not_before, *key))

    def requeue(self, job: Job) -> None:
        """Queues, moves or removes the job, according to its gangs."""
        job.waiting = None
        if self._requeued_later is not None:
            self._requeued_later[job.id] = job
            return
        self.queue.set(job, wants_in=job.may_start and self.may_start(job) > 0)

    @contextmanager
    def in_bulk(self) -> Iterator[None]:
        """Within it jobs keep their places in the queue: each is queued again once, at the end. For
        an act on thousands of gangs."""
        later = self._requeued_later = {}
        try:
            yield
        finally:
            self._requeued_later = None
            for job in later.values():
                self.requeue(job)

    def learn(self, gang: Gang, held_s: float, *, is_end: bool, is_done: bool) -> None:
        """Learns from the time a try had GPUs: a lower bound of its kind's runtime, or its end
        (`is_end`); also an upper bound if the work was completed (`is_done`)."""
        job = gang.job
        self.queue.order.service.held(gang, held_s, is_end=is_end)
        if is_done and self.runtime_bounds.note(job.kind, held_s):
            self.queue.regroup(filter(None, map(self.jobs.get, self.queue.unknown(job.kind))))

    def end_backoffs(self, now: Now) -> bool:
        """Makes gangs ready whose back-off is over, of many some; True if there were any."""
        ended = 0
        while self.backoff and self.backoff[0][0] <= now.mono_s and ended < MAX_BACKOFFS_ENDED:
            _, job_id, number = heapq.heappop(self.backoff)
            job = self.jobs.get(job_id)
            if job is None:
                continue
            phase = job.gangs[number].phase
            if isinstance(phase, Pending) and phase.not_before <= now.mono_s:
                if not job.gangs[number].is_held:
                    job.ready.add(number)
                self.requeue(job)
                ended += 1
        return ended > 0

    def waiting(self) -> tuple[Waiting, ...]:
        """The queue in the planner's form: of each class at most as many jobs as one cycle can
        place, so that ten thousand equal jobs cost a cycle no more than a few hundred."""
        return tuple(
            self._waiting_of(self.jobs[number], job_class.runs_s)
            for number, job_class in self.queue.fronts()
        )

    def note_waits(self, waits: Mapping[JobId, str]) -> None:
        """Stores wait reasons of a plan; jobs further back in a class share that of its last."""
        for job_class in self.queue.classes.values():
            last = job_class.last
            job_class.wait_reason = waits.get(last, "") if last is not None else ""
        for job, reason in waits.items():
            self.jobs[job].wait_reason = reason

    def _waiting_of(self, job: Job, runs_s: float | None) -> Waiting:
        if job.waiting is None or job.waiting.runs_s != runs_s:
            gangs = job.ready.first(self.may_start(job))
            first = job.gangs[gangs[0]].phase
            job.waiting = Waiting(
                job=job.id,
                priority=job.spec.priority,
                since=first.since if isinstance(first, Pending) else Instant(0.0),
                shape=job.shape,
                gangs=gangs,
                is_late=bool(job.late),
                runs_s=runs_s,
                quotas=self.quotas.of(job.account, job.spec.queue),
                reservation=job.spec.reservation,
                data=needs_of(job),
                replicas=_nodes_of(job) if job.spec.kind == "service" else None,
            )
        return job.waiting

    def may_start(self, job: Job) -> int:
        """Number of its gangs that a plan may place: ready ones, within the array throttle or what
        a rollout allows; none of a service scaled to zero."""
        array, count = job.spec.array, min(MAX_PLACEMENTS, len(job.ready))
        if job.is_asleep:
            return 0
        if job.replica_limit is not None:
            return max(0, min(count, job.replica_limit - job.live_count))
        if array is None or not array.at_a_time:
            return count
        return max(0, min(count, array.at_a_time - job.live_count))

    def wait_for(self, job: Job, parent: Job) -> None:
        """Makes the job wait for the end of its parent."""
        job.parents[parent.id] = parent
        self.children.setdefault(parent.id, {})[job.id] = job

    def wait_no_more(self, job: Job, parent: Job) -> None:
        """Removes a parent, since it or the job itself has ended."""
        del job.parents[parent.id]
        others = self.children[parent.id]
        del others[job.id]
        if not others:
            del self.children[parent.id]

    def ended(self, job: Job) -> None:
        """Handles the end of a job; drops the oldest ended ones from memory."""
        self.open.pop(job.id)
        self._count_output(job, -1)
        self.services.ended(job)
        self.timers.forget(job.id)
        self.with_data.pop(job.id, None)  # of many, staging may not examine it before it is evicted
        for parent in list(job.parents.values()):
            self.wait_no_more(job, parent)
        if job.id in self.children:
            self.over.append(job)
        self._ended[job.id] = None
        self._ended_gangs += len(job.gangs)
        while len(self._ended) > MAX_ENDED_JOBS or self._ended_gangs > MAX_ENDED_GANGS:
            oldest = self.jobs.pop(next(iter(self._ended)))
            del self._ended[oldest.id]
            self._ended_gangs -= len(oldest.gangs)
            self.keeping.pop(oldest.id, None)
            self.left.append(oldest)

    def newest_ended(self, count: int) -> list[Job]:
        """The last `count` jobs that ended, the newest first."""
        return [self.jobs[number] for number in islice(reversed(self._ended), count)]

    def unlink_left(self) -> None:
        """Frees the jobs evicted in this event; called at its end."""
        for job in self.left:
            job.unlink()
        self.left.clear()

    def reopen(self, job: Job) -> None:
        """Reopens an ended job; its gangs are moved next."""
        if job.spec.data.outputs:
            self.keeping[job.id] = job
        self.open[job.id] = job
        self._count_output(job, 1)
        self.services.opened(job)
        del self._ended[job.id]
        self._ended_gangs -= len(job.gangs)
        if job in self.over:
            self.over.remove(job)

    def hold(self, gang: Gang, now: Now, *, is_held: bool) -> None:
        """Sets or clears the hold of one gang."""
        job, phase = gang.job, gang.phase
        if is_held:
            job.held.add(gang.number)
            job.ready.discard(gang.number)
        else:
            job.held.discard(gang.number)
            # A gang in back-off still comes from the heap.
            if isinstance(phase, Pending) and phase.not_before <= now.mono_s:
                job.ready.add(gang.number)
        self.requeue(job)

    def frozen(self) -> "Workload":
        """A copy with allocations and quota headroom frozen at their current values."""
        other = copy(self)
        other.live, other.quotas = dict(self.live), self.quotas.frozen()
        other.live_at, other.redescribe = self.live_at.copy(), dict(self.redescribe)
        gangs = (attempt.gang for attempt in self.live.values())
        other.held = {gang: _Held(gang.phase, tuple(gang.live)) for gang in gangs}
        return other

    def live_of(self, gang: Gang) -> Sequence[Attempt]:
        """The live attempts of a gang with allocated GPUs."""
        return gang.live if self.held is None else self.held[gang].live

    def phase_of(self, gang: Gang) -> Phase:
        """The phase of a gang with allocated GPUs."""
        return gang.phase if self.held is None else self.held[gang].phase

    def remember_requeue(self, user: UserName, token: str, answer: Acted) -> None:
        """Stores an answer, in case the request is repeated."""
        self.requeues[user, token] = answer
        while len(self.requeues) > MAX_REQUEUES:
            del self.requeues[next(iter(self.requeues))]

    def gangs_in(self, *phases: type[Phase]) -> list[Gang]:
        """Gangs with live attempts that are in one of the phases, each once, by key."""
        every = (attempt.gang for attempt in self.live.values())
        gangs = {gang.key: gang for gang in every if type(self.phase_of(gang)) in phases}
        return [gangs[key] for key in sorted(gangs)]


def _nodes_of(job: Job) -> tuple[NodeId, ...]:
    return tuple(attempt.node for gang in open_replicas(job) for attempt in gang.live)
