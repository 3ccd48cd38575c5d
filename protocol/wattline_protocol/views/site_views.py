"""Views of the scheduler: one set for CLI, TUI, Python client and report.

Watts are floats here, for display. The books themselves are integers (`wall_power`).
"""

from typing import Literal

import msgspec

from wattline_protocol.ids import (
    AttemptNo,
    DomainId,
    Epoch,
    GpuIndex,
    JobId,
    NodeId,
    TaskNo,
    UnixTime,
)
from wattline_protocol.job.spec import WHOLE_GPU, JobKind, JobSpec, Share
from wattline_protocol.site.model import DomainKind
from wattline_protocol.views.account_views import PlaceView
from wattline_protocol.views.cache_view import CacheView
from wattline_protocol.views.diagnosis import Diagnosis, Verdict
from wattline_protocol.views.host_view import HostView
from wattline_protocol.views.part_view import PartView
from wattline_protocol.views.power_views import BindingView
from wattline_protocol.views.queue_views import QueuedView
from wattline_protocol.views.training_views import CheckpointView, RankView
from wattline_protocol.wire.agent_messages import TaskExit, TaskUsage
from wattline_protocol.wire.gpu_process import GpuProcess
from wattline_protocol.wire.mig import MigView
from wattline_protocol.wire.nodes.gpu_cordon import GpuCordon
from wattline_protocol.wire.problems import ProblemView

JobState = Literal[
    "PENDING",
    "HELD",
    "STARTING",
    "RUNNING",
    "PAUSED",
    "COMPLETED",
    "FAILED",
    "CANCELLED",
    "TIMEOUT",
    "NODE_FAIL",
    "PREEMPTED",
]
ENDED_STATES: frozenset[JobState] = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT"})

NodeState = Literal[
    "never heard", "ok", "draining", "drained", "silent", "off", "observe", "quarantined"
]


class AttemptView(msgspec.Struct, frozen=True):
    """One attempt of one task."""

    task: TaskNo
    attempt: AttemptNo
    state: JobState
    node: NodeId
    gpus: tuple[GpuIndex, ...]
    started_unix_s: UnixTime | None = None
    ended_unix_s: UnixTime | None = None
    usage: TaskUsage = TaskUsage()
    metrics: dict[str, float] = {}
    exit: TaskExit | None = None
    pid: int | None = None
    readopted: int = 0
    mig: str = ""
    """Profile of its MIG device; empty = none."""
    note: str = ""
    """A remark about its start for the user."""

    @property
    def places(self) -> str:
        """Its GPUs for display: "0,1", or "0 3g.40gb" for a MIG device."""
        return f"{','.join(map(str, self.gpus))} {self.mig}".strip()


def holders_text(job: JobId | None, others: tuple[JobId, ...]) -> str:
    """Numbers of the jobs with an allocation on a GPU."""
    return "" if job is None else ", ".join(map(str, (job, *others)))


class JobView(msgspec.Struct, frozen=True):
    """A job with its totals. `attempts` has details only in answers to GetJob."""

    id: JobId
    name: str
    kind: JobKind
    owner: str
    account: str
    queue: str
    priority: int
    state: JobState
    reason: str
    """Why it is pending, or how it ended, as text."""
    submitted_unix_s: UnixTime
    started_unix_s: UnixTime | None
    ended_unix_s: UnixTime | None
    gangs: int
    gangs_running: int
    gangs_ended: int
    gpus: int
    """GPUs requested per gang at a time, times gangs running; per gang while pending."""
    nodes: tuple[NodeId, ...]
    attempt_count: int
    """Highest attempt number of any of its tasks."""
    gpu_hours: float
    energy_kwh: float
    cost_usd: float
    utilisation: float | None
    """Mean GPU utilisation 0..1 while running; None = not measured."""
    cap_bound_gpu_s: float
    verdict: Verdict
    exit_code: int | None
    metrics: dict[str, float] = {}
    attempts: tuple[AttemptView, ...] = ()
    spec: JobSpec | None = None
    gpu_share_permille: Share = WHOLE_GPU
    """Its share of each of them."""
    mig: str = ""
    """Profile of its MIG devices; empty = whole GPUs."""
    expected_end_unix_s: UnixTime | None = None
    """When all running tasks will have ended; None = unknown."""
    expected_end_why: str = ""
    """Basis of that estimate."""
    grace_s: float | None = None
    """From stop notice to kill, if the site permits less than requested; in answers to GetJob."""
    ran_s: float = 0.0
    """Time in which its tasks ran, up to `running_since_unix_s`; none in which all were paused."""
    running_since_unix_s: UnixTime | None = None
    """Since when its tasks run, as if they had not been paused since; None: none runs."""
    checkpoint: CheckpointView | None = None
    diagnosis: Diagnosis | None = None
    """Why it is not faster, in answers to GetJob."""
    ranks: tuple[RankView, ...] = ()  # of gangs that hold GPUs, in answers to GetJob
    made: str = ""  # the version of a data set that its output became

    @property
    def gpu_count(self) -> str:
        """`gpus` for display: "8", "0.5" for half of one, or "4 x 3g.40gb" for MIG devices."""
        if self.mig:
            return self.mig if self.gpus == 1 else f"{self.gpus} x {self.mig}"
        return f"{self.gpus * self.gpu_share_permille / WHOLE_GPU:g}"

    def elapsed_s(self, now_unix_s: float) -> float | None:
        """Seconds in which at least one of its tasks ran; None before the first start."""
        if self.started_unix_s is None:
            return None
        since = self.running_since_unix_s
        return self.ran_s + (0.0 if since is None else max(0.0, now_unix_s - since))


class GpuView(msgspec.Struct, frozen=True):
    """One GPU now. None = unknown."""

    index: GpuIndex
    name: str
    power_w: float | None
    cap_w: float | None
    cap_min_w: float
    cap_max_w: float
    temp_c: int | None
    util_pct: int | None
    sm_clock_mhz: int | None
    memory_used_bytes: int | None
    memory_bytes: int
    reasons: int
    is_idle: bool
    can_cap: bool
    healthy: bool
    job: JobId | None
    """Job to which this GPU, or a part of it, is allocated."""
    c_per_w: float | None = None
    """Learned: temperature rise above its air per watt; None = not measured yet."""
    locked_mhz: int = 0  # locked ceiling of the SM clock; 0 = none
    others: tuple[JobId, ...] = ()  # further jobs with parts of it, besides `job`
    mig: tuple[MigView, ...] | None = None
    """Its MIG devices; None = it is not in MIG mode."""
    parts: tuple[PartView, ...] = ()
    """Allocated shares of it; empty = none, or one task has all of it."""
    is_cordoned: bool = False  # offered to no job; work on it continues
    foreign: tuple[GpuProcess, ...] = ()
    """Processes on it that belong to no job, largest memory first: no task is placed on it."""
    temp_limit_c: int | None = None  # above it the hardware slows its clocks down

    @property
    def margin_c(self) -> int | None:
        """Degrees up to that limit; negative above it."""
        if self.temp_c is None or self.temp_limit_c is None:
            return None
        return self.temp_limit_c - self.temp_c

    @property
    def jobs(self) -> str:
        """All jobs on it, for display: "17", "17 (0.5), 18 (0.25)"; empty = none.

        In MIG mode by device: "3g.40gb 17, 1g.10gb –". Then a foreign process: "python of ada".
        """
        return ", ".join(filter(None, (self._holders(), *(p.short for p in self.foreign[:1]))))

    def _holders(self) -> str:
        if self.mig is not None:
            devices = (f"{one.profile} {one.job or '–'}" for one in self.mig)
            return ", ".join(devices) or "no MIG devices"
        if self.parts:
            return ", ".join(part.text for part in self.parts)
        return holders_text(self.job, self.others)


OutOfBandView = Literal["none", "status", "off", "automatic"]
"""Control of a host without its agent: none; query whether it is off; also power it off for an
operator; also by the scheduler itself, where a lowered budget is not met otherwise."""


class NodeView(msgspec.Struct, frozen=True):
    """One host now."""

    id: NodeId
    rack: str
    state: NodeState
    reason: str
    lease_w: float
    committed_w: float
    measured_w: float | None
    estimated_w: float
    """Shown where nothing is measured: the model, or the lease of a silent node."""
    floor_w: float
    inlet_c: float | None
    cpu_pct: float
    heard_ago_s: float | None
    simulated: bool
    problems: tuple[str, ...]
    gpus: tuple[GpuView, ...]
    tasks: tuple[str, ...]
    """`JOB.TASK#ATTEMPT name` of the tasks here."""
    inputs: tuple[DomainId, ...]
    cooling_zone: DomainId | None
    out_of_band: OutOfBandView = "none"
    drained_unix_s: UnixTime | None = None
    """When the last task left a draining node; None = not drained."""
    empty_by_unix_s: UnixTime | None = None
    """Draining: when its tasks end by their runtime limits; None = one has no limit."""
    labels: dict[str, str] = {}  # from the site file
    open_problems: tuple[ProblemView, ...] = ()  # in answers to GetNode
    reserved: str = ""
    """Its reservation and end, or the next one, as text; empty = none."""
    gpu_count: int = 0
    """As the next five also where `gpus` are left out because a site has too many."""
    gpus_busy: int = 0  # those with a job
    gpus_cordoned: int = 0  # those without a job
    gpus_unavailable: int = 0  # others without a job that none may use: lost, foreign processes
    cordons: tuple[GpuCordon, ...] = ()  # also of GPUs that it no longer lists
    gpu_models: tuple[str, ...] = ()  # each once
    heard_unix_s: UnixTime | None = None
    """In rows of pictures: of a late node, its last beat; of others `heard_ago_s` is 0."""
    cache: CacheView | None = None  # in answers to GetNode
    host: HostView | None = None  # the same; None: it does not report


LimitSource = Literal["operator", "schedule", "event", "cooling", "meter"]
"""Origin of a lowered budget: a shed, a schedule, a grid event, or a controller."""


LimitStage = Literal["planned", "falling", "in_force", "rising", "cancelled"]
"""falling: on its ramp; rising: it has ended, the budget rises again."""


class LimitView(msgspec.Struct, frozen=True):
    """A lower budget of one domain, in force or planned."""

    domain: DomainId
    name: str
    """ "shed", "schedule N", "event ID", or a controller's: "cooling inlets", "meter" …"""
    source: LimitSource
    phase: LimitStage
    value_w: float
    """Budget once its ramp is over."""
    now_w: float | None
    """The budget it permits now; None: it has not begun."""
    is_binding: bool
    """It determines the budget of the domain now."""
    start_unix_s: UnixTime
    ramp_s: float
    end_unix_s: UnixTime | None
    """None: until restored, or until its controller withdraws it."""
    release_s: float
    requester: str = msgspec.field(name="who")
    why: str


MeterTrust = Literal["unread", "ok", "stale", "frozen", "implausible"]


class MeterView(msgspec.Struct, frozen=True):
    """Value of a domain's meter, and its evaluation."""

    trust: MeterTrust
    why: str
    """Why it is distrusted; empty while it is trusted."""
    wall_w: float | None
    """Newest trusted value."""
    age_s: float | None
    factor: float
    """Slow ratio of metered to reported draw of the nodes."""
    residual_w: float
    """Newest value minus the draw of nodes and fixed load."""
    unbooked_w: float
    """Unbooked load: part of what is reserved."""


class PlantView(msgspec.Struct, frozen=True):
    """Cooling plant of a zone and its inlet temperature. None = unknown, or not specified."""

    units: int
    """0 = not specified in the site file."""
    units_in_service: int
    units_declared: int | None = msgspec.field(name="units_said")
    """Set by an operator."""
    outside_c: float | None
    inlet_c: float | None
    """At the zone's warm end."""
    inlet_limit_c: float | None
    capacity_w: float
    """Permitted by units and weather."""
    problems: tuple[str, ...] = ()
    """Problems of its sensors."""


class DomainView(msgspec.Struct, frozen=True):
    """One power domain or cooling zone now. All watts at the wall."""

    id: DomainId
    kind: DomainKind
    parent: DomainId | None
    rating_w: float
    budget_w: float
    """In force now: the minimum of rating x derate and every limit."""
    full_budget_w: float
    committed_w: float
    reserved_w: float
    """Fixed load + transient margin + foreign reserve + unbooked load."""
    measured_w: float
    headroom_w: float
    """Budget - committed - reserved; negative while exceeded."""
    over_since_unix_s: UnixTime | None
    limits: tuple[LimitView, ...] = ()
    """In force and planned, the binding one first, then by start."""
    meter: MeterView | None = None
    plant: PlantView | None = None
    binding: BindingView | None = None
    """None: it limits no GPU."""


class WhyGpu(msgspec.Struct, frozen=True):
    """One busy GPU in the division of watts. GPU watts, overshoot included."""

    index: GpuIndex
    job: JobId | None
    priority: int
    """-1: of no job; it is capped at its floor."""
    floor_w: float
    useful_w: float = msgspec.field(name="keep_w")
    """Useful cap: below it its work would be paused rather than capped."""
    wanted_w: float
    """Its demand with ramp margin."""
    given_w: float
    binding: DomainId | None
    """The domain that limits it below `wanted_w`; None = none does."""
    others: tuple[JobId, ...] = ()
    """Further jobs with parts of it, besides `job`."""

    @property
    def jobs(self) -> str:
        """As `GpuView.jobs`."""
        return holders_text(self.job, self.others)


class PriorityShare(msgspec.Struct, frozen=True):
    """Watts of a domain for the GPUs of one priority."""

    priority: int
    gpus: int
    gpus_below_demand: int
    given_w: float
    """Their watts as they count in the domain, at the wall."""
    jobs: tuple[JobId, ...]
    """Those with most GPUs there, at most 10."""


class WhyView(msgspec.Struct, frozen=True):
    """Why a node has its watts. Watts at the wall; None = its lease cannot be set now."""

    node: NodeId
    lease_w: float
    committed_w: float
    reason: str
    """As text."""
    floor_w: float | None = None
    """Lowest lease that its work can be capped to."""
    wanted_w: float | None = None
    """Lease that covers its demand."""
    allotted_w: float | None = None
    """Its watts in the newest division; the lease follows."""
    binding: DomainId | None = None
    """The domain or zone that limits it below `wanted_w`; None = none does."""
    when_lost: DomainId | None = None
    """The binding case is the loss of this domain; None = normal operation."""
    since_unix_s: UnixTime | None = None
    """Since when it is that domain."""
    grantable_w: float | None = None
    """Upper bound for the sum of all leases below the binding domain."""
    served: tuple[PriorityShare, ...] = ()
    """In the binding domain, highest priority first: those served before the node, and with it."""
    gpus: tuple[WhyGpu, ...] = ()
    """GPUs with work, and those with a draw but no job."""


EventLevel = Literal["info", "warning", "alarm"]


class EventView(msgspec.Struct, frozen=True):
    """One line of the event and audit log."""

    seq: int
    unix_s: UnixTime
    kind: str
    """Constant name, e.g. "job_submitted", "budget_shed", "node_silent"."""
    actor: str = msgspec.field(name="who")
    """User or node that caused it; "scheduler" for its own acts."""
    text: str
    job: JobId | None = None
    node: NodeId | None = None
    level: EventLevel = "info"


class FilterRefusal(msgspec.Struct, frozen=True):
    """One filter of the planner: how many nodes it refused and what was missing."""

    filter: str
    nodes_refused: int
    missing: str


class Remedy(msgspec.Struct, frozen=True):
    """One change after which a job would start now."""

    kind: Literal["preempt", "gpus", "nodes", "time", "window"]
    text: str


class ExplainView(msgspec.Struct, frozen=True):
    """Why a job is pending, and until when. Data; CLI and TUI render the same value."""

    job: JobId
    """0: it was not submitted."""
    state: JobState
    reason: str
    nodes_total: int
    nodes_feasible: int
    nodes_needed: int
    """0: it has its nodes, and runs or is paused there."""
    refusals: tuple[FilterRefusal, ...]
    start_unix_s: UnixTime | None = None
    """Estimated; None = unknown, or it has its nodes."""
    start_why: str = ""
    """What it waits for until then, or why there is no estimate."""
    remedies: tuple[Remedy, ...] = ()
    """Each of them alone would let it start now."""
    place: PlaceView | None = None
    """None: it is not in the queue, because it is blocked or runs."""
    start_nodes: tuple[NodeId, ...] = ()
    """Where each of its tasks would start, if that is now."""


class SiteView(msgspec.Struct, frozen=True):
    """A snapshot of the whole site, as displayed by `top`."""

    site: str
    epoch: Epoch
    unix_s: UnixTime
    simulated: bool
    domains: tuple[DomainView, ...]
    nodes: tuple[NodeView, ...]
    jobs: tuple[JobView, ...]
    """Pending and running ones, and the most recently ended."""
    events: tuple[EventView, ...]
    """The newest, oldest first."""
    refused_messages: int
    """Messages refused since the scheduler started (unknown key, malformed, oversize …)."""
    problems: tuple[ProblemView, ...] = ()
    """Open ones, worst first; as many as fit."""
    open_alarms: int = 0
    open_warnings: int = 0
    """All open ones, listed or not."""
    queue: tuple[QueuedView, ...] = ()
    """The head of the queue, in its order."""
