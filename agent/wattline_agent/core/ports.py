"""Interfaces of the agent's core and shell to hardware, host and keeper.

Everything here is a value or a Protocol; `device/`, `host/` and `executor` implement the Protocols,
and the simulation implements them over virtual time. Conventions:

* `mono_s` is CLOCK_BOOTTIME in seconds: monotonic, counts suspended time, the same for agent
  and keeper, comparable across restarts of the agent within one boot.
* Power in milliwatts, energy in millijoules. None = not supported or not read: never zero.
* No call blocks longer than its timeout. A GPU that hangs affects only its own values.

Constructors the shell calls (modules that implement this file):

* `wattline_agent.device.open_collector(nvml_lib: Path | None, sysfs_root: Path) -> Collector`
* `wattline_agent.host.open_sensors(sysfs_root: Path, work_dir: Path) -> HostSensors`
* `wattline_agent.executor.open_runner(state_dir: Path) -> TaskRunner`; raises `KeeperAbsent`
  when `state_dir/keeper.sock` does not answer. The shell then starts
  `python -m wattline_agent.keeper --state-dir DIR` in a session of its own and tries again.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from wattline_protocol.ids import GpuIndex, TaskRef, UnixTime
from wattline_protocol.site.containers import USUAL_CONTAINERS, Containers
from wattline_protocol.wire.agent_messages import ExitKind, TaskExit, TaskPhase
from wattline_protocol.wire.agents.host_load import LinkLoad
from wattline_protocol.wire.mig import MigInstance
from wattline_protocol.wire.task_order import Notice, TaskOrder
from wattline_protocol.wire.task_reports.checkpoints import CheckpointTrouble, SavedCheckpoint
from wattline_protocol.wire.task_reports.rank_steps import RankSteps


class DriverAbsent(Exception):
    """No usable GPU driver; the text reports what was tried and the driver's answer."""


class KeeperAbsent(Exception):
    """No keeper answers at the node's socket."""


# --- GPUs -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """Identity and limits of one GPU: read at start and after a driver reload."""

    index: GpuIndex
    uuid: str
    name: str
    memory_bytes: int
    cap_min_mw: int
    cap_default_mw: int
    cap_max_mw: int
    can_cap: bool
    """False: the driver does not support a cap for it, or this process may not set it."""
    why_not: str = ""
    """When `can_cap` is False: the driver's message, and what would help."""
    clock_max_mhz: int = 0
    """Highest SM clock; 0 = not known."""
    can_lock_clocks: bool = False
    """This process may lock its clocks."""
    can_share: bool = True
    """Several processes may use it at the same time: it is in the default compute mode."""
    mig: tuple[MigInstance, ...] | None = None
    """Its MIG devices; None = it is not in MIG mode."""
    temp_limit_c: int | None = None
    """Above it the hardware slows its clocks down."""


@dataclass(frozen=True, slots=True)
class CapResult:
    """The limits of one GPU, read back from the driver after a set (or only read)."""

    index: GpuIndex
    enforced_mw: int | None
    """The limit in force: the lowest of VBIOS, host and BMC limits. None = not readable."""
    host_limit_mw: int | None
    """The limit the host has set; it is in force once the BMC lifts its own."""
    error: str = ""
    """Why the cap could not be set or read back, in the driver's words; empty = no error."""
    held_mw: int | None = None
    """Limit enforced below the host (by a BMC) before the set; None = none but the host's."""
    is_taken: bool = False
    """The driver accepted a set without an error, whatever limit it reported afterwards."""


@dataclass(frozen=True, slots=True)
class ClockResult:
    """Result of a request to lock the clocks of one GPU. Locks cannot be read back."""

    index: GpuIndex
    ceiling_mhz: int
    """As requested; 0 = no lock."""
    error: str = ""
    """Why it failed, in the driver's words; empty = it succeeded."""


@dataclass(frozen=True, slots=True)
class FastReading:
    """One GPU's fast telemetry, from one pass of its worker."""

    index: GpuIndex
    mono_s: float
    """When it was read."""
    power_mw: int | None
    """1 s average, unless `is_average` is False."""
    enforced_mw: int | None = None
    host_limit_mw: int | None = None
    temp_c: int | None = None
    memory_temp_c: int | None = None
    util_pct: int | None = None
    sm_clock_mhz: int | None = None
    memory_used_bytes: int | None = None
    reasons: int = 0
    """Clock event reasons, the driver's bits."""
    energy_mj: int | None = None
    """Since the driver was loaded."""
    power_throttle_ns: int | None = None
    """Time in which the power cap reduced the clocks, since the driver was loaded (field 74)."""
    is_average: bool = True
    """False: the card reports its instantaneous power, as A100 and older ones do."""


@dataclass(frozen=True, slots=True)
class Stale:
    """A GPU without a reading within the timeout, or at all."""

    index: GpuIndex
    since_mono_s: float
    """When the last good reading was made (or the collector started)."""
    reason: str
    is_lost: bool = False
    """The driver reports that the GPU is lost or needs a reset."""


Reading = FastReading | Stale

ROUNDING_MW = 1000
"""Drivers may enforce a limit that is rounded down to whole watts."""


def held_below(enforced_mw: int | None, host_limit_mw: int | None) -> int | None:
    """The limit in force where it is lower than the host's: a BMC enforces it. None = the host's
    limit is in force, or not readable."""
    if enforced_mw is None or host_limit_mw is None:
        return None
    return enforced_mw if enforced_mw + ROUNDING_MW < host_limit_mw else None


def to_write(now: CapResult, cap_mw: int) -> int:
    """The cap to write in place of `cap_mw`, given these limits: a write must not lift a BMC's
    limit, as it would on hosts where the last writer wins."""
    held_mw = held_below(now.enforced_mw, now.host_limit_mw)
    return cap_mw if held_mw is None else min(cap_mw, held_mw)


@dataclass(frozen=True, slots=True)
class ComputeProcess:
    """A process with a compute context on a GPU, as the driver lists it."""

    pid: int
    """PID on the host as reported by the driver; 0 where it is hidden from this process."""
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class SlowReading:
    """What changes rarely of one GPU, every 10-30 s."""

    index: GpuIndex
    mono_s: float
    persistence: bool | None = None
    """Whether caps outlive the last client."""
    mig: tuple[MigInstance, ...] | None = None
    """As `DeviceInfo.mig`: an operator may repartition it at any time."""


@dataclass(frozen=True, slots=True)
class DeviceEvent:
    """An event pushed by the driver: an XID, a double-bit ECC error."""

    index: GpuIndex
    kind: Literal["xid", "ecc_double_bit", "other"]
    code: int
    text: str


class Driver(Protocol):
    """One vendor library, called for one GPU at a time from that GPU's own thread. May block."""

    @property
    def is_simulated(self) -> bool:
        """True: the watts are simulated; every sample is marked so."""

    def driver_instance(self) -> str:
        """Changes when the driver was unloaded and loaded again (caps are lost then)."""

    def count(self) -> int:
        """Number of GPUs, lost ones included; indexes are 0 to count - 1."""

    def info(self, index: GpuIndex) -> DeviceInfo | Stale:
        """Identity and limits of one GPU; enables persistence mode."""

    def read(self, index: GpuIndex) -> Reading:
        """Fast telemetry of one GPU."""

    def read_slow(self, index: GpuIndex) -> SlowReading | Stale:
        """Error counters of one GPU."""

    def process_use(self, index: GpuIndex) -> dict[int, int]:
        """Utilisation of the GPU's multiprocessors since the last call, in per cent by process;
        empty where the driver does not report it, or has no new data."""

    def processes(self, index: GpuIndex) -> tuple[ComputeProcess, ...] | None:
        """Processes with a compute context on it, its MIG devices included; None = not reported."""

    def set_cap(self, index: GpuIndex, cap_mw: int) -> CapResult:
        """Set the power limit and read back the limit in force. Errors are in the result."""

    def read_cap(self, index: GpuIndex) -> CapResult:
        """Read the limits without setting anything."""

    def lock_clocks(self, index: GpuIndex, ceiling_mhz: int) -> ClockResult:
        """Lock the SM clock at or below this; 0 = unlock. Errors are in the result."""

    def events(self, timeout_s: float) -> tuple[DeviceEvent, ...]:
        """Wait for pushed events; called from a thread of its own."""

    def close(self) -> None:
        """Release the library; caps stay as they are."""


class Collector(Protocol):
    """All GPUs of the node: one worker thread each, so that a hung GPU delays no other.

    A worker that is still busy with an earlier call (hung driver) is skipped at once: its GPU
    returns `Stale`, or a CapResult with an error, without waiting.
    """

    @property
    def is_simulated(self) -> bool:
        """As reported by the driver."""

    def driver_instance(self) -> str:
        """As last read by a worker; cheap, never blocks."""

    def gpus(self) -> tuple[DeviceInfo, ...]:
        """All GPUs in index order; read again after the driver instance changed."""

    def sample(self, timeout_s: float) -> tuple[Reading, ...]:
        """Read all GPUs concurrently, in index order; waits at most `timeout_s`."""

    def process_use(
        self, gpus: Collection[GpuIndex], timeout_s: float
    ) -> dict[GpuIndex, dict[int, int]]:
        """`Driver.process_use` of these GPUs; those that do not answer are omitted."""

    def processes(
        self, gpus: Collection[GpuIndex], timeout_s: float
    ) -> dict[GpuIndex, tuple[ComputeProcess, ...]]:
        """`Driver.processes` of these GPUs; those that do not answer are omitted."""

    def slow(self) -> tuple[SlowReading | None, ...]:
        """Error counters of each GPU as last read, every 15 s; None = none yet. Never blocks."""

    def apply_caps(
        self, caps_mw: Mapping[GpuIndex, int], timeout_s: float
    ) -> tuple[CapResult, ...]:
        """Set these caps concurrently and read them back; one result per GPU requested.

        A GPU whose limit is already the requested one is only read.
        """

    def read_caps(self, timeout_s: float) -> tuple[CapResult, ...]:
        """Read the limits of all GPUs, in index order, without setting anything."""

    def lock_clocks(
        self, ceilings_mhz: Mapping[GpuIndex, int], timeout_s: float
    ) -> tuple[ClockResult, ...]:
        """Lock or unlock (ceiling 0) clocks concurrently; one result per GPU."""

    def events(self) -> tuple[DeviceEvent, ...]:
        """Pushed events since the last call; never blocks."""

    def close(self) -> None:
        """Stop the workers (a hung one is abandoned) and release the driver."""


# --- Host -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HostReading:
    """Readings of the host apart from its GPUs."""

    cpu_pct: float
    memory_used_bytes: int
    node_mw: int | None = None
    """Measured power of the whole node at the wall."""
    source: str = "model"
    """hwmon, rapl+model or model: source of the watts."""
    inlet_c: float | None = None
    non_gpu_mw: int | None = None
    """Load of everything but the GPUs, behind the power supplies; modelled if source is model."""
    disk_busy: float | None = None
    """Share of the time that the busiest disk works, 0..1; None = not measured."""
    network_busy: float | None = None
    """Share of its speed that the busiest link carries; None = not measured."""
    disk_bytes: int | None = None
    """Size of the file system in which tasks run."""
    disk_used_bytes: int | None = None
    """Part of it that tasks cannot write to."""
    link: LinkLoad | None = None
    """The link that carries most."""


class HostSensors(Protocol):
    """Node power, inlet temperature, CPU and memory."""

    def read(self, gpu_mw: int, psu_efficiency_permille: int) -> HostReading:
        """Current reading; `gpu_mw`, the GPUs' draw just sampled, splits node and non-GPU power."""

    def close(self) -> None:
        """Release files."""


# --- Tasks ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TaskSeen:
    """One attempt as known to keeper and disk: complete at every call."""

    order: TaskOrder
    """As launched; read back from disk after a restart of the agent."""
    phase: TaskPhase
    """starting, running, paused (every process frozen), stopping, ended."""
    pid: int | None = None
    started_unix_s: UnixTime | None = None
    run_s: float = 0.0
    """Since the start on the monotonic clock; stops at the end."""
    cpu_s: float = 0.0
    max_rss_bytes: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    checkpoint: SavedCheckpoint | None = None
    progress_marks: int = 0
    """Reports of its program so far."""
    checkpoint_trouble: CheckpointTrouble | None = None
    ranks: tuple[RankSteps, ...] = ()
    worker_public_key: str = ""
    exit: TaskExit | None = None
    group_ended: bool = False
    """It has ended, and no process of its group or cgroup is left."""
    note: str = ""
    """A remark about its start for the user."""
    notice: Notice | None = None
    """What its notice file holds."""
    has_task_lease: bool = False
    """The keeper ends it when its task lease runs out."""

    @property
    def ref(self) -> TaskRef:
        """The attempt's name."""
        return self.order.ref


@dataclass(frozen=True, slots=True)
class LaunchContext:
    """What a launch needs beyond the order; supplied by the core."""

    gpu_uuids: tuple[str, ...]
    """For CUDA_VISIBLE_DEVICES, in the order of `order.gpus`; empty hides all GPUs."""
    checkpoint_root: str
    """Site-wide directory; empty: the agent's own state directory."""
    lease_until_mono_s: float | None
    """First task lease; None for tasks with on_isolation = "continue": it may get one later."""
    node: str = ""
    """The node's name, for WATTLINE_NODE."""
    gpu_memory_bytes: int = 0
    """GPU memory it may use on each GPU: its share of the smallest one's memory; 0 = no GPU, or
    unknown."""
    pass_env: tuple[str, ...] = ()
    """Variables of the keeper's environment that it sees besides the usual ones: names, or prefixes
    followed by a star."""
    gpu_models: tuple[str, ...] = ()
    """In the order of `order.gpus`."""
    containers: Containers = USUAL_CONTAINERS
    is_simulated: bool = False
    """Its GPUs are simulated: there are no devices to give to a container."""
    data_root: str = ""
    """Where it finds versions of data sets, each by the hash of its manifest."""


@dataclass(frozen=True, slots=True)
class LogSlice:
    """Bytes of an attempt's log."""

    data: bytes
    next_offset: int
    at_end: bool
    error: str = ""


@dataclass(frozen=True, slots=True)
class RecordParts:
    """The record of an attempt's run, compressed; an empty part does not exist."""

    report: bytes
    inventory: bytes
    error: str = ""


class TaskRunner(Protocol):
    """The agent's interface to the keeper. Every call is idempotent and answers within 1 s.

    From its launch until `drop`, `observe` lists the attempt whatever happens: a command that
    cannot be started is listed as ended, with the reason in `exit`. Commands for an unknown or
    ended attempt do nothing. Raises KeeperAbsent when the keeper has died.
    """

    def can_run_as(self) -> bool:
        """Whether it may start tasks as other accounts of the host."""

    def keeper_account(self) -> str:
        """Its own account, or its number where that has no name; empty: an older keeper."""

    def launch_all(self, launches: Sequence[tuple[TaskOrder, LaunchContext]]) -> None:
        """Write the orders to disk and have the keeper start them, in order."""

    def stop(self, ref: TaskRef, grace_s: float, why: str, kind: ExitKind | None = None) -> None:
        """Stop the whole group: notice and SIGTERM, SIGKILL after `grace_s`; returns at once.

        `kind` overrides the kind in `exit` (e.g. a runtime limit); None = by the exit status.
        """

    def notify(self, ref: TaskRef, notice: Notice | None) -> None:
        """Replace the task's notice (notice file), or withdraw it; nothing else."""

    def freeze(self, ref: TaskRef) -> None:
        """Freeze every process of the group; phase becomes paused once all are."""

    def thaw(self, ref: TaskRef) -> None:
        """Thaw the group; once this returns, `observe` no longer reports it as paused."""

    def dump_stacks(self, ref: TaskRef) -> None:
        """Have its programs write the stacks of all their threads to its log."""

    def limit(self, ref: TaskRef, runtime_limit_s: float) -> None:
        """Set another runtime limit, 0 = none; on disk, so that a restarted agent knows it."""

    def kill(self, ref: TaskRef, kind: ExitKind, why: str) -> None:
        """Send SIGKILL to the whole group now; `exit` reports `kind` and `why`."""

    def privileged(self) -> frozenset[TaskRef]:
        """Attempts with a process that may set caps: root of this host, or CAP_SYS_ADMIN in it."""

    def drop(self, ref: TaskRef) -> None:
        """Delete the record of an ended attempt; its log stays readable."""

    def takes_recovery(self) -> bool:
        """Whether it grants task leases to running attempts, and knows stop signals."""

    def takes_secrets(self) -> bool:
        """Whether it reads variables of tasks from files."""

    def grant_lease(self, ref: TaskRef, until_mono_s: float) -> None:
        """Give a running attempt a task lease, unless it has one. In force on return."""

    def renew(self, until_mono_s: float) -> None:
        """Extend the task lease of every attempt that has one.

        The keeper kills them at that time without grace unless renewed (I7). Never shortens one.
        """

    def begin_service(self, argv: Sequence[str]) -> None:
        """Start a program of the node itself, in the keeper's account; the one before has ended."""

    def observe(self) -> list[TaskSeen]:
        """All attempts not dropped. A restarted agent learns its running tasks from this.

        Phases and exits are the keeper's current ones; usage is up to 1 s old.
        """

    def fileno(self) -> int | None:
        """Readable when `observe` may have news; None = poll `observe` instead."""

    def read_log(
        self, ref: TaskRef, offset: int, limit_bytes: int, local_rank: int | None = None
    ) -> LogSlice:
        """A piece of the log, or of one rank's; a negative offset counts from the end."""

    def read_record(self, ref: TaskRef) -> RecordParts:
        """The record of an attempt's run as it is now."""

    def close(self) -> None:
        """Disconnect; keeper and tasks continue."""
