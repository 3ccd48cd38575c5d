"""Effects that the core requests, in order; each is durable or in force before the next begins."""

from dataclasses import dataclass

from wattline_agent.core.durable import AgentState, UsageState
from wattline_agent.core.ports import LaunchContext
from wattline_protocol.data.secrets import DropSecret, StoreSecret
from wattline_protocol.ids import GpuIndex, TaskRef
from wattline_protocol.wire.agent_messages import ExitKind, FromAgent, Rollup
from wattline_protocol.wire.agents.data_messages import HoldOrder
from wattline_protocol.wire.task_order import Notice, TaskOrder
from wattline_protocol.wire.task_reports.terminals import TerminalOrder


@dataclass(frozen=True, slots=True)
class Send:
    """Send to the scheduler; lost when there is no connection."""

    message: FromAgent


@dataclass(frozen=True, slots=True)
class ApplyCaps:
    """Set caps and read them back; answered by CapsRead with the same generation."""

    generation: int
    caps_mw: dict[GpuIndex, int]
    scan: frozenset[GpuIndex] = frozenset()
    """GPUs whose foreign processes are listed as well."""


@dataclass(frozen=True, slots=True)
class ReadCaps:
    """Read all limits, set nothing; answered by CapsRead with the same generation."""

    generation: int


@dataclass(frozen=True, slots=True)
class LockClocks:
    """Lock SM clocks at or below these ceilings, 0 = unlock; answered by ClocksLocked."""

    ceilings_mhz: dict[GpuIndex, int]


@dataclass(frozen=True, slots=True)
class RestoreCaps:
    """Restore the limits found at start, before a clean stop without tasks. Not answered."""

    caps_mw: dict[GpuIndex, int]


@dataclass(frozen=True, slots=True)
class SaveState:
    """Write to disk, synced, before the next effect (I2, I8)."""

    state: AgentState


@dataclass(frozen=True, slots=True)
class SaveUsage:
    """Write to disk atomically; need not be synced."""

    usage: UsageState


@dataclass(frozen=True, slots=True)
class Launch:
    """Have the keeper start an attempt."""

    order: TaskOrder
    context: LaunchContext


@dataclass(frozen=True, slots=True)
class Stop:
    """Write the notice, send SIGTERM, after `grace_s` SIGKILL, to the whole group."""

    ref: TaskRef
    grace_s: float
    why: str
    kind: ExitKind | None = None


@dataclass(frozen=True, slots=True)
class Notify:
    """Replace the notice of what will interrupt a task; None withdraws it."""

    ref: TaskRef
    notice: Notice | None


@dataclass(frozen=True, slots=True)
class Freeze:
    """Freeze every process of an attempt."""

    ref: TaskRef


@dataclass(frozen=True, slots=True)
class Stacks:
    """Have the programs of an attempt write their stacks to its log."""

    ref: TaskRef


@dataclass(frozen=True, slots=True)
class Thaw:
    """Thaw a frozen attempt."""

    ref: TaskRef


@dataclass(frozen=True, slots=True)
class Limit:
    """Set another runtime limit for an attempt in the keeper; 0 = none."""

    ref: TaskRef
    runtime_limit_s: float


@dataclass(frozen=True, slots=True)
class Kill:
    """Send SIGKILL to the whole group, now."""

    ref: TaskRef
    kind: ExitKind
    why: str


@dataclass(frozen=True, slots=True)
class FindPrivileged:
    """Find the attempts with processes that may set caps; answered by PrivilegedFound."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Delete the record of an ended attempt; its log stays."""

    ref: TaskRef


@dataclass(frozen=True, slots=True)
class GrantTaskLease:
    """Give a running attempt a task lease (CLOCK_BOOTTIME); one that has a lease keeps it."""

    ref: TaskRef
    until_mono_s: float


@dataclass(frozen=True, slots=True)
class RenewTaskLeases:
    """Extend the task leases of attempts that stop on isolation (CLOCK_BOOTTIME)."""

    until_mono_s: float


@dataclass(frozen=True, slots=True)
class HoldVersions:
    """Pass the list of versions to the fetch process; answered by CacheSeen, at each change."""

    order: HoldOrder


@dataclass(frozen=True, slots=True)
class SendLog:
    """Read from an attempt's log and answer with LogChunk."""

    request: int
    ref: TaskRef
    offset: int
    limit_bytes: int
    local_rank: int | None = None


@dataclass(frozen=True, slots=True)
class SendRecord:
    """Read the record of an attempt's run and answer with RecordRead."""

    request: int
    ref: TaskRef


@dataclass(frozen=True, slots=True)
class ChangeSecret:
    """Store or remove an entry and answer with SecretDone."""

    order: StoreSecret | DropSecret


@dataclass(frozen=True, slots=True)
class OnTerminal:
    """Act on the terminal of an attempt and answer with TerminalDone."""

    order: TerminalOrder


@dataclass(frozen=True, slots=True)
class Spool:
    """Append a roll-up to the spool on disk."""

    rollup: Rollup


@dataclass(frozen=True, slots=True)
class ReadSpool:
    """Read the oldest spooled roll-ups; answered by SpoolRead."""


@dataclass(frozen=True, slots=True)
class DropSpooled:
    """Drop spooled roll-ups up to `last`: they are on the scheduler's disk."""

    last: int


@dataclass(frozen=True, slots=True)
class WouldCap:
    """Observe mode: the caps that would be set."""

    caps_mw: tuple[int, ...]
    holding_mw: int


@dataclass(frozen=True, slots=True)
class Note:
    """A log entry: a constant event name and a sentence."""

    event: str
    text: str


Effect = (
    Send
    | ApplyCaps
    | ReadCaps
    | LockClocks
    | RestoreCaps
    | SaveState
    | SaveUsage
    | Launch
    | Stop
    | Notify
    | Freeze
    | Stacks
    | Thaw
    | Limit
    | Kill
    | FindPrivileged
    | Drop
    | GrantTaskLease
    | RenewTaskLeases
    | HoldVersions
    | SendLog
    | SendRecord
    | ChangeSecret
    | OnTerminal
    | Spool
    | ReadSpool
    | DropSpooled
    | WouldCap
    | Note
)
