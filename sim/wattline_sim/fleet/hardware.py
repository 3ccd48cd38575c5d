"""What a simulated host is made of: GPUs and processes, as plain data."""

import math
from dataclasses import dataclass

from wattline_agent.core.ports import DeviceInfo, LaunchContext
from wattline_protocol.ids import GpuIndex, NodeId, UnixTime
from wattline_protocol.wire.agent_messages import TaskExit, TaskPhase
from wattline_protocol.wire.mig import MigInstance
from wattline_protocol.wire.task_order import Notice, TaskOrder
from wattline_protocol.wire.task_reports.checkpoints import SavedCheckpoint

W = 1000
CAP_MIN_MW, CAP_MAX_MW, IDLE_MW = 200 * W, 700 * W, 75 * W
SIM_SECONDS = "FLEET_SECONDS"
SIM_EXIT = "FLEET_EXIT"
SIM_SAVES_S = "FLEET_SAVES_AFTER_S"
SIM_DEMAND_MW = "FLEET_DEMAND_MW"
"""What a simulated process does, in its job's environment."""
SAVED = SavedCheckpoint(step=1, bytes=1 << 20, save_s=0.1, unix_s=UnixTime(1.0))


@dataclass(slots=True)
class Gpu:
    """One GPU as it really is."""

    index: GpuIndex
    limit_mw: int = CAP_MAX_MW
    own_mw: int = CAP_MAX_MW
    """What it would be, had nobody but agent and driver changed it."""
    bmc_mw: int = CAP_MAX_MW
    is_settable: bool = True
    is_lost: bool = False
    """Off the bus: the driver cannot reach it; the limit that it has stays in force."""
    hung_until_s: float = 0.0
    busy_until_s: float = -1e9
    """When its load last ended; its average falls for a while after."""
    last_load_mw: int = IDLE_MW
    energy_mj: float = 0.0
    read_s: float = 0.0
    mig: tuple[MigInstance, ...] | None = None
    """Its MIG devices; None = it is not in MIG mode."""
    foreign_mw: int | None = None
    """What a process that is no task's would draw on it uncapped; None = there is none."""
    foreign_since_s: float = -1e9
    foreign_until_s: float = -1e9

    @property
    def enforced_mw(self) -> int:
        """The limit in force."""
        return min(self.limit_mw, self.bmc_mw)


@dataclass(slots=True)
class Process:
    """One task's process group as it really is."""

    order: TaskOrder
    context: LaunchContext
    left_s: float
    """Work left, in seconds of running."""
    started_s: float
    resumed_s: float
    ran_s: float = 0.0
    """Before that; a pause is no run time."""
    is_frozen: bool = False
    stop_at_s: float | None = None
    """When it dies of a stop request at the latest."""
    lease_until_mono_s: float | None = None
    exit: TaskExit | None = None
    ended_s: float = 0.0
    demand_mw: int = 0
    """What it makes each of its GPUs draw uncapped."""
    notice: Notice | None = None
    saves_after_s: float = math.inf
    """Run time after which it has saved its first checkpoint."""
    is_privileged: bool = False
    """It may set power caps: it runs as root."""
    work: int = 0
    """Grows when its plan changes, so that an old completion is void."""

    @property
    def is_running(self) -> bool:
        """It loads its GPUs."""
        return self.exit is None and not self.is_frozen

    @property
    def phase(self) -> TaskPhase:
        """As its keeper lists it."""
        if self.exit is not None:
            return "ended"
        if self.stop_at_s is not None:
            return "stopping"
        return "paused" if self.is_frozen else "running"


def uuid_of(node: NodeId, index: GpuIndex) -> str:
    """The name of a GPU; none is ever replaced."""
    return f"GPU-{node}-{index}"


def info_of(node: NodeId, gpu: Gpu) -> DeviceInfo:
    """What the driver says about a GPU that it reads."""
    return DeviceInfo(
        index=gpu.index,
        uuid=uuid_of(node, gpu.index),
        name="NVIDIA H100 80GB HBM3",
        memory_bytes=80 << 30,
        cap_min_mw=CAP_MIN_MW,
        cap_default_mw=CAP_MAX_MW,
        cap_max_mw=CAP_MAX_MW,
        can_cap=True,
        mig=gpu.mig,
    )


def unread_info(gpu: Gpu, why: str) -> DeviceInfo:
    """What a collector lists in place of a GPU that it has never read."""
    return DeviceInfo(
        index=gpu.index,
        uuid="",
        name="unreadable GPU",
        memory_bytes=0,
        cap_min_mw=CAP_MAX_MW,
        cap_default_mw=CAP_MAX_MW,
        cap_max_mw=CAP_MAX_MW,
        can_cap=False,
        why_not=why,
    )


def process_of(order: TaskOrder, context: LaunchContext, now_s: float) -> Process:
    """What an order starts: its job's environment says what it does."""
    env = order.env
    return Process(
        order=order,
        context=context,
        left_s=float(env.get(SIM_SECONDS, "5")),
        started_s=now_s,
        resumed_s=now_s,
        lease_until_mono_s=context.lease_until_mono_s,
        demand_mw=int(env.get(SIM_DEMAND_MW, CAP_MAX_MW)),
        saves_after_s=float(env.get(SIM_SAVES_S, "inf")),
    )
