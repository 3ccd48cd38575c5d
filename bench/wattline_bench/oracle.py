"""What the allocator should give, from linear programs (scipy HiGHS): slow and plainly right.

Lexicographic max-min: for each priority the least satisfaction is made as large as it can be; whose
satisfaction cannot rise above that is held there; the rest goes on. Dual values tell who is held: a
GPU whose lower bound has a price cannot have more without making the least one poorer.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import coo_array, csr_array, vstack

from wattline_scheduler.power.allocation.allocator import GpuColumns, NodeColumns
from wattline_scheduler.power.topology.matrix import Bools, Floats, Ints, Matrix

W = 1000.0
"""The programs are in watts: their tolerances are absolute."""

PRICED = 1e-7
"""A dual value above this is no rounding."""

FULL = 1.0 - 1e-9
"""Share of a level at which it counts as reached."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What a GPU watt costs in each row (rows x GPUs), and watts left above the floors."""

    cost: Any
    left_w: Floats

    @classmethod
    def of(cls, matrix: Matrix, nodes: NodeColumns, gpus: GpuColumns, free_mw: Ints) -> "Problem":
        """The same rows as the allocator has, from the matrix' entries and not from its layers."""
        wall = 1000.0 / nodes.psu_efficiency_permille
        shares = (matrix.entry_share / 1000.0, (matrix.entry_row, matrix.entry_node))
        share = csr_array(coo_array(shares, shape=(matrix.row_count, len(matrix.nodes))))
        count = len(gpus.node)
        walls = (wall[gpus.node], (gpus.node, np.arange(count)))
        on_node = csr_array(coo_array(walls, shape=(len(matrix.nodes), count)))
        floors = np.bincount(gpus.node, gpus.floor_mw, len(matrix.nodes))
        base = np.where(nodes.is_set, (nodes.base_mw + floors) * wall, 0.0)
        left = free_mw - share @ np.maximum(base, nodes.lowest_mw)
        return cls(csr_array(share @ on_node), np.maximum(left, 0.0) / W)


def oracle(matrix: Matrix, nodes: NodeColumns, gpus: GpuColumns, free_mw: Ints) -> Floats:
    """GPU milliwatts after floors, what users asked for, and targets (without the spare watts)."""
    problem = Problem.of(matrix, nodes, gpus, free_mw)
    floor = gpus.floor_mw / W
    has = floor.copy()
    weight = gpus.weight_permille / 1000.0
    for goal, weights in ((gpus.asked_mw / W, np.ones(len(has))), (gpus.target_mw / W, weight)):
        for priority in np.unique(gpus.priority)[::-1]:
            some = (gpus.priority == priority) & (goal > has)
            if some.any():
                has[some] = _max_min(
                    problem, has - floor, has[some], goal[some], weights[some], some
                )
    return has * W


def _max_min(
    problem: Problem, given: Floats, low: Floats, high: Floats, weight: Floats, some: Bools
) -> Floats:
    """What the GPUs `some` get, which rise from `low` towards `high`; `given`: above the floors."""
    cost = csr_array(problem.cost[:, np.flatnonzero(some)])
    left = problem.left_w - problem.cost @ given
    unit = high * weight
    result = np.full(len(low), np.nan)
    while np.isnan(result).any():
        at = np.flatnonzero(np.isnan(result))
        done = np.flatnonzero(~np.isnan(result))
        room = np.maximum(left - cost[:, done] @ (result - low)[done], 0.0)
        level, held = _level(csr_array(cost[:, at]), room, low[at], high[at], unit[at])
        result[at[held]] = np.clip(level * unit[at], low[at], high[at])[held]
    return result


def _level(cost: Any, room: Floats, low: Floats, high: Floats, unit: Floats) -> tuple[float, Bools]:
    """Largest level that all reach, and who cannot rise above it.

    Variables: watts of each GPU above `low`, and the level. Who has everything stops as well.
    """
    count = len(low)
    full_at = high / unit
    top = float(full_at.min())
    rows = csr_array(cost)
    rows.resize((cost.shape[0], count + 1))
    index = np.arange(count)
    reach = coo_array(
        (
            np.concatenate([-np.ones(count), unit]),
            (np.concatenate([index, index]), np.concatenate([index, np.full(count, count)])),
        ),
        shape=(count, count + 1),
    )
    solved = linprog(
        c=np.append(np.zeros(count), -1.0),
        A_ub=csr_array(vstack([rows, reach])),
        b_ub=np.append(room, low),
        bounds=np.column_stack([np.zeros(count + 1), np.append(high - low, top)]),
        method="highs",
    )
    if not solved.success:
        raise AssertionError(f"the oracle found no solution: {solved.message}")
    level = float(solved.x[-1])
    if level >= top * FULL:
        return top, full_at <= top / FULL
    prices = -np.asarray(solved.ineqlin.marginals)[rows.shape[0] :]
    return level, prices > PRICED * prices.max()
