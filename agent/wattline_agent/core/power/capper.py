"""From a lease to caps and back: the arithmetic of I2, pure and in exact integers.

Theory. A node's wall draw is at most (sum of what each GPU counts + worst non-GPU watts) over the
lowest PSU efficiency. What a GPU counts depends on its use:

* with a task: its limit times its model's overshoot;
* settling (no running task, but not yet at idle draw for 3 s): the same, at its limit;
* idle: its idle watts, however high its limit;
* cannot be capped, or not managed: its maximum times overshoot.

`plan` turns a lease into caps: the scheduler's requested caps where they fit, else scaled down to
one water level, at least the minimum caps. `holding_mw` is what limits read back guarantee.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from wattline_protocol.ids import GpuIndex
from wattline_protocol.site.wall_power import PERMILLE, gpu_bound_mw, load_within_mw, wall_mw

CAP_STEP_MW = 1000
"""Drivers take whole watts at best: caps are rounded down, so that no driver rounds them up."""

Use = Literal["task", "settling", "idle"]


@dataclass(frozen=True, slots=True)
class NodeTerms:
    """Terms of the site file for the node."""

    non_gpu_worst_mw: int
    psu_efficiency_permille: int


class GpuHold(msgspec.Struct, frozen=True):
    """One GPU in the terms of I2; created for every GPU several times a second."""

    index: GpuIndex
    cap_min_mw: int
    cap_max_mw: int
    overshoot_permille: int
    idle_mw: int
    can_cap: bool
    """False: unmanaged, not permitted, or its limit is not the requested one."""
    use: Use
    limit_mw: int
    """Largest limit that may be in force now; counts only while `can_cap`."""
    may_idle: bool = True
    """False: foreign to this agent; it may leave idle at any time and always counts in full."""

    @property
    def full_mw(self) -> int:
        """Its count when no cap limits it."""
        return gpu_bound_mw(self.cap_max_mw, self.overshoot_permille)

    def counts_mw(self, cap_mw: int) -> int:
        """Its count under `cap_mw`."""
        held_mw = gpu_bound_mw(cap_mw, self.overshoot_permille) if self.can_cap else self.full_mw
        if self.use == "idle" and self.may_idle:
            return min(self.idle_mw, held_mw)
        return held_mw


@dataclass(frozen=True, slots=True)
class Plan:
    """Caps that fit a lease, or the lowest possible."""

    caps_mw: tuple[int, ...]
    """Per GPU by index; for a GPU that cannot be capped: its maximum, not to be set."""
    holding_mw: int
    """Wall watts these caps guarantee."""
    fits: bool
    """`holding_mw` is within the lease."""


def holding_mw(terms: NodeTerms, gpus: Sequence[GpuHold]) -> int:
    """Wall watts that the limits in force guarantee (I2)."""
    return _wall(terms, sum(gpu.counts_mw(gpu.limit_mw) for gpu in gpus))


def lowest_mw(terms: NodeTerms, gpus: Sequence[GpuHold]) -> int:
    """Lowest wall watts the node can be capped to with the present use of its GPUs."""
    return _wall(terms, sum(gpu.counts_mw(gpu.cap_min_mw) for gpu in gpus))


def floor_caps(gpus: Sequence[GpuHold]) -> tuple[int, ...]:
    """Lowest power: every GPU that can be capped at its minimum."""
    return tuple(gpu.cap_min_mw if gpu.can_cap else gpu.cap_max_mw for gpu in gpus)


def plan(
    terms: NodeTerms, gpus: Sequence[GpuHold], lease_mw: int, wanted_mw: Sequence[int]
) -> Plan:
    """Caps that fit `lease_mw`, as near to `wanted_mw` as possible.

    A GPU without a running task gets its minimum cap. A missing wanted cap means the maximum.
    """
    floors = floor_caps(gpus)
    tops = tuple(
        _top(gpu, floor, wanted_mw[at] if at < len(wanted_mw) else gpu.cap_max_mw)
        for at, (gpu, floor) in enumerate(zip(gpus, floors, strict=True))
    )
    available_mw = load_within_mw(lease_mw, terms.psu_efficiency_permille) - terms.non_gpu_worst_mw
    caps = _water_level(gpus, floors, tops, available_mw)
    held_mw = _wall(terms, _load(gpus, caps))
    return Plan(caps, held_mw, held_mw <= lease_mw)


def _top(gpu: GpuHold, floor_mw: int, wanted_mw: int) -> int:
    if not gpu.can_cap or gpu.use != "task":
        return floor_mw
    whole_mw = min(wanted_mw, gpu.cap_max_mw) // CAP_STEP_MW * CAP_STEP_MW
    return max(whole_mw, gpu.cap_min_mw)


def _water_level(
    gpus: Sequence[GpuHold], floors: Sequence[int], tops: Sequence[int], available_mw: int
) -> tuple[int, ...]:
    """Caps clamped to the highest common level whose load fits; the floors if none does."""
    if _load(gpus, tops) <= available_mw:
        return tuple(tops)
    low, high = 0, max(tops, default=0) // CAP_STEP_MW
    while low < high:
        level = (low + high + 1) // 2
        if _load(gpus, _clamp(level * CAP_STEP_MW, floors, tops)) <= available_mw:
            low = level
        else:
            high = level - 1
    return _clamp(low * CAP_STEP_MW, floors, tops)


def _clamp(level_mw: int, floors: Sequence[int], tops: Sequence[int]) -> tuple[int, ...]:
    return tuple(max(floor, min(top, level_mw)) for floor, top in zip(floors, tops, strict=True))


def _load(gpus: Sequence[GpuHold], caps: Sequence[int]) -> int:
    return sum(gpu.counts_mw(cap) for gpu, cap in zip(gpus, caps, strict=True))


def _wall(terms: NodeTerms, gpus_mw: int) -> int:
    return wall_mw(gpus_mw + terms.non_gpu_worst_mw, terms.psu_efficiency_permille)


def overshoot_of(power_mw: int, cap_mw: int) -> int:
    """Ratio of a 1 s average to its cap, in permille, rounded up to whole percents."""
    permille = -(-power_mw * PERMILLE // cap_mw)
    return -(-permille // 10) * 10
