"""What can happen to a node: the inputs of `Node.handle`."""

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
from wattline_protocol.wire.gpu_process import GpuProcess


@dataclass(frozen=True, slots=True)
class Started:
    """The first event: what the driver and the keeper say before anything was changed."""

    boot_id: str
    driver_instance: str
    gpus: tuple[DeviceInfo, ...]
    limits: tuple[CapResult, ...]
    """Read back for every GPU, by index."""
    tasks: tuple[TaskSeen, ...]


@dataclass(frozen=True, slots=True)
class Connected:
    """The way to the scheduler is open (again)."""


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """The way to the scheduler is closed; what was sent may not have arrived."""


@dataclass(frozen=True, slots=True)
class SchedulerSaid:
    """A message from the scheduler, whose key was checked."""

    message: ToAgent


@dataclass(frozen=True, slots=True)
class Sampled:
    """Fast telemetry of all GPUs, by index."""

    readings: tuple[Reading, ...]
    use: Mapping[GpuIndex, Mapping[TaskRef, int]] = field(default_factory=dict)
    """Of GPUs that several attempts hold, what each used, per cent; where the driver tells."""
    foreign: Mapping[GpuIndex, Sequence[GpuProcess]] = field(default_factory=dict)
    """Processes that belong to no attempt, of the GPUs that were looked at."""


@dataclass(frozen=True, slots=True)
class CapsRead:
    """Answer to ApplyCaps or ReadCaps: limits read back. GPUs not asked for may be absent."""

    generation: int
    limits: tuple[CapResult, ...]
    foreign: Mapping[GpuIndex, Sequence[GpuProcess]] = field(default_factory=dict)
    """As in `Sampled`."""


@dataclass(frozen=True, slots=True)
class ClocksLocked:
    """Answer to LockClocks: what was done, and where it failed."""

    results: tuple[ClockResult, ...]


@dataclass(frozen=True, slots=True)
class DriverReloaded:
    """The driver was loaded anew, or GPUs changed: caps are lost, counters start again."""

    driver_instance: str
    gpus: tuple[DeviceInfo, ...]


@dataclass(frozen=True, slots=True)
class DeviceReported:
    """The driver pushed events."""

    events: tuple[DeviceEvent, ...]


@dataclass(frozen=True, slots=True)
class TasksSeen:
    """All attempts the keeper knows: the full truth."""

    tasks: tuple[TaskSeen, ...]


@dataclass(frozen=True, slots=True)
class PrivilegedFound:
    """Answer to FindPrivileged: attempts of which a process may set caps."""

    refs: frozenset[TaskRef]


@dataclass(frozen=True, slots=True)
class HostRead:
    """The host apart from its GPUs."""

    reading: HostReading


@dataclass(frozen=True, slots=True)
class SpoolRead:
    """Answer to ReadSpool: the oldest roll-ups on disk; `last` is 0 when there are none."""

    last: int
    items: tuple[Rollup, ...]


@dataclass(frozen=True, slots=True)
class TimePassed:
    """Several times a second: deadlines and retries."""


@dataclass(frozen=True, slots=True)
class StopAsked:
    """The agent is told to stop in order."""


Event = (
    Started
    | Connected
    | ConnectionLost
    | SchedulerSaid
    | Sampled
    | CapsRead
    | ClocksLocked
    | DriverReloaded
    | DeviceReported
    | TasksSeen
    | PrivilegedFound
    | HostRead
    | SpoolRead
    | TimePassed
    | StopAsked
)
