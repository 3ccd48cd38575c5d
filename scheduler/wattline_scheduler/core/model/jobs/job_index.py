"""All jobs in memory and their indexes: the queue, back-offs, what starts, what is paused.

`move` is the only way a gang changes phase, so the indexes cannot disagree with the phases.
"""

import heapq
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from copy import copy
from typing import NamedTuple

from wattline_protocol.ids import Instant, JobId, NodeId, Now, TaskRef, UserName
from wattline_protocol.wire.client_messages import Acted
from wattline_scheduler.core.model.jobs.job import (
    LEGAL,
    LIVE,
    NAMES,
    Attempt,
    Gang,
    IllegalTransition,
    Job,
    Paused,
    Pending,
    Phase,
    Starting,
)
from wattline_scheduler.core.model.jobs.service_names import ServiceNames
from wattline_scheduler.core.model.queue.queue import Queue
from wattline_scheduler.core.model.queue.queue_order import Order
from wattline_scheduler.core.model.queue.runtime_bounds import Longest
from wattline_scheduler.core.model.timers import Alarms
from wattline_scheduler.core.model.usage.open_job_counts import OpenJobs
from wattline_scheduler.core.model.usage.quota_book import QuotaBook
from wattline_scheduler.core.model.usage.usage import NO_USAGE
from wattline_scheduler.plan.cycle import MAX_PLACEMENTS
from wattline_scheduler.plan.model.columns import PRIORITY_LEVELS
from wattline_scheduler.plan.model.shape import GangKey, Shape, Waiting

MAX_ENDED_JOBS = 10_000
"""Ended jobs in memory, as many as one list shows; older ones are on disk."""

MAX_TOKENS = 100_000
"""Submission tokens remembered: a client repeats within minutes, not after so many others."""

MAX_REQUEUES = 100
"""Answers to requeues remembered: a client repeats within minutes, and each may tell of much."""

MAX_SHAPES = 10_000
"""Of jobs, remembered to be shared."""


class _Held(NamedTuple):
    """A gang that holds GPUs, at some time."""

    phase: Phase
    live: tuple[Attempt, ...]


class Workload:
    """Jobs by id, and what a handler must find without looking at all of them."""

    def __init__(self, order: Order, quotas: QuotaBook, services: ServiceNames) -> None:
        self.jobs: dict[JobId, Job] = {}
        self.tokens: dict[tuple[UserName, str], JobId] = {}
        """By user: nobody can learn or block somebody else's job by guessing a token."""
        self.live: dict[TaskRef, Attempt] = {}
        self.longest = Longest()
        self.queue = Queue(order, self.longest)
        """Jobs with a gang that may start."""
        self.quotas = quotas
        self.services = services
        self.backoff: list[tuple[Instant, JobId, int]] = []
        """Heap of pending gangs that may not start yet."""
        self.starting: dict[GangKey, Gang] = {}
        self.paused: dict[GangKey, Gang] = {}
        self.children: dict[JobId, dict[JobId, Job]] = {}
        """By the job that they wait for."""
        self.left: list[Job] = []
        """Jobs that left memory in this event; what handles it may still have them in hand."""
        self.over: deque[Job] = deque()
        """Jobs that have ended and whose children were not all told yet."""
        self.metered: dict[JobId, Job] = {}
        """Jobs with limits of what they use that hold GPUs, or did and were not looked at since."""
        self.alarms = Alarms()
        """When the time of day changes something for a job."""
        self.open_count = 0
        """Jobs that have not ended."""
        self.open_jobs = OpenJobs(quotas)
        """The same by who has them, with every index of an array."""
        self.live_at: Counter[int] = Counter()
        """Gangs that hold GPUs, by priority; none of 0."""
        self.requeues: dict[tuple[UserName, str], Acted] = {}
        """By user and token: what ran again meanwhile is not stopped by a repeat."""
        self._shapes: dict[Shape, Shape] = {}
        self._ended: dict[JobId, None] = {}
        self.held: dict[Gang, _Held] | None = None
        """What was true of gangs when this was held still; None = it is not."""
        self._moved: dict[NodeId, None] = {}
        """Nodes of gangs whose phase changed since `take_moved`."""

    def shared(self, shape: Shape) -> Shape:
        """The equal shape of another job, if there is one: equal ones are compared at a glance."""
        if len(self._shapes) >= MAX_SHAPES:
            self._shapes.clear()
        return self._shapes.setdefault(shape, shape)

    def add(self, job: Job, now: Now) -> None:
        """Take a job whose gangs are all set, in whatever phase."""
        self.jobs[job.id] = job
        self._remember_token(job)
        for gang in job.gangs:
            job.count[gang.phase_name] += 1
            self.count_live(job, int(gang.phase_name in LIVE))
            self._index(gang, now)
        self.open_count += 1
        self.open_jobs.count(job, job.open_count)
        self.services.opened(job)
        self._look_soon(job, now)
        self.meter(job)
        self.requeue(job)

    def grow(self, job: Job, gang: Gang, now: Now) -> None:
        """One gang more, which waits."""
        job.gangs.append(gang)
        job.count[gang.phase_name] += 1
        self.open_jobs.count(job, 1)
        self._index(gang, now)
        self.requeue(job)

    def meter(self, job: Job) -> None:
        """Watch what it uses, where it is limited in that and uses anything, or did."""
        uses = job.live_count or job.spent is not NO_USAGE
        if job.spec.has_use_limits and uses and not job.is_ended:
            self.metered[job.id] = job

    def _look_soon(self, job: Job, now: Now) -> None:
        if job.follows_clock:
            self.alarms.set(job.id, now.unix_s)

    def _remember_token(self, job: Job) -> None:
        self.tokens[job.record.owner, job.record.token] = job.id
        while len(self.tokens) > MAX_TOKENS:
            del self.tokens[next(iter(self.tokens))]

    def move(self, gang: Gang, phase: Phase, now: Now) -> None:
        """Change a gang's phase. Raises IllegalTransition with the job's history."""
        before, after = gang.phase_name, NAMES[type(phase)]
        if after not in LEGAL[before]:
            raise IllegalTransition(
                f"gang {gang.number} may not go from {before} to {after}; {gang.job.story()}"
            )
        job = gang.job
        job.count[before] -= 1
        job.count[after] += 1
        self.count_live(job, int(after in LIVE) - int(before in LIVE))
        if "ended" in (before, after):
            self.open_jobs.count(job, int(before == "ended") - int(after == "ended"))
        if before != after:
            job.history.append((now.mono_s, gang.number, before, after))
        if job.most_live:
            job.most_live = min(job.most_live, job.live_count)
        gang.phase = phase
        self._moved.update(dict.fromkeys(attempt.node for attempt in gang.live))
        self._index(gang, now)
        if before != after:
            self._look_soon(job, now)
            self.meter(job)
        self.requeue(job)

    def count_live(self, job: Job, count: int) -> None:
        """So many gangs more, or fewer, hold GPUs at the job's priority."""
        priority = job.spec.priority
        self.live_at[priority] += count
        if not self.live_at[priority]:
            del self.live_at[priority]

    @property
    def least_priority(self) -> int:
        """The lowest of all that holds GPUs; above every priority where nothing does."""
        return min(self.live_at, default=PRIORITY_LEVELS)

    def take_moved(self) -> list[NodeId]:
        """Nodes on which a gang changed its phase since the last call."""
        moved, self._moved = list(self._moved), {}
        return moved

    def is_moved(self, node: NodeId) -> bool:
        """Whether `take_moved` would name the node."""
        return node in self._moved

    def _index(self, gang: Gang, now: Now) -> None:
        phase, key, ready = gang.phase, gang.key, gang.job.ready
        ready.discard(gang.number)
        self.starting.pop(key, None)
        self.paused.pop(key, None)
        if isinstance(phase, Starting):
            self.starting[key] = gang
        elif isinstance(phase, Paused):
            self.paused[key] = gang
        elif isinstance(phase, Pending):
            if phase.not_before <= now.mono_s:
                if not gang.is_held:
                    ready.add(gang.number)
            else:
                heapq.heappush(self.backoff, (phase.not_before, *key))

    def requeue(self, job: Job) -> None:
        """Put the job where it belongs in the queue, or take it out, as its gangs say."""
        job.waiting = None
        self.queue.set(job, wants_in=job.may_start and self.may_start(job) > 0)

    def learn(self, gang: Gang, held_s: float, *, is_end: bool, is_done: bool) -> None:
        """A try held its GPUs so long, which says something of others of its kind: that it lasts
        longer, or ends by then (`is_end`); that such work is done by then (`is_done`)."""
        job = gang.job
        self.queue.order.service.held(gang, held_s, is_end=is_end)
        if is_done and self.longest.note(job.kind, held_s):
            for number in self.queue.unknown(job.kind):
                other = self.jobs.get(number)
                if other is not None and other.line is not None:
                    self.requeue(other)

    def end_backoffs(self, now: Now) -> bool:
        """Make gangs ready whose back-off is over; True if there were any."""
        is_any = False
        while self.backoff and self.backoff[0][0] <= now.mono_s:
            _, job_id, number = heapq.heappop(self.backoff)
            job = self.jobs.get(job_id)
            if job is None:
                continue
            phase = job.gangs[number].phase
            if isinstance(phase, Pending) and phase.not_before <= now.mono_s:
                if not job.gangs[number].is_held:
                    job.ready.add(number)
                self.requeue(job)
                is_any = True
        return is_any

    def waiting(self) -> tuple[Waiting, ...]:
        """The queue as the planner sees it: of each line as many as one cycle places at most, so
        that ten thousand equal jobs cost a cycle no more than a few hundred."""
        runs_s = {key: self.queue.runs_s(key) for key in self.queue.lines}
        return tuple(
            self._waiting_of(self.jobs[number], runs_s[line.key])
            for number, line in self.queue.fronts()
        )

    def note_waits(self, waits: Mapping[JobId, str]) -> None:
        """Why the plan could not place these; those behind them wait for the same reason."""
        for line in self.queue.lines.values():
            line.wait_reason = waits.get(line.last, "") if line.last is not None else ""
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
                replicas=_nodes_of(job) if job.spec.kind == "service" else None,
            )
        return job.waiting

    def may_start(self, job: Job) -> int:
        """How many of its gangs a plan may place: of those that are ready, as its throttle says."""
        array, count = job.spec.array, min(MAX_PLACEMENTS, len(job.ready))
        if array is None or not array.at_a_time:
            return count
        return max(0, min(count, array.at_a_time - job.live_count))

    def wait_for(self, job: Job, parent: Job) -> None:
        """Nothing of the job starts before its parent has ended."""
        job.parents[parent.id] = parent
        self.children.setdefault(parent.id, {})[job.id] = job

    def wait_no_more(self, job: Job, parent: Job) -> None:
        """That parent has ended, or the job itself has."""
        del job.parents[parent.id]
        others = self.children[parent.id]
        del others[job.id]
        if not others:
            del self.children[parent.id]

    def ended(self, job: Job) -> None:
        """Note that a job ended; the oldest ended ones are dropped from memory."""
        self.open_count -= 1
        self.services.ended(job)
        self.alarms.forget(job.id)
        for parent in list(job.parents.values()):
            self.wait_no_more(job, parent)
        if job.id in self.children:
            self.over.append(job)
        self._ended[job.id] = None
        while len(self._ended) > MAX_ENDED_JOBS:
            oldest = next(iter(self._ended))
            del self._ended[oldest]
            self.left.append(self.jobs.pop(oldest))

    def unlink_left(self) -> None:
        """At the end of an event: what left memory is freed at once."""
        for job in self.left:
            job.unlink()
        self.left.clear()

    def reopen(self, job: Job) -> None:
        """Note that a job that had ended goes on; its gangs are moved next."""
        self.open_count += 1
        self.services.opened(job)
        del self._ended[job.id]
        if job in self.over:
            self.over.remove(job)

    def hold(self, gang: Gang, now: Now, *, is_held: bool) -> None:
        """Keep one gang from starting, or let it."""
        job, phase = gang.job, gang.phase
        if is_held:
            job.held.add(gang.number)
            job.ready.discard(gang.number)
        else:
            job.held.discard(gang.number)
            # One that backs off still comes from the heap.
            if isinstance(phase, Pending) and phase.not_before <= now.mono_s:
                job.ready.add(gang.number)
        self.requeue(job)

    def held_still(self) -> "Workload":
        """One in which who holds what, and what quotas leave, stays as it is now."""
        other = copy(self)
        other.live, other.quotas = dict(self.live), self.quotas.held_still()
        other.live_at = self.live_at.copy()
        gangs = (attempt.gang for attempt in self.live.values())
        other.held = {gang: _Held(gang.phase, tuple(gang.live)) for gang in gangs}
        return other

    def live_of(self, gang: Gang) -> Sequence[Attempt]:
        """The attempts with which a gang holds its GPUs."""
        return gang.live if self.held is None else self.held[gang].live

    def phase_of(self, gang: Gang) -> Phase:
        """The phase of a gang that holds GPUs."""
        return gang.phase if self.held is None else self.held[gang].phase

    def remember_requeue(self, user: UserName, token: str, answer: Acted) -> None:
        """Keep what was answered, in case it is asked again."""
        self.requeues[user, token] = answer
        while len(self.requeues) > MAX_REQUEUES:
            del self.requeues[next(iter(self.requeues))]

    def gangs_in(self, *phases: type[Phase]) -> list[Gang]:
        """Gangs with live attempts that are in one of the phases, each once, by key."""
        every = (attempt.gang for attempt in self.live.values())
        gangs = {gang.key: gang for gang in every if type(self.phase_of(gang)) in phases}
        return [gangs[key] for key in sorted(gangs)]


def _nodes_of(job: Job) -> tuple[NodeId, ...]:
    return tuple(attempt.node for gang in job.gangs for attempt in gang.live)
