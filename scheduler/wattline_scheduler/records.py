"""The durable form of the state: what the store keeps and what a restart is rebuilt from.

The core emits `Save(record)`; the store upserts it by its key. `Saved` is everything on
record, as the store loads it. A record holds facts that someone was promised (STYLE 7).
"""

from typing import ClassVar, Literal

import msgspec

from wattline_protocol.ids import (
    AttemptNo,
    DomainId,
    Epoch,
    GpuIndex,
    Incarnation,
    JobId,
    NodeId,
    Sequence,
    TaskNo,
    TaskRef,
    UnixTime,
    UserName,
)
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.views.site_views import EventView, JobState, LimitSource
from wattline_protocol.wire.agent_messages import GpuInfo, TaskExit, TaskUsage
from wattline_protocol.wire.mig import MigInstance
from wattline_protocol.wire.problems import Severity


class JobRecord(msgspec.Struct, frozen=True):
    """An accepted job. `state` and `reason` are the last that were shown."""

    key: ClassVar[tuple[str, ...]] = ("id",)
    id: JobId
    token: str
    owner: UserName
    submitted_unix_s: UnixTime
    spec: JobSpec
    state: JobState
    reason: str = ""
    is_held: bool = False
    held_by: str = ""
    """The operator by whom it, or indices of it, are held: its owner may not release them."""
    is_late: bool = False
    """It was told that the job cannot be done by its deadline."""
    is_risk_told: bool = False
    """It was told that the job is promised room too late for its deadline."""
    cancelled_by: str = ""
    """Who asked for cancellation; empty = nobody."""
    ended_unix_s: UnixTime | None = None


Cause = Literal[
    "finished", "cancelled", "timeout", "failed", "lost", "requeued", "asked", "preempted"
]
"""Why a try ends. requeued: the try never really ran (lease fell, emergency); asked: somebody sent
it back to the queue; preempted: it made room for a higher priority. None of them costs a retry."""

GangPhase = Literal["pending", "starting", "running", "paused", "ending", "ended"]


class GangRecord(msgspec.Struct, frozen=True):
    """Tasks of a job that start together. Where they run stands in the attempt records."""

    key: ClassVar[tuple[str, ...]] = ("job", "gang")
    job: JobId
    gang: int
    """Position in the array, replica number, or 0."""
    phase: GangPhase
    attempt: AttemptNo
    """Of the newest try; 0 = never tried."""
    failures: int = 0
    """Tries that count against `retries`."""
    outcome: JobState | None = None
    """Set when ended."""
    reason: str = ""
    not_before_unix_s: UnixTime = UnixTime(0.0)
    """Back-off after a failure; within a run, timing uses the monotonic clock."""
    cause: Cause | None = None
    """Why its try is being ended; None in other phases."""
    is_held: bool = False
    """Its index alone is held."""
    losses: int = 0
    """Tries lost with their node."""
    crashes: int = 0
    """Failures soon after the start, in a row."""


class AttemptRecord(msgspec.Struct, frozen=True):
    """One try of one task on one node: written before its StartTask is sent."""

    key: ClassVar[tuple[str, ...]] = ("job", "task", "attempt")
    job: JobId
    task: TaskNo
    attempt: AttemptNo
    node: NodeId
    gpus: tuple[GpuIndex, ...]
    state: JobState
    placed_unix_s: UnixTime
    started_unix_s: UnixTime | None = None
    ended_unix_s: UnixTime | None = None
    usage: TaskUsage = TaskUsage()
    metrics: dict[str, float] = {}
    worker_public_key: str = ""
    pid: int | None = None
    readopted: int = 0
    exit: TaskExit | None = None
    mig: MigInstance | None = None
    """The MIG device of its one GPU that it was given; None = GPUs, or a share of one."""
    note: str = ""
    """What its user should know of its start."""

    @property
    def ref(self) -> TaskRef:
        """The name agents use for it."""
        return TaskRef(self.job, self.task, self.attempt)


class NodeRecord(msgspec.Struct, frozen=True):
    """What is known about a host beyond the site file."""

    key: ClassVar[tuple[str, ...]] = ("node",)
    node: NodeId
    incarnation: Incarnation
    boot_id: str = ""
    hostname: str = ""
    agent_version: str = ""
    cpus: int = 0
    memory_bytes: int = 0
    gpus: tuple[GpuInfo, ...] = ()
    is_observe: bool = False
    is_simulated: bool = False
    is_draining: bool = False
    drain_reason: str = ""
    is_off: bool = False
    off_reason: str = ""
    is_spared: bool = False
    """Somebody is about to switch it on: not switched off out of band until it is heard."""
    drained_unix_s: UnixTime | None = None
    """Since when it is drained: nothing new starts, and the last task has left."""
    is_quarantined: bool = False
    """Its agent's words count nothing until an operator readmits it (I9)."""
    quarantine_reason: str = ""


Standing = Literal["nameplate", "leased", "full", "off"]


class SentLease(msgspec.Struct, frozen=True):
    """A lease that was sent and not yet superseded by an acknowledgement."""

    epoch: Epoch
    incarnation: Incarnation
    seq: Sequence
    lease_mw: int
    caps_mw: tuple[int, ...]


class BookRecord(msgspec.Struct, frozen=True):
    """A node's entry in the books (I1, I3, I9)."""

    key: ClassVar[tuple[str, ...]] = ("node",)
    node: NodeId
    standing: Standing
    """nameplate: never heard; leased: max(acked, sent); full: distrusted; off: declared off."""
    acked_mw: int = 0
    acked_caps_mw: tuple[int, ...] = ()
    sent: tuple[SentLease, ...] = ()


LimitPhase = Literal["planned", "in_force", "rising", "cancelled", "over"]


class LimitRecord(msgspec.Struct, frozen=True):
    """A lower budget of one domain: asked for, in force, rising again after its end, or over.

    A cancelled event stays until its end, so that its id is not taken for a new one.
    """

    key: ClassVar[tuple[str, ...]] = ("domain", "name")
    domain: DomainId
    name: str
    """ "shed", "schedule N", "event ID", or a controller's; one of each name in a domain."""
    source: LimitSource
    phase: LimitPhase
    value_mw: int
    """Budget once its ramp is over."""
    from_mw: int | None
    """Budget in force when it began; None: it has not begun."""
    start_unix_s: UnixTime
    ramp_s: float = 0.0
    end_unix_s: UnixTime | None = None
    """None: until restored or withdrawn."""
    release_s: float = 0.0
    """How long the budget rises after the end."""
    who: str = ""
    why: str = ""


class DemandRecord(msgspec.Struct, frozen=True):
    """What one kind of job (fingerprint) was seen to draw uncapped on one GPU model.

    `width_mw`, `sum_mw` and `bins` are the histogram from which the figures before them come.
    """

    key: ClassVar[tuple[str, ...]] = ("slot",)
    slot: int
    """Used again for another kind of job when all are taken: the oldest is dropped."""
    fingerprint: str
    label: str
    """User, job name and GPU, for people."""
    mean_mw: int
    p95_mw: int
    p99_mw: int
    ramp_mw: int
    """Largest rise from one beat to the next."""
    samples: int
    beyond: int
    """Samples under a cap that bound at or above the 95 % quantile; they are in no other figure."""
    swing_permille: int
    """Cap that the job needs over its draw, where that swings inside a second."""
    steepness_permille: int
    """How much more (or less) a cap costs it than the curve of its GPU says."""
    width_mw: int
    sum_mw: int
    bins: tuple[int, ...]
    seen_unix_s: UnixTime


class MeterRecord(msgspec.Struct, frozen=True):
    """What was learned from a domain's meter, rounded to the safe side."""

    key: ClassVar[tuple[str, ...]] = ("domain",)
    domain: DomainId
    held_mw: int
    """Load that nobody booked."""
    factor_permille: int


class PlantRecord(msgspec.Struct, frozen=True):
    """What an operator said of a zone's units."""

    key: ClassVar[tuple[str, ...]] = ("zone",)
    zone: DomainId
    units_said: int | None
    """None: nothing any more; what is sensed counts."""
    who: str = ""
    why: str = ""
    since_unix_s: UnixTime = UnixTime(0.0)


ReservationPhase = Literal["planned", "active", "over"]


class ReservationRecord(msgspec.Struct, frozen=True):
    """Nodes that an operator keeps from a time to a time; over: at its end, or taken back."""

    key: ClassVar[tuple[str, ...]] = ("name",)
    name: str
    phase: ReservationPhase
    """As it was told last: what may start where goes by the times."""
    start_unix_s: UnixTime
    end_unix_s: UnixTime
    nodes: tuple[NodeId, ...]
    accounts: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    who: str = ""
    why: str = ""


UseKind = Literal["account", "queue"]


class UseRecord(msgspec.Struct, frozen=True):
    """What the ended tries of one account, or of one queue, used. Written with the tries' ends.

    And what was told last of its quota, if it has one that is used up by the day or month.
    """

    key: ClassVar[tuple[str, ...]] = ("kind", "name")
    kind: UseKind
    name: str
    as_of_unix_s: UnixTime
    """To which the next two are decayed."""
    gpu_s: float = 0.0
    energy_mj: float = 0.0
    day_unix_s: UnixTime = UnixTime(0.0)
    """Beginning of the day of which `day_energy_mj` is."""
    day_energy_mj: float = 0.0
    month_unix_s: UnixTime = UnixTime(0.0)
    month_gpu_s: float = 0.0
    month_energy_mj: float = 0.0
    told_until_unix_s: UnixTime = UnixTime(0.0)
    """End of the day or month of which it was told that the quota of this name is used up."""
    told_limit: float = 0.0
    """What the quota was then: watt-hours a day, or dollars a month."""


class RecoveryRecord(msgspec.Struct, frozen=True):
    """Whether everything that ran before a backup was restored is known again."""

    key: ClassVar[tuple[str, ...]] = ()
    is_over: bool


class ProblemRecord(msgspec.Struct, frozen=True):
    """A condition that began, and ended unless `until_unix_s` is missing."""

    key: ClassVar[tuple[str, ...]] = ("number",)
    number: int
    """That of the event which began it."""
    kind: str
    subject: str
    severity: Severity
    since_unix_s: UnixTime
    until_unix_s: UnixTime | None
    evidence: str
    """As of its newest beginning, or of its end."""
    occurrences: int = 1
    node: NodeId | None = None
    job: JobId | None = None


class EventRecord(msgspec.Struct, frozen=True):
    """One line of the event and audit log."""

    key: ClassVar[tuple[str, ...]] = ("seq",)
    seq: int
    event: EventView


class ActRecord(msgspec.Struct, frozen=True):
    """What a person did or was refused, or who was enrolled: kept apart from the event log."""

    key: ClassVar[tuple[str, ...]] = ("seq",)
    seq: int
    event: EventView


class MemberRecord(msgspec.Struct, frozen=True):
    """A member of the allow-list as it was seen last."""

    key: ClassVar[tuple[str, ...]] = ("name",)
    name: str
    role: str
    public_key: str
    is_removed: bool = False


Record = (
    JobRecord
    | GangRecord
    | AttemptRecord
    | NodeRecord
    | BookRecord
    | LimitRecord
    | DemandRecord
    | MeterRecord
    | PlantRecord
    | UseRecord
    | ReservationRecord
    | RecoveryRecord
    | ProblemRecord
    | EventRecord
    | ActRecord
    | MemberRecord
)


class Saved(msgspec.Struct, frozen=True):
    """Everything on record that a restart needs, as the store loads it."""

    epoch: Epoch
    """Already raised and durable for this run (I8)."""
    instance: str
    jobs: tuple[JobRecord, ...] = ()
    """Those not ended, and the newest ended ones."""
    gangs: tuple[GangRecord, ...] = ()
    attempts: tuple[AttemptRecord, ...] = ()
    nodes: tuple[NodeRecord, ...] = ()
    books: tuple[BookRecord, ...] = ()
    limits: tuple[LimitRecord, ...] = ()
    """Those that are not over."""
    demands: tuple[DemandRecord, ...] = ()
    meters: tuple[MeterRecord, ...] = ()
    plants: tuple[PlantRecord, ...] = ()
    uses: tuple[UseRecord, ...] = ()
    """Those of the newest ends."""
    reservations: tuple[ReservationRecord, ...] = ()
    """Those that are not over."""
    problems: tuple[ProblemRecord, ...] = ()
    """The newest that ended, then those that are open, oldest first."""
    events: tuple[EventRecord, ...] = ()
    """The newest, oldest first."""
    newest_act: int = 0
    """Number of the newest act of a person."""
    members: tuple[MemberRecord, ...] = ()
    """Who was on the allow-list when it was looked at last."""
    next_job: JobId = JobId(1)
    """Above every id ever given."""
    next_event: int = 1
    outcomes: dict[JobId, JobState] = {}
    """Of ended jobs that are not among `jobs`, and that open ones wait for."""
    is_recovering: bool = False
    """A backup was restored, and not every node was heard since."""
    attempt_floor: int = 0
    """New attempts are numbered above it: what lies below may have run before a recovery."""
