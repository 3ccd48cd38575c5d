"""Division of a gang's watts among its own GPUs so that its slowest rank is as fast as possible.

A synchronous gang is as fast as its slowest rank. Watts of ranks that wait for it are of no use to
them. The time of a rank at another cap follows from its measured time and the fitted curve of its
job; from the slowest time that is reached with the watts there are, each GPU's cap follows. What
the curve does not know (the GPU's own silicon) is in the measured times, so repeating it converges.
Pure; vectorised over GPUs.
"""

from dataclasses import dataclass

import numpy as np

from wattline_protocol.site.wall_power import PERMILLE
from wattline_scheduler.power.demand.models import performance_at, share_for
from wattline_scheduler.power.topology.matrix import Floats, Ints

HALVINGS = 40
"""Of the interval in which the slowest time lies."""

LEAST_WEIGHT, MOST_WEIGHT = 500, 1_500
"""Permille. Programs report what they like: no rank is starved, and a gang whose demand moves from
light to heavy ranks takes no more than this from others of its priority."""


@dataclass(frozen=True, slots=True)
class GangGpus:
    """GPUs of one gang that count in one row. One entry per GPU, milliwatts with overshoot."""

    busy_s: Floats
    """Time of its rank in a step without waits for other ranks; that of one is above 0."""
    has_mw: Floats
    """Its part now, at least `least_mw`."""
    least_mw: Floats
    most_mw: Floats
    """Its demand, or less: watts beyond make it no faster."""
    demand_mw: Floats
    bend: Floats
    order: Floats
    steepness: Floats
    """Constants of its curve, above 0."""
    cost: Floats
    """Milliwatts in the row for each of its own."""


@dataclass(frozen=True, slots=True)
class Balance:
    """Another division of the same watts."""

    wanted_mw: Floats
    slowest_s: float
    """Time of the slowest rank with it."""


def balance(gpus: GangGpus) -> Balance:
    """The division with the least time of the slowest rank; in the row its sum is unchanged."""
    work_s = gpus.busy_s * _performance(gpus, gpus.has_mw)
    has_mw = float((gpus.cost * gpus.has_mw).sum())
    low_s, high_s = 0.0, float(gpus.busy_s.max())
    for _ in range(HALVINGS):
        middle_s = (low_s + high_s) / 2
        fits = float((gpus.cost * _caps_for(gpus, work_s / middle_s)).sum()) <= has_mw
        low_s, high_s = (low_s, middle_s) if fits else (middle_s, high_s)
    wanted_mw = _with_sum_of(gpus, _caps_for(gpus, work_s / high_s))
    return Balance(wanted_mw, float((work_s / _performance(gpus, wanted_mw)).max()))


def weights_for(wanted_mw: Floats, target_mw: Floats, level: float) -> Ints:
    """Weights with which GPUs have `wanted_mw` where an even share is `level` of their targets."""
    weights = np.rint(wanted_mw * PERMILLE / (level * target_mw))
    return np.clip(weights, LEAST_WEIGHT, MOST_WEIGHT).astype(np.int64)


def _with_sum_of(gpus: GangGpus, wanted_mw: Floats) -> Floats:
    """Give back evenly what no GPU takes: where the slowest rank is at its maximum."""
    change_mw = wanted_mw - gpus.has_mw
    given_mw = float((gpus.cost * np.maximum(change_mw, 0.0)).sum())
    taken_mw = float((gpus.cost * np.maximum(-change_mw, 0.0)).sum())
    part = min(1.0, given_mw / taken_mw) if taken_mw > 0.0 else 0.0
    down_mw = np.minimum(change_mw, 0.0) * part
    up = min(1.0, taken_mw / given_mw) if given_mw > 0.0 else 0.0
    return np.asarray(gpus.has_mw + down_mw + np.maximum(change_mw, 0.0) * up)


def _performance(gpus: GangGpus, cap_mw: Floats) -> Floats:
    fitted = performance_at(cap_mw / gpus.demand_mw, gpus.bend, gpus.order)
    return np.asarray(np.power(fitted, gpus.steepness))


def _caps_for(gpus: GangGpus, performance: Floats) -> Floats:
    """Least caps for it, within each GPU's bounds."""
    fitted = np.power(np.clip(performance, 0.0, 1.0), 1.0 / gpus.steepness)
    share = share_for(fitted, gpus.bend, gpus.order)
    return np.clip(gpus.demand_mw * share, gpus.least_mw, gpus.most_mw)
