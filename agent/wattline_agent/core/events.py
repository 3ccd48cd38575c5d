"""Events of a node: the inputs of `Node.handle`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from wattline_agent.core.ports import (
    CapResult,
    ClockResult,
    DeviceEvent,
    DeviceInfo,
    HostReading,
    Reading,
    TaskSeen,
)
from wattline_protocol.ids import GpuIndex, TaskRef
from wattline_protocol.wire.agent_messages import Rollup, ToAgent
from wattline_protocol.wire.agents.data_messages import CacheReport
from wattline_protocol.wire.gpu_process import GpuProcess


@dataclass(frozen=True, slots=True)
class Started:
    """The first event: the state of driver and keeper before any change."""

    boot_id: str
    driver_instance: str
    gpus: tuple[DeviceInfo, ...]
    limits: tuple[CapResult, ...]
    """Read back for every GPU, by index."""
    tasks: tuple[TaskSeen, ...]


@dataclass(frozen=True, slots=True)
class Connected:
    """The connection to the scheduler is established (again)."""


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """The connection to the scheduler is lost; messages sent may not have arrived."""


@dataclass(frozen=True, slots=True)
class SchedulerMessage:
    """A message from the scheduler, whose key was verified."""

    message: ToAgent


@dataclass(frozen=True, slots=True)
class Sampled:
    """Fast telemetry of all GPUs, by index."""

    readings: tuple[Reading, ...]
    use: Mapping[GpuIndex, Mapping[TaskRef, int]] = field(default_factory=dict)
    """Utilisation per attempt of GPUs that several attempts share, in per cent; if reported."""
    foreign: Mapping[GpuIndex, Sequence[GpuProcess]] = field(default_factory=dict)
    """Processes that belong to no attempt, for the GPUs that were checked."""


@dataclass(frozen=True, slots=True)
class CapsRead:
    """Answer to ApplyCaps or ReadCaps: limits read back. GPUs not requested may be absent."""

    generation: int
    limits: tuple[CapResult, ...]
    foreign: Mapping[GpuIndex, Sequence[GpuProcess]] = field(default_factory=dict)
    """As in `Sampled`."""


@dataclass(frozen=True, slots=True)
class ClocksLocked:
    """Answer to LockClocks: the locks set, and the failures."""

    results: tuple[ClockResult, ...]


@dataclass(frozen=True, slots=True)
class DriverReloaded:
    """The driver was reloaded, or GPUs changed: caps are lost, counters start again."""

    driver_instance: str
    gpus: tuple[DeviceInfo, ...]


@dataclass(frozen=True, slots=True)
class DeviceReported:
    """The driver pushed events."""

    events: tuple[DeviceEvent, ...]


@dataclass(frozen=True, slots=True)
class TasksSeen:
    """All attempts in the keeper: the complete list."""

    tasks: tuple[TaskSeen, ...]


@dataclass(frozen=True, slots=True)
class KeeperSilent:
    """No keeper has answered for a while; the next TasksSeen says that one does."""


@dataclass(frozen=True, slots=True)
class PrivilegedFound:
    """Answer to FindPrivileged: attempts with a process that may set caps."""

    refs: frozenset[TaskRef]


@dataclass(frozen=True, slots=True)
class HostRead:
    """Readings of the host apart from its GPUs."""

    reading: HostReading


@dataclass(frozen=True, slots=True)
class SpoolRead:
    """Answer to ReadSpool: the oldest roll-ups on disk; `last` is 0 when there are none."""

    last: int
    items: tuple[Rollup, ...]


@dataclass(frozen=True, slots=True)
class SecretsFound:
    """Entries that the node can give to tasks, and why others are refused; sent on change."""

    names: tuple[str, ...]
    """USER/ENTRY."""
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CacheSeen:
    """The cache of data sets, as its fetch process reports it: the whole state."""

    report: CacheReport


@dataclass(frozen=True, slots=True)
class TimePassed:
    """Timer, several times a second: deadlines and retries."""


@dataclass(frozen=True, slots=True)
class StopAsked:
    """An orderly stop of the agent is requested."""


Event = (
    Started
    | Connected
    | ConnectionLost
    | SchedulerMessage
    | Sampled
    | CapsRead
    | ClocksLocked
    | DriverReloaded
    | DeviceReported
    | TasksSeen
    | KeeperSilent
    | PrivilegedFound
    | HostRead
    | SpoolRead
    | SecretsFound
    | CacheSeen
    | TimePassed
    | StopAsked
)
