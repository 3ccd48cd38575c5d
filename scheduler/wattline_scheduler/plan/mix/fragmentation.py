"""Fragmentation: free GPUs that the task mix cannot use, and the growth by a placement.

The measure is that of FGD (Weng et al., "Beware of Fragmentation", USENIX ATC 2023): of a node's
free thousandths of GPUs, the part that a task drawn from the mix could not use there, for lack of
CPUs, GPUs of the wrong class, too few GPUs, or too little left of one. Where it grows least, a task
does least harm to the *next* one. It ignores later harm: to the CPUs of GPUs that are still free,
to models that few nodes have, to whole nodes. So each task of the mix also has a *price*: the cost
of one place for it less in the whole fleet, which is zero where there are places enough, and the
GPUs of such a task where they run out. The cost of a placement is

    growth of fragments + Σ over the mix of price x places lost,    in thousandths of GPUs.

A MIG device counts by its fraction of the compute slices of its GPU.

Prices are quadratic in scarcity: the share of the fleet's places that the mix needs until the fleet
is full. Of two places, the scarcer one costs more than in proportion.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from wattline_scheduler.plan.model.columns import WHOLE_MILLI, Columns, Ints32
from wattline_scheduler.plan.model.task_request import ALL, Ask, At, free_slots
from wattline_scheduler.power.topology.matrix import Bools, Floats, Ints

COVERED = 0.95
"""Fraction of all tasks covered by the typical ones; as in the paper."""

WHOLE_NODE_FREQUENCY = 0.0002
"""Expected frequency of a task that takes a whole node, per kind of node: too rare to matter beside
requested tasks, but decisive where nothing else distinguishes nodes."""

WHOLE_NODE_CPUS_PERCENT = 90
"""Such a task leaves some CPUs."""

MAX_NODE_KINDS = 16
"""Maximum number of node kinds with such a task: the most frequent ones."""

STALE = 1 / 20
"""Fraction of the fleet's GPUs allocated or freed after which prices are recomputed."""

NANO_PER_MILLI = 1_000_000

NEVER = 2**30
"""Thousandths that a task would need of a GPU of the wrong class."""


@dataclass(frozen=True, slots=True, eq=False)
class Mix:
    """Typical tasks with GPUs, one entry each. Those without GPUs only lower the frequencies."""

    frequency: Floats
    """[task] frequency among all requested tasks; the sum is at most, and about, 1."""
    gpus: Ints
    cpus: Ints
    kind: Ints
    """[task] its kind: tasks with equal requests per GPU have the same kind."""
    milli: Ints
    """[task] thousandths of a GPU that each of its GPUs, or its MIG device, counts as."""
    kind_count: int
    table: Ints32
    """[class, free thousandths, 3 x kind + 1] of a GPU of that class with so much free: per kind
    whether it is large enough, the number of tasks it takes, and its usable part; last its free
    part."""

    @property
    def size_milli(self) -> Ints:
        """[task] total thousandths of GPUs."""
        sizes: Ints = self.gpus * self.milli
        return sizes


def typical(
    counts: Sequence[tuple[Ask, float]], covered: float = COVERED
) -> list[tuple[Ask, float]]:
    """The most frequent tasks that together are `covered` of all, with their frequencies.

    Of equal counts the earlier one.
    """
    ranked = sorted(counts, key=lambda one: -one[1])
    total, so_far, kept = sum(count for _, count in ranked), 0.0, 0
    while kept < len(ranked) and so_far < covered * total:
        so_far += ranked[kept][1]
        kept += 1
    return [(ask, count / so_far) for ask, count in ranked[:kept]]


def mix_of(frequencies: Sequence[tuple[Ask, float]], sizes_milli: Ints | None = None) -> Mix:
    """Tasks as columns; at least one, possibly without GPUs.

    `sizes_milli`: [class] thousandths of a GPU that one counts as; None = no MIG devices.
    """
    class_count = len(frequencies[0][0].is_suited)
    if sizes_milli is None:
        sizes_milli = np.full(class_count, WHOLE_MILLI)
    tasks = [(ask, often) for ask, often in frequencies if ask.gpus]
    kinds: dict[tuple[int, bytes], int] = {}
    needed: list[Ints] = []
    kind = []
    for ask, _ in tasks:
        key = (ask.milli, ask.is_suited.tobytes())
        if key not in kinds:
            kinds[key] = len(kinds)
            needed.append(np.where(ask.is_suited, ask.milli, NEVER))
        kind.append(kinds[key])
    return Mix(
        frequency=np.array([often for _, often in tasks], np.float64),
        gpus=_ints(ask.gpus for ask, _ in tasks),
        cpus=_ints(max(1, ask.cpus) for ask, _ in tasks),
        kind=_ints(kind),
        milli=_ints(each_milli(ask, sizes_milli) for ask, _ in tasks),
        kind_count=len(needed),
        table=_table(np.array(needed, np.int64).reshape(len(needed), class_count).T, sizes_milli),
    )


def each_milli(ask: Ask, sizes_milli: Ints) -> int:
    """Thousandths of a GPU that each GPU of the task, or its share or MIG device, counts as.

    For MIG devices the largest that suits: GPUs of other makes may have more slices.
    """
    size = int(sizes_milli.max(where=ask.is_suited, initial=0)) or WHOLE_MILLI
    return ask.milli * size // WHOLE_MILLI


def _table(needed_milli: Ints, sizes_milli: Ints) -> Ints32:
    """Build `Mix.table` from the required free thousandths [class, kind]."""
    free = np.arange(WHOLE_MILLI + 1)[:, np.newaxis]
    takes = free // needed_milli[:, np.newaxis, :]
    is_large = takes > 0
    counts_milli = free * sizes_milli[:, np.newaxis, np.newaxis] // WHOLE_MILLI
    of_use = counts_milli * is_large
    return np.concatenate([is_large, takes, of_use, counts_milli], axis=2, dtype=np.int32)


def whole_nodes(sizes: Iterable[tuple[int, int]], is_suited: Bools) -> list[tuple[Ask, float]]:
    """One task per kind of node that takes the whole node. `sizes`: GPUs and CPUs of each.

    `is_suited`: [class] GPUs, not MIG devices.
    """
    kinds = Counter((gpus, cpus) for gpus, cpus in sizes if gpus > 1)
    return [
        (
            Ask(
                gpus=gpus,
                milli=WHOLE_MILLI,
                cpus=cpus * WHOLE_NODE_CPUS_PERCENT // 100,
                memory_bytes=0,
                is_suited=is_suited,
                draw_mw=np.zeros(len(is_suited), np.int64),
            ),
            WHOLE_NODE_FREQUENCY,
        )
        for (gpus, cpus), _ in kinds.most_common(MAX_NODE_KINDS)
    ]


def _ints(values: Iterable[int]) -> Ints:
    return np.array(list(values), np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Left:
    """Free resources of some nodes, which may differ from the present fleet."""

    free_milli: Ints32
    """[node, slot]"""
    gpu_class: Ints32
    """[node, slot]"""
    cpus: Ints


def left_on(columns: Columns, at: At = ALL) -> Left:
    """The present free resources. A closed node counts too: it will open again."""
    return Left(columns.free_milli[at], columns.gpu_class[at], columns.cpus_free[at])


def use(left: Left, mix: Mix) -> tuple[Floats, Floats]:
    """[node] thousandths of GPUs usable by the mix, and [node, task] places for each task."""
    return use_with_cpus(by_kind(left.free_milli, left.gpu_class, mix), left.cpus, mix)


def by_kind(free_milli: Ints32, gpu_class: Ints32, mix: Mix) -> Ints32:
    """[node, 3 x kind + 1] sums of the `Mix.table` entries over the GPUs of a node."""
    total: Ints32 = np.add.reduce(mix.table[gpu_class, free_milli], axis=1, dtype=np.int32)
    return total


def use_with_cpus(kinds: Ints32, cpus: Ints, mix: Mix) -> tuple[Floats, Floats]:
    """`use` of nodes with such GPUs; a single row of `kinds` stands for one node with all `cpus`.

    A place that lacks CPUs counts in part for one-GPU tasks: another task may leave them. Fewer
    than 0, where more are promised than free, count as 0.
    """
    large = kinds.take(mix.kind, axis=1)
    takes = kinds.take(mix.kind_count + mix.kind, axis=1)
    large_milli = kinds.take(2 * mix.kind_count + mix.kind, axis=1)
    by_cpus = np.maximum(cpus, 0)[:, np.newaxis] / mix.cpus
    fits = (large >= mix.gpus) & (by_cpus >= 1.0)
    places = np.minimum(takes, by_cpus)
    several = np.flatnonzero(mix.gpus > 1)
    gpus = mix.gpus[several]
    places[:, several] = np.minimum(takes[:, several] // gpus, np.floor(by_cpus[:, several]))
    return (large_milli * fits) @ mix.frequency, places


@dataclass(frozen=True, slots=True, eq=False)
class Prices:
    """The mix, and the price of a place for each of its tasks in the fleet at that time."""

    mix: Mix
    milli: Floats
    """[task] in thousandths of GPUs; 0 = not counted."""
    free_milli: int
    """Of the whole fleet, when the prices were computed."""

    def are_stale(self, columns: Columns) -> bool:
        """Whether enough was allocated or freed to recompute them."""
        total_milli = int(columns.gpus_milli().sum())
        changed_milli = abs(columns.free_gpus_milli() - self.free_milli)
        return changed_milli > STALE * total_milli


def no_prices(mix: Mix) -> Prices:
    """Zero prices: only the growth of fragments counts, as in FGD."""
    return Prices(mix, np.zeros(len(mix.gpus)), 0)


def prices(columns: Columns, mix: Mix) -> Prices:
    """Price of a place for each task of the mix in the present fleet."""
    places = use(left_on(columns), mix)[1].sum(axis=0)
    free_milli = columns.free_gpus_milli()
    mean_milli = float(mix.frequency @ mix.size_milli)
    to_come = mix.frequency * (free_milli / max(1.0, mean_milli))
    scarcity = np.minimum(1.0, to_come / (places + 1.0))
    return Prices(mix, mix.size_milli * scarcity**2, free_milli)


class Growth(NamedTuple):
    """Cost of a task on some nodes."""

    milli: Floats
    """[node] in thousandths of GPUs; infinite where no GPUs suit it."""
    slot: Ints | None
    """[node] the GPU from which a share is taken; None for whole GPUs."""


def growth(columns: Columns, ask: Ask, of: Prices, at: At = ALL) -> Growth:
    """Cost of a task on nodes; CPUs are not checked.

    A share of a GPU is taken where it costs least on the node; ties go to the first.
    """
    positions = np.arange(columns.node_count)[at]
    node, slot, after = _ways(columns, ask, positions)
    lost_nano = _worth_nano(left_on(columns, positions), of)[node] - _worth_nano(after, of)
    least = np.full(len(positions), np.inf)
    np.minimum.at(least, node, growth_of(lost_nano))
    if not ask.is_share:
        return Growth(least, None)
    best = np.flatnonzero(growth_of(lost_nano) == least[node])[::-1]
    taken = np.zeros(len(positions), np.int64)
    taken[node[best]] = slot[best]
    return Growth(least, taken)


def growth_of(lost_nano: Ints) -> Floats:
    """Growth of fragments and prices, in thousandths of GPUs, for this loss of worth."""
    milli: Floats = lost_nano / NANO_PER_MILLI
    return milli


def _worth_nano(left: Left, of: Prices) -> Ints:
    return worth_nano(by_kind(left.free_milli, left.gpu_class, of.mix), left.cpus, of)


def worth_nano(kinds: Ints32, cpus: Ints, of: Prices) -> Ints:
    """[node] places for the mix by price, less the unusable part, in billionths of a GPU.

    Whole numbers: results must not depend on the order of summation. For the arguments see
    `use_with_cpus`.
    """
    usable_milli, places = use_with_cpus(kinds, cpus, of.mix)
    worth = np.rint((usable_milli + places @ of.milli) * NANO_PER_MILLI)
    free_milli = kinds[:, -1].astype(np.int64)
    return worth.astype(np.int64) - free_milli * NANO_PER_MILLI


def _ways(columns: Columns, ask: Ask, at: Ints) -> tuple[Ints, Ints, Left]:
    """Ways to place a task: position in `at`, slot (-1 = no share), and what is left."""
    free = free_slots(columns, ask, at)
    before = left_on(columns, at)
    if ask.is_share:
        node, slot = np.nonzero(free & ~_like_earlier(before))
        free_milli = before.free_milli[node]
        free_milli[np.arange(len(node)), slot] -= ask.milli
    else:
        taken = free & (np.cumsum(free, axis=1) <= ask.gpus)
        node = np.flatnonzero(taken.sum(axis=1) == ask.gpus)
        slot = np.full(len(node), -1)
        free_milli = (before.free_milli - ask.milli * taken)[node]
    left = Left(free_milli.astype(np.int32), before.gpu_class[node], before.cpus[node] - ask.cpus)
    return node, slot, left


def _like_earlier(left: Left) -> Bools:
    """[node, slot] an earlier GPU of the node has the same class and as much left."""
    is_alike = (left.free_milli[:, :, np.newaxis] == left.free_milli[:, np.newaxis, :]) & (
        left.gpu_class[:, :, np.newaxis] == left.gpu_class[:, np.newaxis, :]
    )
    slots = left.free_milli.shape[1]
    is_earlier = np.arange(slots) < np.arange(slots)[:, np.newaxis]
    found: Bools = (is_alike & is_earlier).any(axis=2)
    return found
