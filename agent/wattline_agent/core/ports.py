"""What the agent's core and shell need from hardware, host and keeper: the only way in or out.

Everything here is a value or a Protocol; `device/`, `host/` and `executor` implement the
Protocols, the simulation implements them again over virtual time. Conventions:

* `mono_s` is CLOCK_BOOTTIME in seconds: monotonic, counts suspended time, the same for agent
  and keeper, comparable across restarts of the agent within one boot.
* Power in milliwatts, energy in millijoules. None = not supported or not read: never zero.
* No call blocks longer than the time it is given. A GPU that hangs costs only its own values.

Constructors the shell calls (modules that implement this file):

* `wattline_agent.device.open_collector(nvml_lib: Path | None, sysfs_root: Path) -> Collector`
* `wattline_agent.host.open_sensors(sysfs_root: Path) -> HostSensors`
* `wattline_agent.executor.open_runner(state_dir: Path) -> TaskRunner`; raises `KeeperAbsent`
  when nothing answers at `state_dir/keeper.sock`. The shell then starts
  `python -m wattline_agent.keeper --state-dir DIR` in a session of its own and tries again.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from wattline_protocol.ids import GpuIndex, TaskRef, UnixTime
from wattline_protocol.wire.agent_messages import ExitKind, TaskExit, TaskPhase
from wattline_protocol.wire.mig import MigInstance
from wattline_protocol.wire.task_order import TaskOrder


class DriverAbsent(Exception):
    """No usable GPU driver; the text says what was tried and what the driver answered."""


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
    """False: the driver has no cap for it, or this process may not set it."""
    why_not: str = ""
    """When `can_cap` is False: what the driver said, and what would help."""
    clock_max_mhz: int = 0
    """Highest SM clock; 0 = not known."""
    can_lock_clocks: bool = False
    """This process may lock its clocks."""
    can_share: bool = True
    """Several processes may use it at the same time: its compute mode is the default one."""
    mig: tuple[MigInstance, ...] | None = None
    """What it was divided into; None = it is not in MIG mode."""


@dataclass(frozen=True, slots=True)
class CapResult:
    """The limits of one GPU, read back from the driver after a set (or only read)."""

    index: GpuIndex
    enforced_mw: int | None
    """The limit in force: the lowest of VBIOS, host and BMC limits. None = not readable."""
    host_limit_mw: int | None
    """The limit the host asked for; it is what holds if the BMC lifts its own."""
    error: str = ""
    """Why the cap could not be set or read back, in the driver's words; empty = it was."""
    held_mw: int | None = None
    """Limit that something below the host (a BMC) held before the set; None = the host's alone."""
    is_taken: bool = False
    """The driver took a set without an error, whatever limit it told after that."""


@dataclass(frozen=True, slots=True)
class ClockResult:
    """What became of a wish to lock the clocks of one GPU. Locks cannot be read back."""

    index: GpuIndex
    ceiling_mhz: int
    """As asked for; 0 = no lock."""
    error: str = ""
    """Why it was not done, in the driver's words; empty = it was."""


@dataclass(frozen=True, slots=True)
class FastReading:
    """One GPU's fast telemetry, from one pass of its worker."""

    index: GpuIndex
    mono_s: float
    """When it was read."""
    power_mw: int | None
    """1 s average, unless `is_average` is False."""
    power_now_mw: int | None = None
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
    """Time the power cap held the clocks down, since the driver was loaded (field 74)."""
    thermal_throttle_ns: int | None = None
    is_average: bool = True
    """False: the card tells its power of one moment, as A100 and older ones do."""


@dataclass(frozen=True, slots=True)
class Stale:
    """A GPU that gave no reading in time, or none at all."""

    index: GpuIndex
    since_mono_s: float
    """When the last good reading was made (or the collector started)."""
    reason: str
    is_lost: bool = False
    """The driver says that the GPU is gone or needs a reset."""


Reading = FastReading | Stale

ROUNDING_MW = 1000
"""Drivers may enforce a limit that is rounded down to whole watts."""


def held_below(enforced_mw: int | None, host_limit_mw: int | None) -> int | None:
    """The limit in force where it is not the host's: something below it, a BMC, holds a lower one.
    None = what the host asked for is in force, or not readable."""
    if enforced_mw is None or host_limit_mw is None:
        return None
    return enforced_mw if enforced_mw + ROUNDING_MW < host_limit_mw else None


def to_write(now: CapResult, cap_mw: int) -> int:
    """The cap to set in place of `cap_mw`, with these limits in force: a write must not lift what a
    BMC holds, as it would on hosts where the last writer wins."""
    held_mw = held_below(now.enforced_mw, now.host_limit_mw)
    return cap_mw if held_mw is None else min(cap_mw, held_mw)


@dataclass(frozen=True, slots=True)
class ComputeProcess:
    """A process with a compute context on a GPU, as the driver lists it."""

    pid: int
    """As the driver says: of the host, or 0 where it does not tell this process."""
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class SlowReading:
    """One GPU's error counters, every 10-30 s. Volatile: since the driver was loaded."""

    index: GpuIndex
    mono_s: float
    ecc_corrected_volatile: int | None = None
    ecc_uncorrected_volatile: int | None = None
    ecc_corrected_total: int | None = None
    ecc_uncorrected_total: int | None = None
    rows_remapped_corrected: int | None = None
    rows_remapped_uncorrected: int | None = None
    row_remap_pending: int | None = None
    row_remap_failed: int | None = None
    pcie_replays: int | None = None
    recovery_action: int | None = None
    """0 = none; otherwise the driver wants a reset, a reboot, or the GPU drained."""
    persistence: bool | None = None
    """Whether caps outlive the last client."""
    mig: tuple[MigInstance, ...] | None = None
    """As `DeviceInfo.mig`: an operator may divide it anew at any time."""


@dataclass(frozen=True, slots=True)
class DeviceEvent:
    """Something the driver pushed: an XID, a double-bit ECC error."""

    index: GpuIndex
    kind: Literal["xid", "ecc_double_bit", "other"]
    code: int
    text: str


class Driver(Protocol):
    """One vendor library, called for one GPU at a time from that GPU's own thread. May block."""

    @property
    def is_simulated(self) -> bool:
        """True: the watts are not real; every sample is stamped."""

    def driver_instance(self) -> str:
        """Changes when the driver was unloaded and loaded again (caps are lost then)."""

    def count(self) -> int:
        """Number of GPUs, lost ones included; indexes are 0 to count - 1."""

    def info(self, index: GpuIndex) -> DeviceInfo | Stale:
        """Identity and limits of one GPU; turns persistence mode on."""

    def read(self, index: GpuIndex) -> Reading:
        """Fast telemetry of one GPU."""

    def read_slow(self, index: GpuIndex) -> SlowReading | Stale:
        """Error counters of one GPU."""

    def process_use(self, index: GpuIndex) -> dict[int, int]:
        """By process, the per cent of the GPU's multiprocessors it used since the last call; empty
        where the driver does not tell, or has nothing new."""

    def processes(self, index: GpuIndex) -> tuple[ComputeProcess, ...] | None:
        """Those with a compute context on it, its MIG devices included; None = not told."""

    def set_cap(self, index: GpuIndex, cap_mw: int) -> CapResult:
        """Set the power limit and read back what is enforced. Errors are in the result."""

    def read_cap(self, index: GpuIndex) -> CapResult:
        """Read the limits without setting anything."""

    def lock_clocks(self, index: GpuIndex, ceiling_mhz: int) -> ClockResult:
        """Let the SM clock run no higher than this; 0 = undo. Errors are in the result."""

    def events(self, timeout_s: float) -> tuple[DeviceEvent, ...]:
        """Wait for pushed events; called from a thread of its own."""

    def close(self) -> None:
        """Release the library; caps stay as they are."""


class Collector(Protocol):
    """All GPUs of the node: one worker thread each, so that a sick GPU delays nobody.

    A worker that is still busy with an earlier call (hung driver) is skipped at once: its GPU
    answers `Stale`, or a CapResult with an error, without waiting.
    """

    @property
    def is_simulated(self) -> bool:
        """As the driver says."""

    def driver_instance(self) -> str:
        """As last seen by a worker; cheap, never blocks."""

    def gpus(self) -> tuple[DeviceInfo, ...]:
        """All GPUs in index order; read again after the driver instance changed."""

    def sample(self, timeout_s: float) -> tuple[Reading, ...]:
        """Read all GPUs at the same time, in index order; waits at most `timeout_s`."""

    def process_use(
        self, gpus: Collection[GpuIndex], timeout_s: float
    ) -> dict[GpuIndex, dict[int, int]]:
        """Of these GPUs, what `Driver.process_use` says; those that do not answer are left out."""

    def processes(
        self, gpus: Collection[GpuIndex], timeout_s: float
    ) -> dict[GpuIndex, tuple[ComputeProcess, ...]]:
        """Of these GPUs, what `Driver.processes` says; those that do not answer are left out."""

    def slow(self) -> tuple[SlowReading | None, ...]:
        """Error counters of each GPU as last read, every 15 s; None = none yet. Never blocks."""

    def apply_caps(
        self, caps_mw: Mapping[GpuIndex, int], timeout_s: float
    ) -> tuple[CapResult, ...]:
        """Set these caps at the same time and read back; one result per GPU asked for.

        A GPU that is in force at the wanted limit already is only read.
        """

    def read_caps(self, timeout_s: float) -> tuple[CapResult, ...]:
        """Limits of all GPUs, in index order, nothing set."""

    def lock_clocks(
        self, ceilings_mhz: Mapping[GpuIndex, int], timeout_s: float
    ) -> tuple[ClockResult, ...]:
        """Lock clocks at the same time, or undo it where the ceiling is 0; a result per GPU."""

    def events(self) -> tuple[DeviceEvent, ...]:
        """Pushed events since the last call; never blocks."""

    def close(self) -> None:
        """Stop the workers (a hung one is left behind) and release the driver."""


# --- Host -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HostReading:
    """The host apart from its GPUs."""

    cpu_pct: float
    memory_used_bytes: int
    node_mw: int | None = None
    """Measured power of the whole node at the wall."""
    source: str = "model"
    """hwmon, rapl+model or model: where the watts come from."""
    inlet_c: float | None = None
    non_gpu_mw: int | None = None
    """Load that no GPU draws, behind the power supplies; measured unless source is model."""


class HostSensors(Protocol):
    """Node power, inlet temperature, CPU and memory."""

    def read(self, gpu_mw: int, psu_efficiency_permille: int) -> HostReading:
        """Now; `gpu_mw` is the GPUs' draw just sampled, to split node and non-GPU power."""

    def close(self) -> None:
        """Release files."""


# --- Tasks ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TaskSeen:
    """One attempt as keeper and disk know it: the full truth, at every look."""

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
    worker_public_key: str = ""
    exit: TaskExit | None = None
    group_gone: bool = False
    """Ended, and no process of its group or cgroup is left."""
    note: str = ""
    """What its user should know of its start."""

    @property
    def ref(self) -> TaskRef:
        """The attempt's name."""
        return self.order.ref


@dataclass(frozen=True, slots=True)
class LaunchContext:
    """What a launch needs beyond the order; the core knows it."""

    gpu_uuids: tuple[str, ...]
    """For CUDA_VISIBLE_DEVICES, in the order of `order.gpus`; empty hides all GPUs."""
    checkpoint_root: str
    """Site-wide directory; empty: the agent's own state directory."""
    lease_until_mono_s: float | None
    """First task lease; None for tasks with on_isolation = "continue"."""
    node: str = ""
    """The node's name, for WATTLINE_NODE."""
    gpu_memory_bytes: int = 0
    """What it may use of each GPU: its share of the smallest one's memory; 0 = no GPU, or not
    known."""
    pass_env: tuple[str, ...] = ()
    """Variables of the keeper's environment that it sees besides the usual ones: names, or with a
    star at the end how they begin."""


@dataclass(frozen=True, slots=True)
class LogSlice:
    """Bytes of an attempt's log."""

    data: bytes
    next_offset: int
    at_end: bool
    error: str = ""


class TaskRunner(Protocol):
    """The keeper as the agent sees it. Every call is idempotent and answers within 1 s.

    From its launch until `drop`, `observe` lists the attempt, whatever became of it: a command
    that cannot be started is listed as ended with `exit` saying why. Commands for an unknown or
    ended attempt do nothing. Raises KeeperAbsent when the keeper is gone.
    """

    def can_run_as(self) -> bool:
        """Whether it may start tasks as other accounts of the host."""

    def keeper_account(self) -> str:
        """Its own account, its number where that has no name; empty: an older one did not say."""

    def launch_all(self, launches: Sequence[tuple[TaskOrder, LaunchContext]]) -> None:
        """Write the orders to disk and have the keeper start them, in turn."""

    def stop(self, ref: TaskRef, grace_s: float, why: str, kind: ExitKind | None = None) -> None:
        """Stop notice and SIGTERM, after `grace_s` SIGKILL, to the whole group; returns at once.

        `kind` replaces how it ended in `exit` (a runtime limit, for one); None = as it happens.
        """

    def notify(self, ref: TaskRef, why: str) -> None:
        """Tell the task that it is about to be frozen (notice file); nothing else."""

    def freeze(self, ref: TaskRef) -> None:
        """Freeze every process of the group; phase becomes paused once all are."""

    def thaw(self, ref: TaskRef) -> None:
        """Let it run on; once this returns, `observe` no longer calls it paused."""

    def limit(self, ref: TaskRef, runtime_limit_s: float) -> None:
        """Another run time limit, 0 = none; on disk, so that a restarted agent knows it."""

    def kill(self, ref: TaskRef, kind: ExitKind, why: str) -> None:
        """SIGKILL to the whole group now; `exit` says `kind` and `why`."""

    def privileged(self) -> frozenset[TaskRef]:
        """Attempts of which a process may set caps: root of this host, or CAP_SYS_ADMIN in it."""

    def drop(self, ref: TaskRef) -> None:
        """Forget an ended attempt's record; its log stays readable."""

    def renew(self, until_mono_s: float) -> None:
        """Extend the task lease of every attempt whose order says on_isolation = "stop".

        The keeper kills them at that time without grace unless renewed (I7). Never shortens.
        """

    def observe(self) -> list[TaskSeen]:
        """All attempts not dropped. A restarted agent learns from this what it runs.

        Phases and ends are as the keeper tells them now; what an attempt uses is up to 1 s old.
        """

    def fileno(self) -> int | None:
        """Readable when `observe` may have news; None = poll `observe` instead."""

    def read_log(self, ref: TaskRef, offset: int, limit_bytes: int) -> LogSlice:
        """A piece of the log; a negative offset counts from the end."""

    def close(self) -> None:
        """Leave the keeper and its tasks alone and disconnect."""
