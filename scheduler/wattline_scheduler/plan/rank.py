"""Which of the feasible nodes is best: best fit on GPUs, cool air, then the most watts left above.

A share of a GPU goes first of all to the free part that it fills best, on whatever node that is.
Best fit keeps whole nodes free for large gangs. Among equals the one whose GPUs would stay coolest
at full power, where any would get warm at all; then the node whose tightest domain, in
either tree, keeps the largest share of its budget wins: a lease can rise highest there.
"""

from dataclasses import dataclass

import numpy as np

from wattline_scheduler.plan.asks import ALL, Ask, At, fits, needed_mw, part_left, slots_for
from wattline_scheduler.plan.columns import WHOLE_MILLI, Columns
from wattline_scheduler.plan.fragments import Prices, best_slot, growth_milli
from wattline_scheduler.plan.rooms import most_mw, room_for, share_left
from wattline_scheduler.power.matrix import Floats

MILLIWATTS_PER_KW = 1e6


@dataclass(frozen=True, slots=True)
class Weights:
    """What each term of the cost counts for; see docs/scheduling.md."""

    fragments: float = 1.0
    """Each GPU that the mix of tasks cannot use any more, where a mix is known."""
    fit: float = 1.0
    """Each GPU left over on the node, where no mix is known."""
    part: float = 0.1
    """For a share of a GPU: each thousandth that it leaves free of it, as GPUs left over."""
    warmth: float = 0.05
    """Each step by which its free GPUs would be too warm at full power."""
    stranding: float = 0.04
    """The whole budget of the tightest row above being used up."""
    watts: float = 0.0
    """Each kilowatt that the node must keep more; it draws work to GPUs of few watts."""
    cpus: float = 1e-6
    """Each CPU that is taken already."""
    locality: float = 0.5
    """For a gang: a rack that cannot take what is left of it, and one that has none of it yet."""
    spread: float = 8.0
    """For a service: each other replica in the rack, and each on the node. More than packing can
    gain on a node of eight: replicas are apart wherever they can be."""


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
        return weights.fit * _left(columns, ask, at, weights)
    return weights.fragments / WHOLE_MILLI * growth_milli(columns, ask, prices, at)


def _left(columns: Columns, ask: Ask, at: At, weights: Weights) -> Floats:
    if ask.milli == WHOLE_MILLI:
        whole: Floats = columns.whole[at] - np.float64(ask.gpus)
        return whole
    part = part_left(columns, ask, at)
    is_untouched = part == WHOLE_MILLI - ask.milli
    left: Floats = columns.whole[at] - is_untouched + weights.part * part
    return left


def chosen_slots(columns: Columns, ask: Ask, at: int, prices: Prices | None = None) -> list[int]:
    """The GPUs that a task gets on a node: as `slots_for`, but a share where it costs least."""
    if prices is None or ask.milli == WHOLE_MILLI:
        return slots_for(columns, ask, at)
    return [best_slot(columns, ask, prices, at)]


def group_cost(columns: Columns, ask: Ask, weights: Weights = DEFAULT_WEIGHTS) -> Floats:
    """[group] the part of the cost that lies in the rows above: where most is left, is best."""
    cost: Floats = -weights.stranding * share_left(columns, ask.about_mw)
    return cost


def costs(
    columns: Columns, ask: Ask, priority: int = 0, weights: Weights = DEFAULT_WEIGHTS
) -> Floats:
    """[node] cost of the task on every node; infinite where it does not fit now.

    The node to take is the first with the least (`argmin`).
    """
    most = most_mw(columns, room_for(columns, priority))[columns.group]
    can = fits(columns, ask) & (needed_mw(columns, ask) <= most)
    cost = node_cost(columns, ask, ALL, weights) + group_cost(columns, ask, weights)[columns.group]
    return np.where(can, cost, np.inf)
