"""Jobs, gangs and attempts in memory: phases that carry their data, and the legal moves.

A gang is what starts together; its phase is a union, so what belongs to a phase cannot be read in
another one. `LEGAL` is the only table of moves; an illegal one raises with the job's history.
"""

import math
from collections import deque
from dataclasses import dataclass, field

from wattline_protocol.ids import AttemptNo, Instant, JobId, NodeId, TaskNo, UnixTime
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.views.site_views import JobState
from wattline_protocol.wire.agent_messages import TaskReport, TaskUsage
from wattline_scheduler.core.model.jobs.job_kind import kind_of
from wattline_scheduler.core.model.jobs.sorted_numbers import SortedNumbers
from wattline_scheduler.core.model.queue.job_class import Line
from wattline_scheduler.core.model.usage.gpu_idle_watch import IdleWatch
from wattline_scheduler.core.model.usage.usage import NO_USAGE
from wattline_scheduler.plan.learning.progress_rate import Course
from wattline_scheduler.plan.model.shape import Shape, Waiting
from wattline_scheduler.power.demand.cap_slowdown import Progress
from wattline_scheduler.records import AttemptRecord, Cause, GangPhase, GangRecord, JobRecord

MAX_ATTEMPTS_KEPT = 64
"""Ended attempts of one gang held in memory; a service may restart for months."""

HISTORY_KEPT = 64
"""Moves of one job held for the story of an illegal one."""

CRASHES_HELD = 3
"""Failures soon after the start, in a row, after which a gang is held, rather than burn retries."""

START_WAIT_S = 20.0
"""How long a placed gang waits for its watts before it gives its GPUs back."""

LONG_AGO = Instant(0.0)
NEVER_TRIED = AttemptNo(0)
NOT_DATED = UnixTime(0.0)


@dataclass(frozen=True, slots=True)
class Pending:
    """Waits for a place, not before `not_before` (back-off)."""

    since: Instant
    not_before: Instant = LONG_AGO
    not_before_unix_s: UnixTime = NOT_DATED


@dataclass(frozen=True, slots=True)
class Starting:
    """Placed. `is_ordered`: every lease was acknowledged and StartTask was sent."""

    since: Instant
    is_ordered: bool = False


@dataclass(frozen=True, slots=True)
class Running:
    """Every task was reported running once."""

    since: Instant
    ran_s: float | None = 0.0
    """Run time of this try before that; None = not heard yet, after a restart."""


@dataclass(frozen=True, slots=True)
class Paused:
    """Frozen, because floors did not fit a budget. `is_resuming`: its watts are being found."""

    since: Instant
    is_resuming: bool = False


@dataclass(frozen=True, slots=True)
class Ending:
    """Every task is being stopped; afterwards `cause` decides what comes next."""

    since: Instant
    cause: Cause


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing of it will run again."""

    outcome: JobState


Phase = Pending | Starting | Running | Paused | Ending | Ended

NAMES: dict[type[Phase], GangPhase] = {
    Pending: "pending",
    Starting: "starting",
    Running: "running",
    Paused: "paused",
    Ending: "ending",
    Ended: "ended",
}

LEGAL: dict[GangPhase, frozenset[GangPhase]] = {
    "pending": frozenset({"pending", "starting", "ended"}),
    "starting": frozenset({"starting", "running", "ending", "pending", "ended"}),
    "running": frozenset({"running", "paused", "ending", "pending", "ended"}),
    "paused": frozenset({"paused", "running", "ending", "pending", "ended"}),
    "ending": frozenset({"ending", "pending", "ended"}),
    "ended": frozenset({"pending"}),
}
"""From each phase to those that may follow. From an end only by a requeue."""

LIVE: frozenset[GangPhase] = frozenset({"starting", "running", "paused", "ending"})
"""Phases in which a gang holds GPUs."""


class IllegalTransition(AssertionError):
    """A gang was to move where it may not; tells the job's history."""


@dataclass(slots=True, eq=False)
class Attempt:
    """One try of one task. `record` is what is on disk, `report` the newest the agent said."""

    gang: "Gang"
    record: AttemptRecord
    report: TaskReport | None = None
    is_ordered: bool = False
    """StartTask was sent, perhaps in an earlier run: it may be running."""
    is_accepted: bool = False
    """The agent said that it has it."""
    progress: Progress | None = None
    """Of gangs that report one: what it says about caps."""
    course: Course | None = None
    """Of those that say how far they are, while they run: when they will have ended."""
    beat_seq: int | None = None
    """Newest beat that listed it, within the node's present incarnation."""
    quotas: tuple[int, ...] = ()
    """Those in which it counts, and how much."""
    quota_milli: int = 0
    quota_mw: int = 0

    @property
    def node(self) -> NodeId:
        return self.record.node

    @property
    def gpu_milli(self) -> int:
        """Thousandths that it has of each of its GPUs."""
        mig = self.record.mig
        return self.gang.job.shape.gpu_milli if mig is None else mig.share_permille

    @property
    def usage(self) -> TaskUsage:
        """The newest known usage."""
        reported = self.report.usage if self.report is not None else None
        if reported is None or reported.run_s < self.record.usage.run_s:
            return self.record.usage
        return reported

    @property
    def is_live(self) -> bool:
        return self.record.ended_unix_s is None


@dataclass(slots=True, eq=False)
class Gang:
    """Tasks of a job that start together: an array position, a replica, or the whole job."""

    job: "Job"
    number: int
    phase: Phase
    attempt: AttemptNo = NEVER_TRIED
    failures: int = 0
    crashes: int = 0
    """Failures soon after the start, in a row."""
    losses: int = 0
    """Tries lost with their node; these cost the user no retry."""
    refusals: int = 0
    """Starts in a row that an agent did not accept."""
    pauses: int = 0
    """Pauses in a row because what running work must keep did not fit."""
    paused_at: Instant = LONG_AGO
    reason: str = ""
    live: list[Attempt] = field(default_factory=list)
    """Attempts of the present try that were not reported ended."""
    warning: str = ""
    """What is wrong with it as it runs, where that only is told."""
    idle: IdleWatch | None = None
    """How it used its GPUs of late, where that is limited."""
    past: deque[Attempt] = field(default_factory=lambda: deque(maxlen=MAX_ATTEMPTS_KEPT))
    """Ended attempts, oldest first."""

    @property
    def phase_name(self) -> GangPhase:
        return NAMES[type(self.phase)]

    @property
    def key(self) -> tuple[JobId, int]:
        return self.job.id, self.number

    @property
    def name(self) -> str:
        """In sentences: `'train'`, of an array or a service `'train'[7]`, as people number it."""
        name, job = repr(self.job.spec.name), self.job
        return name if len(job.gangs) == 1 else f"{name}[{job.index_of(self.number)}]"

    @property
    def ran_s(self) -> float:
        """Run time of the present try as last heard, of the task that ran least."""
        return min((attempt.usage.run_s for attempt in self.live), default=0.0)

    @property
    def is_held(self) -> bool:
        """Held by itself, whatever its job is."""
        return self.number in self.job.held

    @property
    def is_crash_loop(self) -> bool:
        """Held because it failed again and again soon after its start."""
        return self.is_held and self.crashes >= CRASHES_HELD

    @property
    def attempts(self) -> list[Attempt]:
        """All known attempts, oldest first."""
        return [*self.past, *self.live]

    def task_no(self, rank: int) -> TaskNo:
        return TaskNo(self.number * self.job.spec.gang_size + rank)

    def as_record(self) -> GangRecord:
        """Its durable form."""
        phase = self.phase
        not_before = phase.not_before_unix_s if isinstance(phase, Pending) else NOT_DATED
        return GangRecord(
            job=self.job.id,
            gang=self.number,
            phase=self.phase_name,
            attempt=self.attempt,
            failures=self.failures,
            outcome=phase.outcome if isinstance(phase, Ended) else None,
            reason=self.reason,
            not_before_unix_s=not_before,
            cause=phase.cause if isinstance(phase, Ending) else None,
            is_held=self.is_held,
            losses=self.losses,
            crashes=self.crashes,
        )


@dataclass(slots=True, eq=False)
class Job:
    """An accepted job. `record.state` is derived from the gangs by `job_state.derive`."""

    record: JobRecord
    shape: Shape
    gangs: list[Gang] = field(default_factory=list)
    count: dict[GangPhase, int] = field(default_factory=lambda: dict.fromkeys(LEGAL, 0))
    """Gangs in each phase."""
    ready: SortedNumbers = field(default_factory=SortedNumbers)
    """Numbers of pending gangs that are not backing off."""
    line: Line | None = None
    """Where it stands while it is in the queue."""
    held: set[int] = field(default_factory=set)
    """Numbers of gangs that are held by themselves."""
    parents: dict[JobId, "Job"] = field(default_factory=dict)
    """Jobs that must end before any of its gangs starts; those that have ended are taken out."""
    most_live: int = 0
    """As many gangs may hold GPUs at a time at the least: an array may be throttled later."""
    spent: TaskUsage = NO_USAGE
    """Of all attempts that have ended, however long ago."""
    closed: str = ""
    """Why it may not start at this time of the week; empty = it may."""
    outside: str = ""
    """Why its reservation does not let it start; empty = it does, or it names none."""
    barred: tuple[str, str] | None = None
    """What of another site file keeps it from starting (`allowed.Gate`), and why."""
    max_grace_s: float = math.inf
    """Of the site: it may have been accepted when that was more."""
    late: str = ""
    """Why it cannot be done by its deadline; empty = it can, as far as is known."""
    at_risk: str = ""
    """Why it will be too late for its deadline, going by the room that it was promised."""
    waiting: Waiting | None = None
    """How the planner sees it; None = to be made anew."""
    has_run: bool = False
    """Any of its gangs ran at any time: later changes are not told as its start."""
    wait_reason: str = ""
    """Why the newest plan that looked at it could not place it."""
    history: deque[tuple[Instant, int, GangPhase, GangPhase]] = field(
        default_factory=lambda: deque(maxlen=HISTORY_KEPT)
    )
    _kind: tuple[JobSpec, str] | None = None

    def unlink(self) -> None:
        """It leaves memory: without its cycles it is freed at once, and needs no collection."""
        for gang in self.gangs:
            gang.live.clear()
            gang.past.clear()
        self.gangs.clear()
        self.count = dict.fromkeys(LEGAL, 0)

    @property
    def kind(self) -> str:
        """Of `kind_of`."""
        if self._kind is None or self._kind[0] is not self.spec:
            self._kind = self.spec, kind_of(self.record.owner, self.spec)
        return self._kind[1]

    @property
    def id(self) -> JobId:
        return self.record.id

    @property
    def spec(self) -> JobSpec:
        return self.record.spec

    @property
    def account(self) -> str:
        """Who pays; without an account of its own, its owner."""
        return self.spec.account or self.record.owner

    def index_of(self, number: int) -> int:
        """How people number a gang: its index in the array, else from 0."""
        array = self.spec.array
        return number if array is None else array.indices[number]

    @property
    def may_start(self) -> bool:
        """Nothing but room is missing for the gangs that are ready."""
        is_kept = self.record.is_held or self.parents or self.closed or self.outside
        return not (is_kept or self.barred)

    @property
    def follows_clock(self) -> bool:
        """It has windows or a deadline, or names a reservation."""
        spec = self.spec
        return bool(spec.windows.start_only or spec.windows.deadline or spec.reservation)

    @property
    def live_count(self) -> int:
        """Gangs that hold GPUs."""
        return sum(self.count[phase] for phase in sorted(LIVE))

    @property
    def grace_s(self) -> float:
        """From stop notice to kill: what it asked for, or what the site lets jobs have now."""
        return min(self.spec.recovery.grace_s, self.max_grace_s)

    @property
    def let_go(self) -> list[Gang]:
        """Replicas that it does not want any more."""
        return self.gangs[self.spec.gang_count :]

    @property
    def open_count(self) -> int:
        """Gangs that have not ended."""
        return len(self.gangs) - self.count["ended"]

    @property
    def is_ended(self) -> bool:
        return self.count["ended"] == len(self.gangs)

    def story(self) -> str:
        """The moves of its gangs so far, for an error."""
        moves = "; ".join(f"{at:.3f} s gang {g}: {a} → {b}" for at, g, a, b in self.history)
        return f"job {self.id} ({self.spec.name!r}): {moves or 'no moves yet'}"
