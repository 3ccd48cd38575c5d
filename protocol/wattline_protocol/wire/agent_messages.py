"""Messages between scheduler and agents: one tagged union per direction.

MessagePack maps with the tag in field `t` (see `codec`). Unknown fields are ignored, unknown tags
refused. Every command carries (epoch, incarnation, seq): the agent drops commands that are older or
meant for an earlier incarnation, and every command is idempotent (I8). Milliwatts, millijoules.
"""

from typing import Annotated, Literal

import msgspec

from wattline_protocol.data.secrets import DropSecret, SecretDone, SecretNames, StoreSecret
from wattline_protocol.ids import Epoch, GpuIndex, Incarnation, NodeId, Sequence, TaskRef, UnixTime
from wattline_protocol.site.containers import USUAL_CONTAINERS, Containers
from wattline_protocol.site.task_environment import EnvPatterns
from wattline_protocol.site.wall_power import PERMILLE
from wattline_protocol.wire.agents.current import Current, Numbered, TaskMessage
from wattline_protocol.wire.agents.data_messages import DataReport, HoldData
from wattline_protocol.wire.agents.host_load import HostLoad
from wattline_protocol.wire.bounds import (
    Blob,
    Bytes,
    Celsius,
    Count,
    Few,
    Index,
    Megahertz,
    Milliwatts,
    OfGpus,
    OfTasks,
    Path,
    Permille,
    Problems,
    Ratio,
    Reading,
    Seconds,
    Sentence,
    Serial,
    Some,
    Span,
    StepMillijoules,
    StepMilliseconds,
    Time,
    WholeCelsius,
    Word,
)
from wattline_protocol.wire.gpu_process import MAX_FOREIGN, GpuProcess
from wattline_protocol.wire.mig import MigInstance
from wattline_protocol.wire.problems import MAX_CONDITIONS, Condition
from wattline_protocol.wire.raised_cap import RaisedCap
from wattline_protocol.wire.task_order import Notice, NoticeKind, TaskOrder
from wattline_protocol.wire.task_order import TaskUsage as TaskUsage
from wattline_protocol.wire.task_reports.logs import LogChunk as LogChunk
from wattline_protocol.wire.task_reports.logs import ReadLog as ReadLog
from wattline_protocol.wire.task_reports.run_records import ReadRecord, RecordRead
from wattline_protocol.wire.task_reports.task_report import ExitKind as ExitKind
from wattline_protocol.wire.task_reports.task_report import TaskExit as TaskExit
from wattline_protocol.wire.task_reports.task_report import TaskPhase as TaskPhase
from wattline_protocol.wire.task_reports.task_report import TaskReport as TaskReport
from wattline_protocol.wire.task_reports.terminals import TerminalDone, TerminalOrder

PROTOCOL_VERSION = 1
"""Sent in the first message of every connection; a mismatch is refused with a text."""

MAX_OVERSHOOT_PERMILLE = 5_000


# --- An agent's knowledge of its host ----------------------------------------------------


class GpuInfo(msgspec.Struct, frozen=True):
    """Identity and limits of one GPU, read once and on change."""

    index: Index[GpuIndex]
    uuid: Word[str]
    name: Word[str]
    memory_bytes: Bytes
    cap_min_mw: Milliwatts
    cap_default_mw: Milliwatts
    cap_max_mw: Milliwatts
    idle_mw: Milliwatts
    """Upper bound of the draw of this GPU while it is idle (learned, with margin)."""
    overshoot_permille: Annotated[int, msgspec.Meta(ge=PERMILLE, le=MAX_OVERSHOOT_PERMILLE)]
    """Largest 1 s average above the cap, per GPU model; 1000 = none."""
    can_cap: bool
    """False: no permission or not supported; then it counts at full (I2)."""
    managed: bool  # False: not managed by this agent; never capped, never allocated
    healthy: bool = True
    can_lock_clocks: bool = False
    """Its SM clocks can be locked: saves energy, and never lowers what the GPU counts (I2)."""
    can_share: bool = True  # False: its compute mode lets one process use it at a time (or none)
    mig: OfGpus[MigInstance] | None = None
    """In MIG mode only these are allocated, each to one task; None = it is not in MIG mode."""
    raised: bool = False  # its cap is raised externally again and again: it counts at its maximum
    temp_limit_c: WholeCelsius | None = None
    """Above it the hardware slows its clocks down; None = not reported."""


SW_POWER_CAP = 0x4
"""In `GpuSample.reasons`: clocks reduced by the software power cap (NVML)."""


class GpuSample(msgspec.Struct, frozen=True):
    """Fast telemetry of one GPU. None = not supported or not read in time, never zero."""

    index: Index[GpuIndex]
    power_mw: Milliwatts | None
    """1 s average."""
    cap_mw: Milliwatts | None
    """Limit in force as read back from the driver."""
    temp_c: WholeCelsius | None = None
    memory_temp_c: WholeCelsius | None = None
    util_pct: Reading | None = None
    sm_clock_mhz: Reading | None = None
    memory_used_bytes: Reading | None = None
    reasons: Reading = 0
    """Clock event reasons, the driver's bits."""
    energy_mj: Reading | None = None
    cap_bound_ms: StepMilliseconds = 0
    """Time since the last beat in which the power cap reduced the clocks."""
    is_idle: bool = False
    """Counts as idle under I2: no living task on it and at idle draw for 3 s."""
    lost: bool = False
    locked_mhz: Megahertz = 0
    """Ceiling of the SM clock that the agent has locked; 0 = none."""
    foreign: Annotated[tuple[GpuProcess, ...], msgspec.Meta(max_length=MAX_FOREIGN)] = ()
    """Processes on it that belong to no attempt of the node, largest memory first."""
    foreign_more: Count[int] = 0
    """Number of further ones."""


# --- Agent to scheduler -----------------------------------------------------------------


class Hello(msgspec.Struct, frozen=True, tag_field="t", tag="hello"):
    """First message of a connection. Answered by Welcome or Refused."""

    protocol: Serial[int]
    node: Word[NodeId]
    nonce: Blob
    """New for every Hello; ties the Welcome to it (I8)."""
    agent_version: Word[str]
    boot_id: Word[str]
    hostname: Word[str]
    cpus: Count[int]
    memory_bytes: Bytes
    gpus: OfGpus[GpuInfo]
    epoch_seen: Serial[Epoch] = Epoch(0)
    incarnation_seen: Serial[Incarnation] = Incarnation(0)
    observe: bool = False
    """True: this agent caps nothing and starts nothing; the node counts at full."""
    simulated: bool = False
    problems: Problems = ()
    can_run_as: bool = False
    """Its keeper may start tasks as other accounts of the host."""
    keeper_account: Word[str] = ""
    """The keeper's own account, or its number where the host has no name; empty: not reported."""
    takes_notices: bool = False
    """It understands NotifyTask; an older agent refuses it."""
    takes_recovery: bool = False
    """It understands LeaseTask, and its keeper task leases and stop signals."""
    keeps_records: bool = False
    """It understands ReadRecord."""
    address: Word[str] = ""
    """Its own end of the way to the scheduler, an IP address; empty: not known."""
    launchers: Few[Word[str]] = ()
    """Launchers that it has besides process and torchrun, that of terminals among them."""
    takes_secrets: bool = False
    """It understands StoreSecret and DropSecret, and its keeper secrets of tasks."""


class Adopted(Current, frozen=True, tag="adopted"):
    """Answer to Welcome: the watts the node is capped at now, read back from the driver.

    Only this message replaces the node's entry in the books (I9).
    """

    holding_mw: Milliwatts
    """Wall watts the caps in force guarantee by I2."""
    caps_mw: OfGpus[Milliwatts]
    """Limit in force per GPU, by index."""
    tasks: OfTasks[TaskReport]


class Beat(Current, frozen=True, tag="beat"):
    """Once a second: telemetry and the task digest."""

    seq: Serial[int]
    lease_seq: Serial[Sequence]
    """Newest lease applied; 0 = none since Adopted."""
    lease_mw: Milliwatts
    holding_mw: Milliwatts
    gpus: OfGpus[GpuSample]
    tasks: OfTasks[TaskReport]
    node_mw: Milliwatts | None = None
    """Measured wall power, where there is a sensor."""
    node_source: Word[str] = "model"
    """Source of `node_mw` or of the estimate: hwmon, rapl+model, model."""
    inlet_c: Celsius | None = None
    cpu_pct: Ratio = 0.0
    memory_used_bytes: Bytes = 0
    non_gpu_mw: Milliwatts | None = None
    """Measured or modelled load of the node without its GPUs."""
    problems: Problems = ()
    """Problems as sentences; for schedulers that do not know `conditions`."""
    raised: OfGpus[RaisedCap] = ()
    simulated: bool = False
    conditions: Annotated[tuple[Condition, ...], msgspec.Meta(max_length=MAX_CONDITIONS)] = ()
    """The same with kind and subject, which are constant while it lasts. An agent with `problems`
    but without these is an older one."""
    host: HostLoad | None = None
    """Disk and network; None: an older agent."""


class LeaseAck(Numbered, frozen=True, tag="lease_ack"):
    """The lease is on disk and in force; `caps_mw` were read back from the driver (I3)."""

    lease_mw: Milliwatts
    caps_mw: OfGpus[Milliwatts]


class LeaseRefused(Numbered, frozen=True, tag="lease_refused"):
    """The node cannot be capped that low now; nothing was acknowledged, caps are at the minimum."""

    lowest_mw: Milliwatts
    reason: Sentence


CommandOutcome = Literal["done", "not_covered", "refused"]


class CommandDone(Numbered, frozen=True, tag="command_done"):
    """Answer to HoldData, and to Start-, Stop-, Pause-, Resume-, Limit-, Notify-, Lease- and
    ForgetTask."""

    outcome: CommandOutcome
    detail: Sentence = ""


class TaskUpdate(Current, frozen=True, tag="task_update"):
    """Sent at once when an attempt changes phase; beats repeat it until ForgetTask."""

    report: TaskReport


class Rollup(msgspec.Struct, frozen=True):
    """One minute of one node, spooled while the scheduler is unreachable."""

    start_unix_s: Time[UnixTime]
    seconds: Seconds
    node_energy_mj: StepMillijoules
    gpu_energy_mj: OfGpus[StepMillijoules]
    node_peak_mw: Milliwatts
    cap_bound_gpu_ms: StepMilliseconds


class Rollups(msgspec.Struct, frozen=True, tag_field="t", tag="rollups"):
    """Spooled roll-ups in order; answered by RollupsSeen with the same `last`."""

    incarnation: Serial[Incarnation]
    last: Serial[int]
    items: Some[Rollup]


class Farewell(Current, frozen=True, tag="farewell"):
    """The agent stops in order; its tasks, if any, continue under the keeper."""


Carried = LogChunk | RecordRead | SecretDone | TerminalDone | Rollups
"""Those that the scheduler passes on or stores, without a change of its state."""
FromAgent = (
    Hello
    | Adopted
    | Beat
    | LeaseAck
    | LeaseRefused
    | CommandDone
    | TaskUpdate
    | DataReport
    | SecretNames
    | Carried
    | Farewell
)


# --- Scheduler to agent -----------------------------------------------------------------


class Welcome(msgspec.Struct, frozen=True, tag_field="t", tag="welcome"):
    """Issues the agent's incarnation, and the terms of the site file for its node."""

    protocol: Serial[int]
    epoch: Serial[Epoch]
    instance: Word[str]
    """Scheduler instance; two instances never share an epoch (I8)."""
    incarnation: Serial[Incarnation]
    nonce: Blob
    beat_period_s: Span
    isolation_after_s: Seconds
    isolation: Literal["keep", "floor"]
    task_lease_s: Seconds
    emergency_grace_s: Seconds
    non_gpu_worst_mw: Milliwatts
    psu_efficiency_permille: Permille
    checkpoint_root: Path = ""
    """Directory every node mounts; empty: the agent's own state directory."""
    node_state: Word[str] = "ok"
    may_be_root: bool = False
    """The site file permits tasks to run as root, where the keeper does."""
    pass_env: EnvPatterns = ()
    """Variables of the keeper's environment that tasks see besides the usual ones."""
    containers: Containers = USUAL_CONTAINERS
    takes_secrets: bool = False
    """The scheduler understands SecretNames."""


class Refused(msgspec.Struct, frozen=True, tag_field="t", tag="refused"):
    """The connection is refused; `reason` is a sentence for the operator's log."""

    protocol: Serial[int]
    reason: Sentence


class Rehello(msgspec.Struct, frozen=True, tag_field="t", tag="rehello"):
    """The scheduler does not know this incarnation (any more): send Hello again."""

    epoch: Serial[Epoch]
    reason: Sentence


class BeatSeen(Current, frozen=True, tag="beat_seen"):
    """Answer to each beat; proves to the agent that it was heard (I5)."""

    seq: Serial[int]


class Lease(Numbered, frozen=True, tag="lease"):
    """Wall watts granted to the node until replaced, and the scheduler's proposed division."""

    lease_mw: Milliwatts
    caps_mw: OfGpus[Milliwatts]
    """Requested cap per GPU, by index. The agent enforces I2 regardless."""


class StartTask(Numbered, frozen=True, tag="start_task"):
    """Start an attempt if the newest lease covers it at its floor, else NotCovered (I2)."""

    order: TaskOrder


class StopTask(TaskMessage, frozen=True, tag="stop_task"):
    """Stop notice, then SIGTERM, then after `grace_s` SIGKILL to the whole group."""

    grace_s: Seconds
    why: Sentence
    what: NoticeKind = "stop"


class PauseTask(TaskMessage, frozen=True, tag="pause_task"):
    """Emergency (I4): notice, freeze within 1 s, kill if the draw does not fall in time."""

    kill_after_s: Seconds
    why: Sentence


class ResumeTask(TaskMessage, frozen=True, tag="resume_task"):
    """Thaw a paused attempt if the newest lease covers it, else NotCovered."""


class LimitTask(TaskMessage, frozen=True, tag="limit_task"):
    """Replace a running attempt's runtime limit; 0 = none."""

    runtime_limit_s: Seconds


class NotifyTask(TaskMessage, frozen=True, tag="notify_task"):
    """Replace a running attempt's notice; None withdraws it."""

    notice: Notice | None
    in_s: Seconds = 0.0
    """From now to `notice.at_unix_s`: the node's clock may differ from the scheduler's."""


class LeaseTask(TaskMessage, frozen=True, tag="lease_task"):
    """Give a running attempt a task lease: on isolation it ends with it. Never taken back."""


class ForgetTask(TaskMessage, frozen=True, tag="forget_task"):
    """The end of this attempt is on the scheduler's disk: drop its record, retain its log."""


class DumpStacks(Current, frozen=True, tag="dump_stacks"):
    """Write the stacks of all threads of the attempt's ranks to its log. Not resent."""

    ref: TaskRef


class RollupsSeen(msgspec.Struct, frozen=True, tag_field="t", tag="rollups_seen"):
    """Roll-ups up to `last` are on disk; the agent may drop them."""

    last: Serial[int]


AgentCommand = (
    Lease
    | HoldData
    | StartTask
    | StopTask
    | PauseTask
    | ResumeTask
    | LimitTask
    | NotifyTask
    | LeaseTask
    | ForgetTask
)
"""Commands that are resent until acknowledged."""

Read = ReadLog | ReadRecord
OnSecret = StoreSecret | DropSecret
ToAgent = (
    Welcome
    | Refused
    | Rehello
    | BeatSeen
    | AgentCommand
    | DumpStacks
    | Read
    | OnSecret
    | TerminalOrder
    | RollupsSeen
)
