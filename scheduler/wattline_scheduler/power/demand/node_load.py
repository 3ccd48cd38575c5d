"""Power load of a node: its least draw, and the demand of each busy GPU.

One description serves placement (admission), the allocator (division of watts) and the leases.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from wattline_protocol.ids import GpuIndex, NodeId
from wattline_protocol.site.wall_power import gpu_bound_mw, wall_mw
from wattline_protocol.wire.agent_messages import GpuInfo
from wattline_scheduler.power.demand.energy_goal import efficient_cap_mw
from wattline_scheduler.power.demand.useful_cap import (
    NOTHING_SAID,
    Need,
    admission_cap_mw,
    gain_per_kw,
    job_caps,
)

EQUAL_WEIGHT_PERMILLE = 1000


@dataclass(frozen=True, slots=True)
class GpuLoad:
    """A GPU with a task (or not yet idle). All in GPU milliwatts, overshoot included."""

    index: GpuIndex
    floor_mw: int
    asked_mw: int
    """Watts for the user's `min_performance`, or for the SLO of a service at its load; else the
    floor."""
    useful_mw: int
    """Useful cap, below which running is not worthwhile; from `asked_mw` to the target, but of a
    service with an SLO no more than `asked_mw`."""
    target_mw: int
    """Demand plus ramp margin, at least `useful_mw`."""
    ceiling_mw: int
    priority: int
    weight_permille: int = EQUAL_WEIGHT_PERMILLE
    """Weight within a priority: satisfaction rises in proportion to it."""
    gain: float = 0.0
    """Performance per watt just above the target, in 1/kW of the GPU's uncapped performance; 0
    without a binding cap: watts beyond the demand have no effect then."""


@dataclass(frozen=True, slots=True)
class NodeLoad:
    """A node whose lease can be set."""

    node: NodeId
    base_mw: int
    """Non-GPU worst case plus the idle watts of idle GPUs, before the power supplies."""
    psu_efficiency_permille: int
    gpus: tuple[GpuLoad, ...]
    lowest_mw: int = 0
    """Wall watts below which the agent reports that the node cannot be limited now."""

    def wall_mw(self, gpus_mw: int) -> int:
        """Lease that covers the node when its busy GPUs draw `gpus_mw` together."""
        return max(wall_mw(self.base_mw + gpus_mw, self.psu_efficiency_permille), self.lowest_mw)

    @property
    def floor_mw(self) -> int:
        """Lowest lease, at the wall, to which the node can be limited with its work running."""
        return self.wall_mw(sum(gpu.floor_mw for gpu in self.gpus))

    @property
    def useful_mw(self) -> int:
        """Lease, at the wall, that covers the useful caps of all work on the node."""
        return self.wall_mw(sum(gpu.useful_mw for gpu in self.gpus))

    @property
    def ceiling_mw(self) -> int:
        """Lease, at the wall, at which no GPU is capped below its maximum."""
        return self.wall_mw(sum(gpu.ceiling_mw for gpu in self.gpus))


GAIN_STEP = 1.1
"""Gains within this ratio count as equal: such GPUs share spare watts evenly."""


def gain_class(gain: float) -> float:
    """Sort key of gains for spare watts, highest first; no gain comes last."""
    return math.floor(math.log(gain) / math.log(GAIN_STEP)) if gain > 0.0 else -math.inf


def is_controlled(gpu: GpuInfo) -> bool:
    """Whether its agent controls its draw; else it counts at its ceiling whatever runs on it."""
    return gpu.managed and not gpu.raised


GpuState = Literal["uncontrolled", "task", "idle", "unassigned"]
"""`unassigned`: it has no task, and may draw up to its floor."""


def classify(gpu: GpuInfo, *, has_task: bool, is_idle: bool) -> GpuState:
    """What a GPU counts as, wherever watts of a node are summed (I2)."""
    if not is_controlled(gpu):
        return "uncontrolled"
    if has_task:
        return "task"
    return "idle" if is_idle else "unassigned"


def least_mw(gpu: GpuInfo, state: GpuState) -> int:
    """Minimum watts to lease for it."""
    if state == "uncontrolled":
        return gpu_ceiling_mw(gpu)
    return gpu.idle_mw if state == "idle" else gpu_floor_mw(gpu)


def gpu_floor_mw(gpu: GpuInfo) -> int:
    """Lowest limit of a busy GPU: its minimum cap, or its ceiling if it cannot be capped."""
    return gpu_bound_mw(_floor_cap_mw(gpu), gpu.overshoot_permille)


def _floor_cap_mw(gpu: GpuInfo) -> int:
    return gpu.cap_min_mw if gpu.can_cap else gpu.cap_max_mw


def gpu_ceiling_mw(gpu: GpuInfo) -> int:
    """Maximum draw of a GPU at its maximum cap."""
    return gpu_bound_mw(gpu.cap_max_mw, gpu.overshoot_permille)


def gpu_admission_mw(gpu: GpuInfo, need: Need) -> int:
    """Watts required on a GPU before a task may be placed on it."""
    cap_mw = max(_floor_cap_mw(gpu), admission_cap_mw(gpu, need))
    return gpu_bound_mw(cap_mw, gpu.overshoot_permille)


def busy_gpu(
    gpu: GpuInfo,
    demand_mw: int,
    priority: int,
    need: Need = NOTHING_SAID,
    steepness: float = 1.0,
    *,
    is_bound: bool = False,
    wanted_cap_mw: int = 0,
    host_mw: int | None = None,
) -> GpuLoad:
    """The load of a GPU with a task that would draw `demand_mw` uncapped.

    `is_bound`: a cap limits it, so watts beyond its target are of use at once. `wanted_cap_mw`: the
    cap with which its service keeps its SLO, so that it gets no more; 0 = it is not scaled.
    `host_mw`: watts of the host for each GPU, where the least energy per result is its goal: it
    gets no more than that needs; None = it is not.
    """
    if need.is_never_capped:
        demand_mw = gpu.cap_max_mw
    floor_mw, ceiling_mw = gpu_floor_mw(gpu), gpu_ceiling_mw(gpu)
    target_mw = gpu_bound_mw(demand_mw, gpu.overshoot_permille)
    target_mw = min(max(target_mw, floor_mw), ceiling_mw)
    asked_mw, useful_mw = (
        min(max(gpu_bound_mw(cap_mw, gpu.overshoot_permille), floor_mw), target_mw)
        for cap_mw in job_caps(gpu, demand_mw, need, steepness)
    )
    if wanted_cap_mw and not need.is_never_capped:
        bound_mw = gpu_bound_mw(wanted_cap_mw, gpu.overshoot_permille)
        asked_mw = max(asked_mw, min(max(bound_mw, floor_mw), ceiling_mw))
        useful_mw, target_mw, ceiling_mw = min(useful_mw, asked_mw), asked_mw, asked_mw
        is_bound = False
    elif host_mw is not None and not need.is_never_capped:
        most_mw = efficient_cap_mw(gpu, demand_mw, need, host_mw, steepness)
        bound_mw = gpu_bound_mw(most_mw, gpu.overshoot_permille)
        target_mw = ceiling_mw = min(max(bound_mw, useful_mw), target_mw)
        is_bound = False
    return GpuLoad(
        index=gpu.index,
        floor_mw=floor_mw,
        asked_mw=asked_mw,
        useful_mw=useful_mw,
        target_mw=target_mw,
        ceiling_mw=ceiling_mw,
        priority=priority,
        gain=gain_per_kw(gpu, demand_mw, need, steepness) if is_bound else 0.0,
    )


def most_demanding(views: Sequence[GpuLoad]) -> GpuLoad:
    """Combine the loads of a GPU's tasks: it counts once, at the highest demand of any.

    Each useful cap was admitted when its task was placed, so the largest of them was as well.
    """
    if len(views) == 1:
        return views[0]
    return replace(
        views[0],
        asked_mw=max(view.asked_mw for view in views),
        useful_mw=max(view.useful_mw for view in views),
        target_mw=max(view.target_mw for view in views),
        ceiling_mw=max(view.ceiling_mw for view in views),
        priority=max(view.priority for view in views),
        gain=max(view.gain for view in views),
    )
