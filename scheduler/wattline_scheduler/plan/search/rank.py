"""Ranking of feasible nodes: least loss for the mix, cool air, then the most remaining watts.

The loss for the mix is computed by `fragmentation`. While no mix is known, GPUs are packed by best
fit, and a share first goes to the best-fitting free part on any node. Ties go to the node whose
GPUs would stay coolest at full power, if any would get warm at all; then to the node whose tightest
domain, in either tree, retains the largest share of its budget: a lease can rise highest there.
"""

import numpy as np

from wattline_protocol.site.model import Weights
from wattline_scheduler.plan.mix.fragmentation import Growth, Prices, growth
from wattline_scheduler.plan.model.columns import WHOLE_MILLI, Columns
from wattline_scheduler.plan.model.headroom import Headroom
from wattline_scheduler.plan.model.snapshot import DEFAULT_WEIGHTS
from wattline_scheduler.plan.model.task_request import (
    ALL,
    Ask,
    At,
    fits,
    leanest_slot,
    needed_mw,
    part_left,
    slots_for,
)
from wattline_scheduler.power.topology.matrix import Floats

MILLIWATTS_PER_KW = 1e6


def node_cost(
    columns: Columns,
    ask: Ask,
    at: At = ALL,
    weights: Weights = DEFAULT_WEIGHTS,
    grown: Growth | None = None,
) -> Floats:
    """[node] the cost terms of the node itself; the lowest is best.

    `grown`: the loss for the task mix; None = unknown, GPUs are packed by best fit.
    """
    cost = _packing(columns, ask, at, weights, grown)
    cost += weights.warmth * columns.warmth[at]
    cost -= weights.cpus * columns.cpus_free[at]
    if weights.watts:
        slot = grown.slot if grown is not None else None
        cost += weights.watts / MILLIWATTS_PER_KW * needed_mw(columns, ask, at, slot)
    return cost


def _packing(columns: Columns, ask: Ask, at: At, weights: Weights, grown: Growth | None) -> Floats:
    if grown is None:
        return weights.fit * _left(columns, ask, at, weights)
    return weights.fragments / WHOLE_MILLI * grown.milli


def _left(columns: Columns, ask: Ask, at: At, weights: Weights) -> Floats:
    if not ask.is_share:
        whole: Floats = columns.whole[at] - np.float64(ask.gpus)
        return whole
    part = part_left(columns, ask, at)
    is_untouched = part == WHOLE_MILLI - ask.milli
    left: Floats = columns.whole[at] - is_untouched + weights.part * part
    return left


def chosen_slots(columns: Columns, ask: Ask, at: int, prices: Prices | None = None) -> list[int]:
    """The GPUs that a task gets on a node: as `slots_for`, but a share where it costs least."""
    if prices is None or not ask.is_share:
        return slots_for(columns, ask, at)
    slot = growth(columns, ask, prices, np.array([at])).slot
    return [] if slot is None else slot.tolist()


def rows_cost(headroom: Headroom, ask: Ask, at: At, weights: Weights = DEFAULT_WEIGHTS) -> Floats:
    """[node] the cost terms of the rows above: most headroom is best."""
    cost: Floats = -weights.stranding * headroom.share_left(ask.about_mw, at)
    return cost


def costs(
    columns: Columns,
    ask: Ask,
    priority: int = 0,
    weights: Weights = DEFAULT_WEIGHTS,
    prices: Prices | None = None,
) -> Floats:
    """[node] cost of the task on every node; infinite where it does not fit now.

    The best node is the first with the lowest cost (`argmin`).
    """
    grown = growth(columns, ask, prices) if prices is not None else None
    slot = leanest_slot(columns, ask) if ask.is_share else None
    headroom = Headroom(columns)
    most = headroom.most_mw(priority, ALL)
    can = fits(columns, ask) & (needed_mw(columns, ask, ALL, slot) <= most)
    cost = node_cost(columns, ask, ALL, weights, grown) + rows_cost(headroom, ask, ALL, weights)
    return np.where(can, cost, np.inf)
