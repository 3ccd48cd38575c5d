"""Division of a node's lease among its busy GPUs: the allocator's order in plain code.

Within a node every GPU counts in the same rows, so the allocator stops them at the same level:
dividing its lease by the same rules gives each GPU what the allocator gave it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from wattline_protocol.ids import GpuIndex
from wattline_protocol.site.wall_power import PERMILLE, load_within_mw
from wattline_scheduler.power.demand.node_load import GpuLoad, NodeLoad, gain_class


@dataclass(frozen=True, slots=True)
class _Rise:
    """A GPU that rises by `amount_mw` between two levels."""

    index: GpuIndex
    start: float
    end: float
    amount_mw: int


def split(load: NodeLoad, lease_mw: int) -> dict[GpuIndex, int]:
    """GPU milliwatts of each busy GPU, with overshoot; the floors if the lease is below them."""
    has = {gpu.index: gpu.floor_mw for gpu in load.gpus}
    within_mw = load_within_mw(lease_mw, load.psu_efficiency_permille)
    left_mw = within_mw - load.base_mw - sum(has.values())
    for priority in sorted({gpu.priority for gpu in load.gpus}, reverse=True):
        some = [gpu for gpu in load.gpus if gpu.priority == priority]
        left_mw -= _fill(has, [_even(gpu, has, gpu.asked_mw, PERMILLE) for gpu in some], left_mw)
    for priority in sorted({gpu.priority for gpu in load.gpus}, reverse=True):
        some = [gpu for gpu in load.gpus if gpu.priority == priority]
        rises = [_even(gpu, has, gpu.target_mw, gpu.weight_permille) for gpu in some]
        left_mw -= _fill(has, rises, left_mw)
    classes = sorted({gain_class(gpu.gain) for gpu in load.gpus}, reverse=True)
    for one in classes:
        some = [gpu for gpu in load.gpus if gain_class(gpu.gain) == one]
        rises = [_Rise(g.index, 0.0, 1.0, g.ceiling_mw - has[g.index]) for g in some]
        left_mw -= _fill(has, rises, left_mw)
    return has


def _even(gpu: GpuLoad, has: dict[GpuIndex, int], goal_mw: int, weight_permille: int) -> _Rise:
    """A rise that is even in satisfaction over weight."""
    end = PERMILLE / weight_permille
    has_mw = has[gpu.index]
    return _Rise(gpu.index, end * has_mw / goal_mw if goal_mw else end, end, goal_mw - has_mw)


def _fill(has: dict[GpuIndex, int], rises: Sequence[_Rise], left_mw: int) -> int:
    """Raise all to the level at which `left_mw` is used up; returns the watts used."""
    wanting = [rise for rise in rises if rise.amount_mw > 0]
    if left_mw <= 0 or not wanting:
        return 0
    if sum(rise.amount_mw for rise in wanting) <= left_mw:
        level = max(rise.end for rise in wanting)
    else:
        level = _level(wanting, left_mw)
    used_mw = 0
    for rise in wanting:
        part = min(max((level - rise.start) / (rise.end - rise.start), 0.0), 1.0)
        given_mw = min(int(rise.amount_mw * part), left_mw - used_mw)
        has[rise.index] += given_mw
        used_mw += given_mw
    return used_mw


def _level(rises: Sequence[_Rise], left_mw: int) -> float:
    """Level at which all together use `left_mw`, which is less than their total demand."""
    changes = sorted(
        [(rise.start, rise.amount_mw / (rise.end - rise.start)) for rise in rises]
        + [(rise.end, -rise.amount_mw / (rise.end - rise.start)) for rise in rises]
    )
    level, slope, used = 0.0, 0.0, 0.0
    for at, change in changes:
        if slope > 0.0 and used + slope * (at - level) >= left_mw:
            return level + (left_mw - used) / slope
        used += slope * (at - level)
        level, slope = at, slope + change
    return level
