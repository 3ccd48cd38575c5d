"""The durable form of the state, stored by the store and restored at a restart.

The core emits `Save(record)`; the store upserts it by its key. `Saved` is the set of all records,
as the store loads it. A record contains facts that were promised to users or agents (STYLE 7).
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
from wattline_protocol.wire.nodes.gpu_cordon import GpuCordon
from wattline_protocol.wire.problems import Acknowledgement, Severity
from wattline_protocol.wire.rollouts import ENDED_PHASES, RolloutPhase
from wattline_protocol.wire.task_reports.checkpoints import SavedCheckpoint, StoredCheckpoint
from wattline_scheduler.api_key_record import ApiKeyRecord
from wattline_scheduler.data_record import DataRecord, DataSetRecord, DataVersionRecord
from wattline_scheduler.notification_record import NotificationRecord
from wattline_scheduler.route_record import RouteRecord
from wattline_scheduler.service_rollup import ServiceHour, ServiceRollup


class JobRecord(msgspec.Struct, frozen=True):
    """An accepted job. `state` and `reason` are those last displayed."""

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
    """The operator with a hold on it, or on indices of it: its owner may not release them."""
    is_late: bool = False
    """It was reported that the job cannot meet its deadline."""
    is_risk_reported: bool = msgspec.field(default=False, name="is_risk_told")
    """It was reported that the job may miss its deadline."""
    cancelled_by: str = ""
    """The user that requested cancellation; empty = none."""
    ended_unix_s: UnixTime | None = None
    replicas: int | None = None
    """Replicas that its service is scaled to, 0 while idle; None = a fixed number."""
    made: str = ""
    """Version of a data set that its output became: `features@v3`."""

    @property
    def account(self) -> str:
        """The account that its usage counts for."""
        return self.spec.account or self.owner


Cause = Literal[
    "finished",
    "cancelled",
    "timeout",
    "failed",
    "lost",
    "requeued",
    "asked",
    "preempted",
    "resized",
    "replaced",
    "rolled_back",
    "no_data",
]
"""Cause of the end of a try. requeued: the try never really ran (lease fell, emergency); asked: a
user requeued it, or a rollout stopped it for a time; preempted: a higher priority needed its
resources; resized: it runs again on another number of nodes. None of these uses a retry. replaced:
a rollout has replaced its job; rolled_back: its job was the new revision of one that went back."""

GangPhase = Literal["pending", "starting", "running", "paused", "ending", "publishing", "ended"]


class GangRecord(msgspec.Struct, frozen=True):
    """Tasks of a job that start together. Their nodes are in the attempt records."""

    key: ClassVar[tuple[str, ...]] = ("job", "gang")
    job: JobId
    gang: int
    """Position in the array, replica number, or 0."""
    phase: GangPhase
    attempt: AttemptNo
    """The newest try; 0 = never tried."""
    failures: int = 0  # tries that count against `retries`
    outcome: JobState | None = None
    """Set when ended."""
    reason: str = ""
    not_before_unix_s: UnixTime = UnixTime(0.0)
    """Back-off after a failure; within a run, timing uses the monotonic clock."""
    cause: Cause | None = None
    """Cause of the end of its try; "no_data" of a pending one held without its checkpoint."""
    is_held: bool = False
    """The gang itself is held."""
    losses: int = 0
    """Tries lost with their node."""
    crashes: int = 0
    """Failures soon after the start, in a row."""
    size: int = 0
    """Tasks of the newest try; 0 = never tried."""
    boot_id: str = ""  # of the host that has its output, while it publishes
    stored: StoredCheckpoint | None = None  # its newest one in the store of the site


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
    """The MIG device allocated to it; None = GPUs, or a share of one."""
    note: str = ""
    """Note to its user about its start."""
    checkpoint: SavedCheckpoint | None = None  # the newest that it has published
    has_task_lease: bool = False
    """Its keeper ends it when its node is isolated for longer than the task lease."""

    @property
    def ref(self) -> TaskRef:
        """Its identifier in messages of agents."""
        return TaskRef(self.job, self.task, self.attempt)


class NodeRecord(msgspec.Struct, frozen=True):
    """State of a host beyond the site file."""

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
    cordons: tuple[GpuCordon, ...] = ()
    is_off: bool = False
    off_reason: str = ""
    is_spared: bool = False  # an operator is about to switch it on: not fenced until it is heard
    fence: Literal["", "ordered", "off"] = ""  # being switched off for its silence, or off since
    verified_way: str = ""
    """Digest of the out-of-band way that answered "on" when last queried while its agent reported;
    a site file that names another way has it verified again."""
    drained_unix_s: UnixTime | None = None
    """Time since when it is drained: no task starts, and the last one has left."""
    task_lease_s: float = 0.0
    """The longest that its keeper may go by: the site file's at its last Hello, or an earlier."""
    is_quarantined: bool = False  # its agent's messages are ignored until it is readmitted (I9)
    quarantine_reason: str = ""


Standing = Literal["nameplate", "leased", "full", "off"]


class SentLease(msgspec.Struct, frozen=True):
    """A lease that was sent and is not superseded by an acknowledgement yet."""

    epoch: Epoch
    incarnation: Incarnation
    seq: Sequence
    lease_mw: int


class BookRecord(msgspec.Struct, frozen=True):
    """A node's entry in the books (I1, I3, I9)."""

    key: ClassVar[tuple[str, ...]] = ("node",)
    node: NodeId
    standing: Standing
    """nameplate: never heard; leased: max(acked, sent); full: distrusted; off: declared off."""
    acked_mw: int = 0
    sent: tuple[SentLease, ...] = ()


LimitPhase = Literal["planned", "in_force", "rising", "cancelled", "over"]


class LimitRecord(msgspec.Struct, frozen=True):
    """A lower budget of one domain: planned, in force, rising after its end, cancelled, or over.

    A cancelled event stays until its end, so that its id cannot be announced again as new.
    """

    key: ClassVar[tuple[str, ...]] = ("domain", "name")
    domain: DomainId
    name: str
    """ "shed", "schedule N", "event ID", or a controller's; one of each name in a domain."""
    source: LimitSource
    phase: LimitPhase
    value_mw: int
    """Budget at the end of its ramp."""
    from_mw: int | None
    """Budget in force when it began; None: it has not begun."""
    start_unix_s: UnixTime
    ramp_s: float = 0.0
    end_unix_s: UnixTime | None = None
    """None: until restored or withdrawn."""
    release_s: float = 0.0
    """Time for which the budget rises after the end."""
    requester: str = msgspec.field(default="", name="who")
    why: str = ""


class DemandRecord(msgspec.Struct, frozen=True):
    """Uncapped draw of one kind of job (fingerprint) on one GPU model, as observed.

    `width_mw`, `sum_mw` and `bins` are the histogram from which the preceding values come.
    """

    key: ClassVar[tuple[str, ...]] = ("slot",)
    slot: int
    """Reused for another kind of job when all are taken: the oldest is dropped."""
    fingerprint: str
    label: str
    """User, job name and GPU, for display."""
    mean_mw: int
    p95_mw: int
    p99_mw: int
    ramp_mw: int
    """Largest rise between two heartbeats."""
    samples: int
    beyond: int
    """Samples at or above the 95 % quantile under a binding cap; excluded from all other values."""
    swing_permille: int
    """Cap that the job needs, relative to its draw, where the draw swings within a second."""
    steepness_permille: int
    """Cost of a cap for the job, relative to the curve of its GPU."""
    width_mw: int
    sum_mw: int
    bins: tuple[int, ...]
    seen_unix_s: UnixTime


class MeterRecord(msgspec.Struct, frozen=True):
    """Values learned from a domain's meter, rounded to the safe side."""

    key: ClassVar[tuple[str, ...]] = ("domain",)
    domain: DomainId
    held_mw: int
    """Unbooked load."""
    factor_permille: int


class PlantRecord(msgspec.Struct, frozen=True):
    """Units of a zone in service, as declared by an operator."""

    key: ClassVar[tuple[str, ...]] = ("zone",)
    zone: DomainId
    units_declared: int | None = msgspec.field(name="units_said")
    """None: withdrawn; the sensor value applies."""
    requester: str = msgspec.field(default="", name="who")
    why: str = ""
    since_unix_s: UnixTime = UnixTime(0.0)


ReservationPhase = Literal["planned", "active", "over"]


class ReservationRecord(msgspec.Struct, frozen=True):
    """Nodes reserved by an operator from a start to an end; over: ended, or removed."""

    key: ClassVar[tuple[str, ...]] = ("name",)
    name: str
    phase: ReservationPhase
    """As last reported; starts are permitted by the times."""
    start_unix_s: UnixTime
    end_unix_s: UnixTime
    nodes: tuple[NodeId, ...]
    accounts: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    requester: str = msgspec.field(default="", name="who")
    why: str = ""


UseKind = Literal["account", "queue"]


class UseRecord(msgspec.Struct, frozen=True):
    """Usage of the ended tries of one account or queue. Written with the tries' ends.

    Also the last report that its quota, if it has one per day or month, is used up.
    """

    key: ClassVar[tuple[str, ...]] = ("kind", "name")
    kind: UseKind
    name: str
    as_of_unix_s: UnixTime
    """Time to which the next two are decayed."""
    gpu_s: float = 0.0
    energy_mj: float = 0.0
    day_unix_s: UnixTime = UnixTime(0.0)
    """Start of the day of `day_energy_mj`."""
    day_energy_mj: float = 0.0
    month_unix_s: UnixTime = UnixTime(0.0)
    month_gpu_s: float = 0.0
    month_energy_mj: float = 0.0
    reported_until_unix_s: UnixTime = msgspec.field(default=UnixTime(0.0), name="told_until_unix_s")
    """End of the day or month for which the quota of this name was reported used up."""
    reported_limit: float = msgspec.field(default=0.0, name="told_limit")
    """The quota at that time: watt-hours a day, or dollars a month."""


class RecoveryRecord(msgspec.Struct, frozen=True):
    """Whether all that ran before a backup was restored is known again."""

    key: ClassVar[tuple[str, ...]] = ()
    is_over: bool


class ProblemRecord(msgspec.Struct, frozen=True):
    """A condition that began, and ended unless `until_unix_s` is missing."""

    key: ClassVar[tuple[str, ...]] = ("number",)
    number: int
    """Number of the event that began it."""
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
    acknowledged: Acknowledgement | None = None


class _Line(msgspec.Struct, frozen=True):
    key: ClassVar[tuple[str, ...]] = ("seq",)
    event: EventView

    @property
    def seq(self) -> int:
        """Its number."""
        return self.event.seq


class EventRecord(_Line, frozen=True):
    """One event of the event and audit log."""


class ActRecord(_Line, frozen=True):
    """A user's action, a denied one, or a membership change: stored apart from the event log."""


class RolloutRecord(msgspec.Struct, frozen=True):
    """The newest rollout of a service: from the revision `old` to the revision `new`."""

    key: ClassVar[tuple[str, ...]] = ("service",)
    service: str
    old: JobId
    new: JobId
    phase: RolloutPhase
    requester: str
    since_unix_s: UnixTime
    old_replicas: int
    new_replicas: int
    old_allowed: int
    """Replicas that may run now."""
    new_allowed: int
    canary_permille: int = 0
    shadow_permille: int = 0
    compare: str = "equal"
    is_in_place: bool = False
    equal: int = 0
    """Copies of requests answered alike."""
    different: int = 0
    uncompared: int = 0
    reason: str = ""
    """How it ended."""

    @property
    def is_open(self) -> bool:
        return self.phase not in ENDED_PHASES


class MemberRecord(msgspec.Struct, frozen=True):
    """A member of the allow-list as last seen."""

    key: ClassVar[tuple[str, ...]] = ("name",)
    name: str
    role: str
    public_key: str
    is_removed: bool = False
    has_reported: bool = False
    """A gateway: it has reported traffic since it has this key."""


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
    | ApiKeyRecord
    | RouteRecord
    | DataRecord
    | RecoveryRecord
    | ProblemRecord
    | EventRecord
    | ActRecord
    | MemberRecord
    | RolloutRecord
    | NotificationRecord
)


class Saved(msgspec.Struct, frozen=True):
    """All records that a restart needs, as the store loads them."""

    epoch: Epoch
    """Already raised and durable for this run (I8)."""
    instance: str
    jobs: tuple[JobRecord, ...] = ()
    """Open jobs, and the newest ended ones."""
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
    """Those with the newest ends."""
    reservations: tuple[ReservationRecord, ...] = ()
    """Those that are not over."""
    api_keys: tuple[ApiKeyRecord, ...] = ()
    """Those that are not revoked."""
    routes: tuple[RouteRecord, ...] = ()
    data_sets: tuple[DataSetRecord, ...] = ()
    data_versions: tuple[DataVersionRecord, ...] = ()
    problems: tuple[ProblemRecord, ...] = ()
    """The newest ended ones, then open ones, oldest first."""
    events: tuple[EventRecord, ...] = ()
    """The newest, oldest first."""
    newest_act: int = 0
    """Number of the newest user action."""
    members: tuple[MemberRecord, ...] = ()
    """The allow-list as last seen."""
    rollouts: tuple[RolloutRecord, ...] = ()
    """Those in progress, and the newest others."""
    notifications: tuple[NotificationRecord, ...] = ()  # not delivered yet
    service_minutes: tuple[ServiceRollup, ...] = ()
    """Of the newest hours, in order of time."""
    service_hours: tuple[ServiceHour, ...] = ()
    next_job: JobId = JobId(1)
    """Above every id ever issued."""
    next_event: int = 1
    outcomes: dict[JobId, JobState] = {}
    """Of ended jobs that are not among `jobs`, and that open ones wait for."""
    is_recovering: bool = False
    """A backup was restored, and not every node was heard since."""
    attempt_floor: int = 0
    """New attempts are numbered above it: lower ones may have run before a recovery."""
