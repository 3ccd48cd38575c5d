"""Power allocator: floors, strict priority, max-min satisfaction, spare watts; pure.

Every node gets its floor, and the caps that `min_performance` requires. The rest goes to the
targets of the highest priority, then of the next: within a priority all GPUs rise together in
satisfaction (allocation / target, over weight) until a row is full (`water_filling`). When targets
are met, the rest raises GPUs towards their ceilings, highest gain per watt first; what remains
after that is ramp headroom.

The caller decides which work to pause: floors that do not fit are allocated all the same and
reported as `short`; useful caps that do not fit together are reported as `missing`. Demand of a
higher priority above its useful cap slows lower priorities, but pauses no work.

Levels are floats; allocations are rounded down to whole milliwatts, and each row reserves what
rounding may add, so that every row's limit is exact.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from wattline_protocol.site.wall_power import PERMILLE
from wattline_scheduler.power.allocation.water_filling import Rise, fill
from wattline_scheduler.power.demand.node_load import GAIN_STEP
from wattline_scheduler.power.topology.matrix import Bools, Floats, Ints, Matrix

ROUNDING_MW = 2
"""Wall milliwatts reserved per node and row: a lease is rounded up, and so is its share."""


@dataclass(slots=True)
class NodeColumns:
    """One entry per node, in the order of `Matrix.nodes`."""

    base_mw: Ints
    psu_efficiency_permille: Ints
    lowest_mw: Ints
    is_set: Bools
    """Whether the node's lease can be set; other nodes get no allocation."""


@dataclass(slots=True)
class GpuColumns:
    """One entry per GPU, ascending by node; as `GpuLoad`. GPUs of nodes not set must be zero."""

    node: Ints
    floor_mw: Ints
    asked_mw: Ints
    useful_mw: Ints
    target_mw: Ints
    ceiling_mw: Ints
    priority: Ints
    weight_permille: Ints
    gain: Floats


@dataclass(frozen=True, slots=True)
class Allocation:
    """Leases that fit every row together, except rows that are short."""

    gpu_mw: Ints
    """Per GPU, overshoot included."""
    lease_mw: Ints
    """Per node, at the wall."""
    short_mw: Ints
    """Per row: by how much the floors alone exceed it; 0 = they fit."""
    row: Ints
    """Per GPU: the row that limits it below its target; -1 = none."""
    missing_mw: Ints
    """Per row: wall milliwatts by which useful caps alone fall short because of it."""

    def short(self) -> dict[int, int]:
        """Rows whose floors do not fit, and by how many wall milliwatts."""
        return {int(row): int(self.short_mw[row]) for row in np.flatnonzero(self.short_mw)}

    def missing(self) -> dict[int, int]:
        """Rows in which useful caps do not fit, and by how many wall milliwatts."""
        return {int(row): int(self.missing_mw[row]) for row in np.flatnonzero(self.missing_mw)}


def allocate(matrix: Matrix, nodes: NodeColumns, gpus: GpuColumns, free_mw: Ints) -> Allocation:
    """Divide `free_mw` (wall milliwatts of each row, for these nodes alone) among the GPUs.

    Never infeasible: what does not fit is reported in `short_mw`. Deterministic.
    """
    floors_mw = matrix.in_rows(lease_mw(nodes, gpus, gpus.floor_mw))
    left_mw = _left(matrix, nodes, free_mw - floors_mw)
    missing_mw = _missing(matrix, nodes, gpus, free_mw, left_mw)
    rising = _Rising(matrix, nodes, gpus, left_mw)
    rising.to_asked()
    rising.to_targets()
    rising.to_ceilings()
    gpu_mw = np.floor(rising.has_mw).astype(np.int64)
    return Allocation(
        gpu_mw=gpu_mw,
        lease_mw=lease_mw(nodes, gpus, gpu_mw),
        short_mw=np.maximum(floors_mw - free_mw, 0),
        row=rising.row,
        missing_mw=missing_mw,
    )


def lease_mw(nodes: NodeColumns, gpus: GpuColumns, gpu_mw: Ints) -> Ints:
    """Leases that cover these GPU watts; exact (see `wall_power.wall_mw`)."""
    drawn = np.bincount(gpus.node, gpu_mw, len(nodes.base_mw)).astype(np.int64)
    wall = -(-(nodes.base_mw + drawn) * PERMILLE // nodes.psu_efficiency_permille)
    return np.where(nodes.is_set, np.maximum(wall, nodes.lowest_mw), 0)


def _missing(
    matrix: Matrix, nodes: NodeColumns, gpus: GpuColumns, free_mw: Ints, left_mw: Floats
) -> Ints:
    """Shortfall of useful caps, by the row that limits them, if nothing is allocated above them."""
    keeps_mw = matrix.in_rows(lease_mw(nodes, gpus, gpus.useful_mw))
    if (keeps_mw <= free_mw).all():
        return np.zeros(matrix.row_count, dtype=np.int64)
    return _Rising(matrix, nodes, gpus, left_mw.copy()).to_useful_caps()


def _left(matrix: Matrix, nodes: NodeColumns, above_floors_mw: Ints) -> Floats:
    """Watts to allocate above the floors, less what rounding may add."""
    in_row = np.bincount(matrix.entry_row, nodes.is_set[matrix.entry_node], matrix.row_count)
    left: Floats = (above_floors_mw - ROUNDING_MW * in_row - 1).astype(np.float64)
    left *= 1.0 - 2.0**-40  # rounding of float sums
    return np.maximum(left, 0.0)


class _Rising:
    """Allocation of each GPU so far, and remaining watts of each row."""

    def __init__(
        self, matrix: Matrix, nodes: NodeColumns, gpus: GpuColumns, left_mw: Floats
    ) -> None:
        self._matrix = matrix
        self._gpus = gpus
        self._group = matrix.group[gpus.node]
        self._cost = (PERMILLE / nodes.psu_efficiency_permille)[gpus.node]
        self._left_mw = left_mw
        self.has_mw = gpus.floor_mw.astype(np.float64)
        self.row = np.full(len(gpus.node), -1, dtype=np.int64)

    def to_asked(self) -> None:
        """Raise to the caps that `min_performance` requires, by priority."""
        self._to(self._gpus.asked_mw)

    def to_useful_caps(self) -> Ints:
        """Raise to useful caps by priority; returns the shortfall, by the limiting row."""
        goal_mw = self._to(self._gpus.useful_mw)
        lacks = np.where(self.row >= 0, (goal_mw - self.has_mw) * self._cost, 0.0)
        missing = np.bincount(self.row + 1, lacks, self._matrix.row_count + 1)[1:]
        return np.ceil(missing).astype(np.int64)

    def to_targets(self) -> None:
        """Strict priority; within a priority, satisfaction over weight rises evenly."""
        self._to(self._gpus.target_mw, self._gpus.weight_permille / PERMILLE)

    def to_ceilings(self) -> None:
        """The highest gain first; equal gains rise evenly."""
        goal_mw = self._gpus.ceiling_mw.astype(np.float64)
        some = np.flatnonzero(goal_mw > self.has_mw)
        if len(some) and self._left_mw.any():
            rank = _ranks(self._gpus.gain[some])
            self._grant(some, goal_mw[some], rank, rank + 1.0)

    def _to(self, goal: Ints, weight: Floats | None = None) -> Floats:
        """Raise all towards their goals by strict priority; returns the goals."""
        goal_mw = goal.astype(np.float64)
        for some in self._by_priority(goal_mw > self.has_mw):
            self._raise(some, goal_mw[some], np.ones(len(some)) if weight is None else weight[some])
        return goal_mw

    def _by_priority(self, wants: Bools) -> Iterator[Ints]:
        """Positions of the GPUs below their goal, highest priority first."""
        some = np.flatnonzero(wants)
        priorities = self._gpus.priority[some]
        for priority in np.unique(priorities)[::-1]:
            yield some[priorities == priority]

    def _raise(self, some: Ints, goal_mw: Floats, weight: Floats) -> None:
        row = self._grant(some, goal_mw, self.has_mw[some] / (goal_mw * weight), 1.0 / weight)
        self.row[some] = np.where(self.row[some] < 0, row, self.row[some])

    def _grant(self, some: Ints, goal_mw: Floats, start: Floats, end: Floats) -> Ints:
        lacks_mw = goal_mw - self.has_mw[some]
        rise = Rise(self._group[some], start, end, lacks_mw * self._cost[some])
        filled = fill(self._matrix, rise, self._left_mw)
        self.has_mw[some] = np.where(
            filled.part >= 1.0, goal_mw, self.has_mw[some] + lacks_mw * filled.part
        )
        return filled.row


def _ranks(gain: Floats) -> Floats:
    """0 for the highest class of gains, 1 for the next; see `node_load.gain_class`."""
    steps = np.full(len(gain), -np.inf)
    is_useful = gain > 0.0
    steps[is_useful] = np.floor(np.log(gain[is_useful]) / np.log(GAIN_STEP))
    _, ranks = np.unique(-steps, return_inverse=True)
    return ranks.astype(np.float64)
