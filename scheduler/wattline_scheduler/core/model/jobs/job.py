"""Jobs, gangs and attempts in memory: phases with their data, and the legal transitions.

A gang is the unit of start. Its phase is a union, so data of one phase cannot be read in another.
`LEGAL` is the only table of transitions; an illegal one raises with the job's history.
"""

import math
from collections import deque
from dataclasses import dataclass, field

from wattline_protocol.data.references import checkpoint_set
from wattline_protocol.ids import AttemptNo, Instant, JobId, NodeId, TaskNo, TaskRef, UnixTime
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.views.site_views import JobState
from wattline_protocol.wire.agent_messages import TaskReport, TaskUsage
from wattline_protocol.wire.task_reports.checkpoints import SavedCheckpoint, StoredCheckpoint
from wattline_scheduler.core.model.jobs.job_kind import kind_of
from wattline_scheduler.core.model.jobs.resume import ANYWHERE, Resume
from wattline_scheduler.core.model.jobs.sorted_numbers import SortedNumbers
from wattline_scheduler.core.model.queue.job_class import JobClass
from wattline_scheduler.core.model.usage.gpu_idle_watch import IdleWatch
from wattline_scheduler.core.model.usage.progress_watch import ProgressWatch
from wattline_scheduler.core.model.usage.rank_watch import RankWatch
from wattline_scheduler.core.model.usage.usage import NO_USAGE
from wattline_scheduler.plan.learning.progress_rate import Course
from wattline_scheduler.plan.model.shape import Shape, Waiting
from wattline_scheduler.power.demand.cap_slowdown import Progress
from wattline_scheduler.records import AttemptRecord, Cause, GangPhase, GangRecord, JobRecord

MAX_ATTEMPTS_KEPT = 64
"""Maximum number of ended attempts of a gang in memory; a service may restart for months."""

HISTORY_KEPT = 64
"""Maximum number of transitions of a job stored for the report of an illegal one."""

CRASHES_HELD = 3
"""Number of crashes in a row after which a gang is held, so that it does not use up its retries."""

LONG_AGO = Instant(0.0)
NEVER_TRIED = AttemptNo(0)
NOT_DATED = UnixTime(0.0)


@dataclass(frozen=True, slots=True)
class Pending:
    """Waits for placement, not before `not_before` (back-off)."""

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
    shifted_unix_s: UnixTime | None = None
    """Start of this try as if it had never been paused; None: it was not."""


@dataclass(frozen=True, slots=True)
class Paused:
    """Frozen, because floors did not fit a budget. `is_resuming`: it waits for its watts."""

    since: Instant
    is_resuming: bool = False


@dataclass(frozen=True, slots=True)
class Ending:
    """Every task is being stopped; `cause` decides the next phase."""

    since: Instant
    cause: Cause


@dataclass(frozen=True, slots=True)
class Publishing:
    """Every task has succeeded; its output becomes a version of a data set."""

    since: Instant
    boot_id: str
    """Of the host that has the output: a restart may lose bytes of it."""


@dataclass(frozen=True, slots=True)
class Ended:
    """No task of it will run again."""

    outcome: JobState


Phase = Pending | Starting | Running | Paused | Ending | Publishing | Ended

NAMES: dict[type[Phase], GangPhase] = {
    Pending: "pending",
    Starting: "starting",
    Running: "running",
    Paused: "paused",
    Ending: "ending",
    Publishing: "publishing",
    Ended: "ended",
}

LEGAL: dict[GangPhase, frozenset[GangPhase]] = {
    "pending": frozenset({"pending", "starting", "ended"}),
    "starting": frozenset({"starting", "running", "ending", "pending", "publishing", "ended"}),
    "running": frozenset({"running", "paused", "ending", "pending", "publishing", "ended"}),
    "paused": frozenset({"paused", "running", "ending", "pending", "publishing", "ended"}),
    "ending": frozenset({"ending", "pending", "ended"}),
    "publishing": frozenset({"pending", "ended"}),
    "ended": frozenset({"pending"}),
}
"""Legal successors of each phase. An ended gang is only left by a requeue."""

LIVE: frozenset[GangPhase] = frozenset({"starting", "running", "paused", "ending"})
"""Phases with allocated GPUs."""


@dataclass(slots=True, eq=False)
class Attempt:
    """One try of one task. `record` is the state on disk, `report` the agent's newest report."""

    gang: "Gang"
    record: AttemptRecord
    report: TaskReport | None = None
    is_ordered: bool = False
    """StartTask was sent, perhaps in an earlier run: it may be running."""
    is_accepted: bool = False
    """The agent has confirmed it."""
    progress: Progress | None = None
    """Progress rate under caps, for gangs that report a metric."""
    course: Course | None = None
    """Estimated end, for gangs that report their completed fraction, while they run."""
    checkpoint_stored_at: Instant = LONG_AGO
    """When its record was last given a newer checkpoint."""
    beat_seq: int | None = None
    """Newest heartbeat that listed it, within the node's current incarnation."""
    listed_after_end: int = 0
    """Heartbeats that listed it although its end is on record."""
    quotas: tuple[int, ...] = ()
    """Quotas in which it counts, then its amounts."""
    quota_milli: int = 0
    quota_mw: int = 0

    def __post_init__(self) -> None:
        """Of an attempt on record."""
        self.gang.has_saved |= self.record.checkpoint is not None
        self.gang.job.tried.add(self.gang.number)

    @property
    def node(self) -> NodeId:
        return self.record.node

    @property
    def gpu_milli(self) -> int:
        """Thousandths of each of its GPUs that it has."""
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
    def checkpoint(self) -> SavedCheckpoint | None:
        """The newest checkpoint that it is known to have published."""
        reported = self.report.checkpoint if self.report is not None else None
        return reported or self.record.checkpoint

    @property
    def is_live(self) -> bool:
        return self.record.ended_unix_s is None


@dataclass(slots=True, eq=False)
class Gang:
    """Tasks of a job that start together: an array index, a replica, or the whole job."""

    job: "Job"
    number: int
    phase: Phase
    attempt: AttemptNo = NEVER_TRIED
    size: int = 0
    """Tasks of the newest try, one per node; 0 = never tried."""
    room_since: Instant | None = None
    """Since when there has been room for more of them; None = there is none."""
    grows_from: int = 0
    """Tasks that it had when it was stopped to have more; 0 = it was not."""
    vain_growths: int = 0
    """Such stops in a row that brought no more."""
    failures: int = 0
    crashes: int = 0
    """Crashes in a row: failures soon after the start."""
    short_failures: int = 0
    """Tries in a row that failed soon after the start, also those that saved a checkpoint."""
    losses: int = 0
    """Tries lost with their node; these use no retry."""
    refusals: int = 0
    """Starts in a row that an agent refused."""
    wanted_cap_mw: int = 0
    """Cap of each of its GPUs with which its service keeps its SLO at its load; 0 = not scaled."""
    rendezvous_port: int = 0
    """Where the ranks of its current try meet; 0 = nowhere, or drawn by an earlier run."""
    pauses: int = 0
    """Pauses in a row because useful caps did not fit."""
    paused_at: Instant = LONG_AGO
    reason: str = ""
    live: list[Attempt] = field(default_factory=list)
    """Attempts of the current try that were not reported ended."""
    warning: str = ""
    """Warning text while it runs, for a limit that only warns."""
    idle: IdleWatch | None = None
    """Recent GPU utilisation, for jobs with an idle GPU limit."""
    progress: ProgressWatch | None = None
    """For jobs with `recovery.no_progress`."""
    has_saved: bool = False
    """One of its tasks is known to have published a checkpoint."""
    ranks: RankWatch | None = None
    """For gangs of several ranks that report their steps."""
    resumed_step: int = -1
    """Step of its newest checkpoint known when the current try began; -1 = none."""
    stored: StoredCheckpoint | None = None
    """The newest of its checkpoints in the store of the site."""
    resume: Resume = ANYWHERE
    """Where it finds its newest checkpoint, while it is pending."""
    lacks_checkpoint: bool = False
    """Held because its newest checkpoint cannot be read any more."""
    first_ended: Attempt | None = None
    """The newest ended attempt of its first rank."""
    past: deque[Attempt] = field(default_factory=deque)
    """Ended attempts, oldest first: all of the newest try, and some of earlier ones."""

    @property
    def phase_name(self) -> GangPhase:
        return NAMES[type(self.phase)]

    @property
    def key(self) -> tuple[JobId, int]:
        return self.job.id, self.number

    @property
    def name(self) -> str:
        """Name in texts: `'train'`, of an array or a service `'train'[7]`, by its index."""
        name, job = repr(self.job.spec.name), self.job
        return name if len(job.gangs) == 1 else f"{name}[{job.index_of(self.number)}]"

    @property
    def ran_s(self) -> float:
        """Run time of the current try as last reported, of the task that ran least."""
        return min((attempt.usage.run_s for attempt in self.live), default=0.0)

    @property
    def is_held(self) -> bool:
        """Whether the gang itself is held, regardless of its job."""
        return self.number in self.job.held

    @property
    def is_crash_loop(self) -> bool:
        """Held because it failed repeatedly soon after its start."""
        return self.is_held and self.crashes >= CRASHES_HELD

    @property
    def is_self_held(self) -> bool:
        """Held by the scheduler, for its `reason`."""
        return self.is_held and (self.lacks_checkpoint or self.crashes >= CRASHES_HELD)

    @property
    def attempts(self) -> list[Attempt]:
        """All known attempts, oldest first."""
        return [*self.past, *self.live]

    @property
    def checkpoint(self) -> SavedCheckpoint | None:
        """The newest checkpoint that one of its tasks is known to have published."""
        known = (attempt.checkpoint for attempt in reversed(self.attempts))
        return next((one for one in known if one is not None), None)

    @property
    def publisher(self) -> Attempt | None:
        """The ended attempt of the first rank of its newest try: the output is on its node."""
        first = self.first_ended
        return first if first is not None and first.record.attempt == self.attempt else None

    def keep_ended(self, attempt: Attempt) -> None:
        """Adds an ended attempt; of many, those of earlier tries leave memory."""
        self.past.append(attempt)
        while (
            len(self.past) > MAX_ATTEMPTS_KEPT
            and self.past[0].record.attempt < attempt.record.attempt
        ):
            self.past.popleft()
        if attempt.record.task == self.task_no(0):
            self.first_ended = attempt

    def task_no(self, rank: int) -> TaskNo:
        return TaskNo(self.number * self.job.spec.gang_size + rank)

    def as_record(self) -> GangRecord:
        """Its durable form."""
        phase = self.phase
        cause = phase.cause if isinstance(phase, Ending) else None
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
            cause="no_data" if self.lacks_checkpoint else cause,
            is_held=self.is_held,
            losses=self.losses,
            crashes=self.crashes,
            size=self.size,
            boot_id=phase.boot_id if isinstance(phase, Publishing) else "",
            stored=self.stored,
        )


@dataclass(slots=True, eq=False)
class Job:
    """An accepted job. `record.state` is derived from the gangs by `job_state.derive`."""

    record: JobRecord
    shape: Shape
    gangs: list[Gang] = field(default_factory=list)
    count: dict[GangPhase, int] = field(default_factory=lambda: dict.fromkeys(LEGAL, 0))
    """Number of gangs in each phase."""
    ready: SortedNumbers = field(default_factory=SortedNumbers)
    """Numbers of pending gangs that are not backing off."""
    job_class: JobClass | None = None
    """Its class in the queue while it is queued."""
    open: SortedNumbers = field(default_factory=SortedNumbers)
    """Of a service: numbers of replicas that have not ended. Removed ones stay in `gangs`."""
    tried: SortedNumbers = field(default_factory=SortedNumbers)
    """Numbers of gangs with a known attempt: of an array that waits few or none."""
    held: set[int] = field(default_factory=set)
    """Numbers of gangs with a hold of their own."""
    parents: dict[JobId, "Job"] = field(default_factory=dict)
    """Jobs that must end before any of its gangs starts; ended ones are removed."""
    replica_limit: int | None = None
    """Replicas that a rollout in progress lets run; None = all of them."""
    most_live: int = 0
    """Live gangs tolerated above the array throttle, which may have been lowered later."""
    failure_free_s: float = 0.0
    """Mean time between failures of the nodes of its newest start, if it saves by that; else 0."""
    spent: TaskUsage = NO_USAGE
    """Usage of all ended attempts, including those no longer in memory."""
    closed: str = ""
    """Reason why its windows bar it from starting now; empty = they do not."""
    outside: str = ""
    """Reason why its reservation bars it from starting; empty = it does not, or there is none."""
    unstaged: str = ""
    """Reason why its data bars it from starting: its nodes do not have it yet; empty = they do."""
    barred: tuple[str, str] | None = None
    """Gate by which the current site file bars it (`access.Gate`), and the reason."""
    max_grace_s: float = math.inf
    """The site's maximum; the job may have been accepted under a higher one."""
    late: str = ""
    """Reason why it cannot meet its deadline; empty = it can, as far as is known."""
    at_risk: str = ""
    """Reason why it may miss its deadline, by its promised start or its pace."""
    unsaved: tuple[TaskRef, str] | None = None
    """Attempt whose newest saves failed, and the warning; None = none known."""
    waiting: Waiting | None = None
    """Its planner form, cached; None = outdated."""
    has_run: bool = False
    """Any of its gangs has ever run; later phase changes are not reported as its start."""
    wait_reason: str = ""
    """Reason why the newest plan that evaluated it could not place it."""
    history: deque[tuple[Instant, int, GangPhase, GangPhase]] = field(
        default_factory=lambda: deque(maxlen=HISTORY_KEPT)
    )
    _kind: tuple[JobSpec, str] | None = None

    def unlink(self) -> None:
        """Breaks reference cycles when it leaves memory: it is freed without garbage collection."""
        for gang in self.gangs:
            gang.live.clear()
            gang.past.clear()
            gang.first_ended = None
        self.gangs, self.open, self.tried = [], SortedNumbers(), SortedNumbers()
        self.count = dict.fromkeys(LEGAL, 0)

    @property
    def kind(self) -> str:
        """Its kind, as of `kind_of`, cached."""
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
        """The account charged; without an account of its own, its owner."""
        return self.record.account

    def index_of(self, number: int) -> int:
        """User-visible index of a gang: its index in the array, else from 0."""
        array = self.spec.array
        return number if array is None else array.indices[number]

    @property
    def reads(self) -> tuple[str, ...]:
        """What is brought to its nodes before it starts: versions of data sets, and the newest of
        its checkpoints where it keeps them in the store and has been tried."""
        keeps = self.spec.data.outputs and any(gang.attempt for gang in self.gangs)
        own = (checkpoint_set(self.id),) if keeps else ()
        return (*self.spec.data.datasets, *own)

    @property
    def may_start(self) -> bool:
        """Whether its ready gangs wait for resources only."""
        return self.may_start_with_data and not self.unstaged

    @property
    def may_start_with_data(self) -> bool:
        """The same if its nodes had its data."""
        is_blocked = self.record.is_held or self.parents or self.closed or self.outside
        return not (is_blocked or self.barred)

    @property
    def tried_gangs(self) -> list[Gang]:
        """Gangs with a known attempt, by number."""
        return [self.gangs[number] for number in self.tried]

    @property
    def follows_clock(self) -> bool:
        """It has windows or a deadline, or names a reservation."""
        spec = self.spec
        return bool(spec.windows.start_only or spec.windows.deadline or spec.reservation)

    @property
    def gang_count(self) -> int:
        """Sets of tasks that there are to be: array indices, replicas as scaled, or one."""
        scaled = self.record.replicas
        return self.spec.gang_count if scaled is None else max(1, scaled)

    @property
    def is_asleep(self) -> bool:
        """Scaled to zero: its one replica is pending until a request comes."""
        return self.record.replicas == 0

    def replicas_under(self, spec: JobSpec) -> int | None:
        """`JobRecord.replicas` under a specification: what there are now, within its range."""
        service = spec.service
        if service is None or service.least == service.most:
            return None
        return min(max(self.gang_count, service.least), service.most)

    @property
    def live_count(self) -> int:
        """Number of gangs with allocated GPUs."""
        count = self.count  # not a sum over LIVE: it is asked of all jobs at once
        return count["starting"] + count["running"] + count["paused"] + count["ending"]

    @property
    def grace_s(self) -> float:
        """Time from stop notice to kill: as requested, within the site's current maximum."""
        return min(self.spec.recovery.grace_s, self.max_grace_s)

    @property
    def open_count(self) -> int:
        """Number of gangs that have not ended."""
        return len(self.gangs) - self.count["ended"]

    @property
    def is_ended(self) -> bool:
        return self.count["ended"] == len(self.gangs)

    def story(self) -> str:
        """The transitions of its gangs so far, for an error."""
        moves = "; ".join(f"{at:.3f} s gang {g}: {a} → {b}" for at, g, a, b in self.history)
        return f"job {self.id} ({self.spec.name!r}): {moves or 'no moves yet'}"
