"""Which of the feasible nodes is best: best fit on GPUs, cool air, then the most watts left above.

A share of a GPU goes first of all to the free part that it fills best, on whatever node that is.
Best fit keeps whole nodes free for large gangs. Among equals the one whose GPUs would stay coolest
at full power, where any would get warm at all; then the node whose tightest domain, in
either tree, keeps the largest share of its budget wins: a lease can rise highest there.
"""

from dataclasses import dataclass

import numpy as np

from wattline_protocol.job import WHOLE_GPU
from wattline_scheduler.plan.asks import ALL, Ask, At, fits, needed_mw, slots_for
from wattline_scheduler.plan.columns import WHOLE_MILLI, Columns
from wattline_scheduler.plan.fragments import Prices, best_slot, growth_milli
from wattline_scheduler.plan.rooms import most_mw, room_for, share_left
from wattline_scheduler.plan.snapshot import Shape
from wattline_scheduler.plan.trial import Trial
from wattline_scheduler.power.matrix import Floats
from wattline_scheduler.power.rows import counted_mw

Score = tuple[int, int, int, int, int, int]


def score(trial: Trial, at: int, shape: Shape) -> Score:
    """Lower is better; the last part, the position, makes the order total."""
    part = trial.part_for(at, shape)
    part_left = (WHOLE_GPU if part is None else part.free_milli) - shape.gpu_milli
    gpus_left = len(trial.free[at]) - (shape.gpus if part is None else 0)
    needed_mw = trial.needed_mw(at, shape)
    rows = trial.snapshot.rows
    tightest_permille = min(
        (
            (trial.room_mw[row] - counted_mw(needed_mw, share))
            * 1000
            // max(1, rows[row].budget_mw)
            for row, share in trial.snapshot.above[at]
        ),
        default=1000,
    )
    warmth = trial.offers[at].warmth
    return (part_left, gpus_left, warmth, -tightest_permille, -trial.cpus[at], at)


MILLIWATTS_PER_KW = 1e6


@dataclass(frozen=True, slots=True)
class Weights:
    """What each term of the cost counts for; see docs/scheduling.md."""

    fragments: float = 1.0
    """Each GPU that the mix of tasks cannot use any more, where a mix is known."""
    fit: float = 1.0
    """Each GPU left over on the node, where no mix is known."""
    warmth: float = 0.05
    """Each step by which its free GPUs would be too warm at full power."""
    stranding: float = 0.04
    """The whole budget of the tightest row above being used up."""
    watts: float = 0.0
    """Each kilowatt that the node must keep more; it draws work to GPUs of few watts."""
    cpus: float = 1e-6
    """Each CPU that is taken already."""


DEFAULT_WEIGHTS = Weights()


def node_cost(
    columns: Columns,
    ask: Ask,
    at: At = ALL,
    weights: Weights = DEFAULT_WEIGHTS,
    prices: Prices | None = None,
) -> Floats:
    """[node] the part of the cost that lies in the node; the lowest is best.

    `prices` say what the mix of tasks would lose; without them GPUs are packed by best fit.
    """
    cost: Floats = (
        _packing(columns, ask, at, weights, prices)
        + weights.warmth * columns.warmth[at]
        - weights.cpus * columns.cpus_free[at]
    )
    if weights.watts:
        cost += weights.watts / MILLIWATTS_PER_KW * needed_mw(columns, ask, at)
    return cost


def _packing(columns: Columns, ask: Ask, at: At, weights: Weights, prices: Prices | None) -> Floats:
    if prices is None:
        left: Floats = columns.whole[at] - np.float64(ask.gpus)
        return weights.fit * left
    return weights.fragments / WHOLE_MILLI * growth_milli(columns, ask, prices, at)


def chosen_slots(columns: Columns, ask: Ask, at: int, prices: Prices | None = None) -> list[int]:
    """The GPUs that a task gets on a node: as `slots_for`, but a share where it costs least."""
    if prices is None or ask.milli == WHOLE_MILLI:
        return slots_for(columns, ask, at)
    return [best_slot(columns, ask, prices, at)]


def group_cost(columns: Columns, weights: Weights = DEFAULT_WEIGHTS) -> Floats:
    """[group] the part of the cost that lies in the rows above: where most is left, is best."""
    cost: Floats = -weights.stranding * share_left(columns)
    return cost


def costs(
    columns: Columns, ask: Ask, priority: int = 0, weights: Weights = DEFAULT_WEIGHTS
) -> Floats:
    """[node] cost of the task on every node; infinite where it does not fit now.

    The node to take is the first with the least (`argmin`).
    """
    most = most_mw(columns, room_for(columns, priority))[columns.group]
    can = fits(columns, ask) & (needed_mw(columns, ask) <= most)
    cost = node_cost(columns, ask, ALL, weights) + group_cost(columns, weights)[columns.group]
    return np.where(can, cost, np.inf)
