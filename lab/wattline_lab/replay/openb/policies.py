"""Published policies as scores over nodes, as their plug-ins compute them, and ours.

A score is a whole number from 0 to 100, as in Kubernetes, and the highest wins; only ours is not
rounded. Sources: Weng et al., USENIX ATC 2023, and the plug-ins of its simulator (Apache-2.0).
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from msgspec import structs

from wattline_lab.replay.openb.fleet import Fleet, Task, Workload
from wattline_lab.replay.openb.power import Watts
from wattline_protocol.site.model import Weights
from wattline_scheduler.plan.mix.fragmentation import Mix, growth, no_prices
from wattline_scheduler.plan.mix.task_mix import Pricing
from wattline_scheduler.plan.model.columns import WHOLE_MILLI
from wattline_scheduler.plan.model.snapshot import DEFAULT_WEIGHTS
from wattline_scheduler.plan.model.task_request import free_slots, slots_for
from wattline_scheduler.plan.search.rank import chosen_slots, node_cost
from wattline_scheduler.power.topology.matrix import Floats, Ints

MOST_CPU_MILLI, MOST_GPU_MILLI = 128_000, 8_000
"""The largest node, by which the plug-ins normalise."""

FULL = 100

WEIGHTS = structs.replace(DEFAULT_WEIGHTS, cpus=DEFAULT_WEIGHTS.cpus / 1000)
"""Those of the scheduler, of thousandths of CPUs."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How nodes are told apart, and GPUs of a node."""

    score: Callable[[Fleet, Task, Ints], Floats]
    """[term, node] for nodes at the given positions; each fits."""
    slots: Callable[[Fleet, Task, int], list[int]]
    """Which GPUs of the chosen node a pod gets."""
    choose: Callable[[Floats], int] | None = None
    """From the terms on all nodes, minus infinity where it does not fit; otherwise the best of
    their sum, and of equal ones the first."""
    are_stale: Callable[[Fleet], bool] | None = None
    """Scores of nodes that did not change are to be made anew."""


def best_of(terms: Floats) -> int:
    """Where the sum of the terms is highest."""
    return int(np.argmax(terms.sum(axis=0)))


def smallest(fleet: Fleet, task: Task, at: int) -> list[int]:
    """The GPU with the least left that suffices; whole ones by index."""
    return slots_for(fleet.columns, task.ask, at)


def bestfit() -> Policy:
    """The node with the least left of CPUs and GPUs."""

    def score(fleet: Fleet, task: Task, at: Ints) -> Floats:
        cpu = (fleet.columns.cpus_free[at] - task.ask.cpus) / MOST_CPU_MILLI
        gpu = (_free_milli(fleet, at) - task.size_milli) / MOST_GPU_MILLI
        return _whole(FULL * (1 - (0.5 * cpu + 0.5 * gpu)))

    return Policy(score, smallest)


def dotprod() -> Policy:
    """The node where what is free and what is asked point least into the same direction."""

    def score(fleet: Fleet, task: Task, at: Ints) -> Floats:
        cpu = fleet.columns.cpus_free[at] / MOST_CPU_MILLI * (task.ask.cpus / MOST_CPU_MILLI)
        gpu = _free_milli(fleet, at) / MOST_GPU_MILLI * (task.size_milli / MOST_GPU_MILLI)
        return _whole(FULL * (1 - (cpu + gpu) / 2))

    return Policy(score, smallest)


def clustering() -> Policy:
    """Pods that ask for the same number of GPUs together (Gandiva, OSDI 2018)."""

    def score(fleet: Fleet, task: Task, at: Ints) -> Floats:
        if not task.ask.gpus:
            return np.zeros((1, len(at)))
        tags = fleet.has_tag[at]
        count, is_there = tags.sum(axis=1), tags[:, task.tag]
        step = np.where(is_there, np.where(count == 1, 3, 2), np.where(count == 0, 1, 0))
        used = FULL // 4 * (MOST_GPU_MILLI - _free_milli(fleet, at)) // MOST_GPU_MILLI
        return _whole(used + FULL * step // 4)

    return Policy(score, smallest)


def packing() -> Policy:
    """GPUs that are shared already, then free ones of used nodes, then idle nodes (HiveD)."""

    def score(fleet: Fleet, task: Task, at: Ints) -> Floats:
        if not task.ask.gpus:
            return np.zeros((1, len(at)))
        whole, gpus = fleet.columns.whole[at], fleet.gpus[at]
        on_idle = np.maximum(FULL // 3 - whole, whole)
        free = np.sort(np.where(free_slots(fleet.columns, task.ask, at), _free(fleet, at), 2**20))
        taken = free[:, : task.ask.gpus]
        untouched = (taken == WHOLE_MILLI).sum(axis=1)
        on_used = np.maximum(FULL // 2 - untouched, FULL // 3)
        left = (taken * FULL // WHOLE_MILLI).sum(axis=1)
        on_shared = np.maximum(FULL - left // 10, FULL // 2)
        used = np.where(untouched > 0, on_used, on_shared)
        return _whole(np.where(whole == gpus, on_idle, used))

    return Policy(score, smallest)


def anywhere(dice: random.Random) -> Policy:
    """A node and a GPU by chance."""

    def score(fleet: Fleet, task: Task, at: Ints) -> Floats:
        del fleet, task
        return np.zeros((1, len(at)))

    def slots(fleet: Fleet, task: Task, at: int) -> list[int]:
        if not task.is_share:
            return smallest(fleet, task, at)
        one = np.array([at])
        return [dice.choice(np.flatnonzero(free_slots(fleet.columns, task.ask, one)[0]).tolist())]

    def choose(terms: Floats) -> int:
        return int(dice.choice(np.flatnonzero(np.isfinite(terms[0])).tolist()))

    return Policy(score, slots, choose)


def fgd(workload: Workload) -> Policy:
    """Where fragments grow least (fragmentation gradient descent)."""
    plain = no_prices(workload.mix)

    def score(fleet: Fleet, task: Task, at: Ints) -> Floats:
        grown = growth(fleet.columns, task.ask, plain, at)
        return _whole(FULL / (1 + np.exp(grown.milli / WHOLE_MILLI)))

    def slots(fleet: Fleet, task: Task, at: int) -> list[int]:
        return chosen_slots(fleet.columns, task.ask, at, plain)

    return Policy(score, slots)


def pwr(workload: Workload, watts: Watts, power_weight: int, fragments_weight: int) -> Policy:
    """Where power rises least, or a weighted sum of that and `fgd`, which then chooses the GPU."""
    fragments = fgd(workload)

    def score(fleet: Fleet, task: Task, at: Ints) -> Floats:
        rise = np.trunc(-watts.rise_w(task, at))[np.newaxis]
        return np.vstack([rise, fragments.score(fleet, task, at)]) if fragments_weight else rise

    def slots(fleet: Fleet, task: Task, at: int) -> list[int]:
        if fragments_weight or not task.is_share:
            return fragments.slots(fleet, task, at)
        return [watts.least_slot(task, at)]

    def choose(terms: Floats) -> int:
        can = np.flatnonzero(np.isfinite(terms[0]))
        total = power_weight * _rescaled(terms[0, can])
        if fragments_weight:
            total = total + fragments_weight * terms[1, can]
        return int(can[np.argmax(total)])

    return Policy(score, slots, choose)


def _rescaled(score: Floats) -> Floats:
    """To whole numbers from 0 to 100; 100 where all are equal."""
    least, most = score.min(), score.max()
    if least == most:
        return np.full(len(score), float(FULL))
    scaled: Floats = np.trunc((score - least) * FULL / (most - least))
    return scaled


class _Wattline:
    """The scheduler's own rank, with prices as they were made last."""

    def __init__(self, mix: Mix, weights: Weights) -> None:
        self._mix = mix
        self._weights = weights
        self._pricing = Pricing()

    def are_stale(self, fleet: Fleet) -> bool:
        return self._pricing.renew(fleet.columns, self._mix)

    def score(self, fleet: Fleet, task: Task, at: Ints) -> Floats:
        of = self._pricing.prices
        grown = growth(fleet.columns, task.ask, of, at) if of is not None else None
        cost = node_cost(fleet.columns, task.ask, at, self._weights, grown)
        negative: Floats = -cost[np.newaxis]
        return negative

    def slots(self, fleet: Fleet, task: Task, at: int) -> list[int]:
        return chosen_slots(fleet.columns, task.ask, at, self._pricing.prices)


def wattline(workload: Workload, power_weight: int = 0) -> Policy:
    """What the scheduler does: `plan.rank` as it is, one task at a time.

    `power_weight`: thousandths of a GPU that a kilowatt is worth.
    """
    ours = _Wattline(workload.mix, structs.replace(WEIGHTS, watts=power_weight / 1000))
    return Policy(ours.score, ours.slots, are_stale=ours.are_stale)


def _free(fleet: Fleet, at: Ints) -> Ints:
    free: Ints = fleet.columns.free_milli[at].astype(np.int64)
    return free


def _free_milli(fleet: Fleet, at: Ints) -> Ints:
    total: Ints = _free(fleet, at).sum(axis=1)
    return total


def _whole(score: Floats | Ints) -> Floats:
    """A single term, cut to whole numbers."""
    term: Floats = np.trunc(score).astype(np.float64)[np.newaxis]
    return term
