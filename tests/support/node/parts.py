"""What a node's core is played against, as plain data, and looking through its effects."""

from dataclasses import dataclass
from typing import TypeVar

import msgspec

from wattline_agent.core.effects import Effect, Note, Send
from wattline_agent.core.ports import DeviceInfo
from wattline_agent.core.power.capper import NodeTerms
from wattline_protocol.ids import AttemptNo, GpuIndex, JobId, TaskNo, TaskRef
from wattline_protocol.site.wall_power import wall_mw
from wattline_protocol.wire.agent_messages import TaskExit
from wattline_protocol.wire.gpu_process import GpuProcess
from wattline_protocol.wire.mig import MigInstance
from wattline_protocol.wire.task_order import Notice, TaskOrder

M = TypeVar("M")
E = TypeVar("E")

W = 1000
MIN, MAX, IDLE = 200 * W, 700 * W, 70 * W
TERMS = NodeTerms(non_gpu_worst_mw=800 * W, psu_efficiency_permille=940)
WELCOME: dict[str, object] = {
    "beat_period_s": 1.0,
    "isolation_after_s": 15.0,
    "isolation": "keep",
    "task_lease_s": 300.0,
    "emergency_grace_s": 5.0,
    "non_gpu_worst_mw": TERMS.non_gpu_worst_mw,
    "psu_efficiency_permille": TERMS.psu_efficiency_permille,
}
"""What a Welcome says of the site unless a test says otherwise."""
BOOT = "boot-1"
MODEL = "NVIDIA H100 80GB HBM3"


def wall(gpus_mw: int) -> int:
    """Lease that exactly covers GPUs drawing `gpus_mw` together."""
    return wall_mw(gpus_mw + TERMS.non_gpu_worst_mw, TERMS.psu_efficiency_permille)


def ref(task: int = 0, attempt: int = 1, job: int = 1) -> TaskRef:
    """Name of an attempt."""
    return TaskRef(JobId(job), TaskNo(task), AttemptNo(attempt))


def order(name: TaskRef, *gpus: int, **changes: object) -> TaskOrder:
    """An order for an attempt on some GPUs."""
    fields = {
        "ref": name,
        "job_name": "work",
        "owner": "ada",
        "kind": "batch",
        "command": ("true",),
        "env": {},
        "gpus": tuple(GpuIndex(i) for i in gpus),
        "launcher": "process",
    }
    return TaskOrder(**{**fields, **changes})  # type: ignore[arg-type]  # built by name for brevity


@dataclass(slots=True)
class ModelGpu:
    """A GPU as it really is."""

    index: GpuIndex
    limit_mw: int = MAX
    bmc_mw: int = MAX
    error: str = ""
    """What the driver says to a set; empty = it obeys."""
    ignores: bool = False
    """It says yes and keeps its limit."""
    can_cap: bool = True
    can_lock: bool = False
    can_share: bool = True
    mig: tuple[MigInstance, ...] | None = None
    locked_mhz: int = 0
    """Ceiling of its clocks as the driver has it; 0 = none."""
    is_hung: bool = False
    is_lost: bool = False
    foreign_mw: int = 0
    foreign: tuple[GpuProcess, ...] = ()
    """Processes on it that belong to no task, as a look finds them."""
    load_mw: int = MAX
    """What a task on it would draw uncapped."""
    overshoot_permille: int = 1000
    energy_mj: int = 0
    throttle_ns: int = 0
    cooling_until_s: float = 0.0
    util_pct: int | None = None
    """None: as its draw suggests."""

    @property
    def info(self) -> DeviceInfo:
        """What the driver says about it."""
        return DeviceInfo(
            index=self.index,
            uuid=f"GPU-{self.index}",
            name=MODEL,
            memory_bytes=80 << 30,
            cap_min_mw=MIN,
            cap_default_mw=MAX,
            cap_max_mw=MAX,
            can_cap=self.can_cap,
            clock_max_mhz=2_000,
            can_lock_clocks=self.can_lock,
            can_share=self.can_share,
            mig=self.mig,
        )

    def util_at(self, power_mw: int) -> int | None:
        """As the driver tells it: not in MIG mode."""
        if self.mig is not None:
            return None
        return (0 if power_mw <= IDLE else 100) if self.util_pct is None else self.util_pct

    @property
    def enforced_mw(self) -> int:
        """The limit in force."""
        return min(self.limit_mw, self.bmc_mw)


@dataclass(slots=True)
class ModelTask:
    """A process group as it really is."""

    order: TaskOrder
    started_s: float
    phase: str = "running"
    exit: TaskExit | None = None
    group_ended: bool = False
    ended_s: float = 0.0
    notice: Notice | None = None
    has_task_lease: bool = False

    def limit(self, runtime_limit_s: float) -> None:
        """Another run time limit, as the runner keeps it on disk."""
        self.order = msgspec.structs.replace(self.order, runtime_limit_s=runtime_limit_s)


def messages_of(effects: list[Effect], kind: type[M]) -> list[M]:
    """Messages of one kind among the effects, in order."""
    return [e.message for e in effects if isinstance(e, Send) and isinstance(e.message, kind)]


def of(effects: list[Effect], kind: type[E]) -> list[E]:
    """Effects of one kind, in order."""
    return [e for e in effects if isinstance(e, kind)]


def names(effects: list[Effect]) -> list[str]:
    """Kinds of effects in order, messages by their own kind; notes left out."""
    return [
        type(e.message if isinstance(e, Send) else e).__name__
        for e in effects
        if not isinstance(e, Note)
    ]
