"""Free GPUs that the mix of tasks cannot use, and how a placement adds to them.

The measure is that of FGD (Weng et al., "Beware of Fragmentation", USENIX ATC 2023): of a node's
free thousandths of GPUs, how many a task drawn from the mix could not use there, be it for too few
CPUs, GPUs of the wrong class, too few GPUs, or too little left of one. Where it grows least, a task
does least harm to the *next* one. It does not see harm further ahead: the CPUs of GPUs that are
still free, models that few nodes have, whole nodes. So each task of the mix also has a *price*:
what one place for it less in the whole fleet costs, which is nothing where there are places
enough, and the GPUs of such a task where they run out. What a placement costs is

    growth of fragments + Σ over the mix of price x places lost,    in thousandths of GPUs.

A MIG device counts as its compute slices are of those of its GPU.

Prices are quadratic in scarcity: the share of the fleet's places that the mix needs until the fleet
is full. Of two places, the one that is scarcer costs more than in proportion.
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
"""Part of all tasks that the typical ones are; as in the paper."""

WHOLE_NODE_FREQUENCY = 0.0002
"""How often a task is expected that takes all of a node, for each kind of node: rare enough not to
show beside what is asked for, but the first to be seen where nothing else tells nodes apart."""

WHOLE_NODE_CPUS_PERCENT = 90
"""Such a task leaves some CPUs."""

MAX_NODE_KINDS = 16
"""Kinds of nodes for which one is expected: the most frequent ones."""

STALE = 1 / 20
"""Part of the fleet's GPUs that is taken or given back before prices are made anew."""

NANO_PER_MILLI = 1_000_000

NEVER = 2**30
"""Thousandths of a GPU of the wrong class that a task would need."""


@dataclass(frozen=True, slots=True, eq=False)
class Mix:
    """Typical tasks with GPUs, one entry each. Those without GPUs only make the others rarer."""

    frequency: Floats
    """[task] among all tasks that are asked for; adds up to at most 1, and about that."""
    gpus: Ints
    cpus: Ints
    kind: Ints
    """[task] its kind: tasks that ask the same of each GPU are of one."""
    milli: Ints
    """[task] thousandths of a GPU that each of its GPUs, or its MIG device, counts as."""
    kind_count: int
    table: Ints32
    """[class, free thousandths, 3 x kind + 1] of a GPU of that class with so much free: for each
    kind whether it is large enough, then how many tasks it takes, then how much of it is of use;
    last how much is free."""

    @property
    def size_milli(self) -> Ints:
        """[task] thousandths of GPUs in all."""
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
    """Tasks as columns; at least one, be it without GPUs.

    `sizes_milli`: [class] thousandths of a GPU that one counts as; None = there are no MIG devices.
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
    """Thousandths of a GPU that each GPU of the task counts as, or its part or MIG device.

    Of MIG devices the largest that suits: GPUs of other makes may have more slices.
    """
    size = int(sizes_milli.max(where=ask.is_suited, initial=0)) or WHOLE_MILLI
    return ask.milli * size // WHOLE_MILLI


def _table(needed_milli: Ints, sizes_milli: Ints) -> Ints32:
    """From [class, kind] what must be free of a GPU."""
    free = np.arange(WHOLE_MILLI + 1)[:, np.newaxis]
    takes = free // needed_milli[:, np.newaxis, :]
    is_large = takes > 0
    counts_milli = free * sizes_milli[:, np.newaxis, np.newaxis] // WHOLE_MILLI
    of_use = counts_milli * is_large
    return np.concatenate([is_large, takes, of_use, counts_milli], axis=2, dtype=np.int32)


def whole_nodes(sizes: Iterable[tuple[int, int]], is_suited: Bools) -> list[tuple[Ask, float]]:
    """A task that takes all of a node, for each kind of node. `sizes`: GPUs and CPUs of each.

    `is_suited`: [class] GPUs, and no MIG devices.
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
    """What some nodes have left; the nodes need not be of the fleet as it is."""

    free_milli: Ints32
    """[node, slot]"""
    gpu_class: Ints32
    """[node, slot]"""
    cpus: Ints


def left_on(columns: Columns, at: At = ALL) -> Left:
    """What the nodes have now. A closed node has what it has: it opens again."""
    return Left(columns.free_milli[at], columns.gpu_class[at], columns.cpus_free[at])


def use(left: Left, mix: Mix) -> tuple[Floats, Floats]:
    """[node] thousandths of GPUs that the mix can use, and [node, task] places for each task."""
    return use_with_cpus(by_kind(left.free_milli, left.gpu_class, mix), left.cpus, mix)


def by_kind(free_milli: Ints32, gpu_class: Ints32, mix: Mix) -> Ints32:
    """[node, 3 x kind + 1] sums over the GPUs of a node of what `Mix.table` says of each."""
    total: Ints32 = np.add.reduce(mix.table[gpu_class, free_milli], axis=1, dtype=np.int32)
    return total


def use_with_cpus(kinds: Ints32, cpus: Ints, mix: Mix) -> tuple[Floats, Floats]:
    """`use` of nodes with such GPUs; a single row of `kinds` stands for one node with all `cpus`.

    A place that lacks CPUs counts in part where tasks are of one GPU: another one may leave them.
    """
    large = kinds.take(mix.kind, axis=1)
    takes = kinds.take(mix.kind_count + mix.kind, axis=1)
    large_milli = kinds.take(2 * mix.kind_count + mix.kind, axis=1)
    by_cpus = cpus[:, np.newaxis] / mix.cpus
    fits = (large >= mix.gpus) & (by_cpus >= 1.0)
    places = np.minimum(takes, by_cpus)
    several = np.flatnonzero(mix.gpus > 1)
    gpus = mix.gpus[several]
    places[:, several] = np.minimum(takes[:, several] // gpus, np.floor(by_cpus[:, several]))
    return (large_milli * fits) @ mix.frequency, places


@dataclass(frozen=True, slots=True, eq=False)
class Prices:
    """The mix, and what a place for each of its tasks is worth in the fleet as it was."""

    mix: Mix
    milli: Floats
    """[task] in thousandths of GPUs; 0 = not counted."""
    free_milli: int
    """Of the whole fleet, when they were made."""

    def are_stale(self, columns: Columns) -> bool:
        """So much was taken or given back that they should be made anew."""
        total_milli = int(columns.gpus_milli().sum())
        changed_milli = abs(columns.free_gpus_milli() - self.free_milli)
        return changed_milli > STALE * total_milli


def no_prices(mix: Mix) -> Prices:
    """Only the growth of fragments counts, as in FGD."""
    return Prices(mix, np.zeros(len(mix.gpus)), 0)


def prices(columns: Columns, mix: Mix) -> Prices:
    """What a place for each task of the mix is worth in the fleet as it is."""
    places = use(left_on(columns), mix)[1].sum(axis=0)
    free_milli = columns.free_gpus_milli()
    mean_milli = float(mix.frequency @ mix.size_milli)
    to_come = mix.frequency * (free_milli / max(1.0, mean_milli))
    scarcity = np.minimum(1.0, to_come / (places + 1.0))
    return Prices(mix, mix.size_milli * scarcity**2, free_milli)


class Growth(NamedTuple):
    """What a task costs on some nodes."""

    milli: Floats
    """[node] in thousandths of GPUs; infinite where no GPUs suit it."""
    slot: Ints | None
    """[node] the GPU that a share is taken of; None where whole ones are asked for."""


def growth(columns: Columns, ask: Ask, of: Prices, at: At = ALL) -> Growth:
    """What a task costs on nodes; CPUs are not asked for.

    A share of a GPU is taken where it costs least on the node, of equals of the first.
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
    """Thousandths of GPUs by which fragments and prices grow where so much worth is lost."""
    milli: Floats = lost_nano / NANO_PER_MILLI
    return milli


def _worth_nano(left: Left, of: Prices) -> Ints:
    return worth_nano(by_kind(left.free_milli, left.gpu_class, of.mix), left.cpus, of)


def worth_nano(kinds: Ints32, cpus: Ints, of: Prices) -> Ints:
    """[node] places for the mix by price, less what it cannot use, in billionths of a GPU.

    Whole numbers: what is equal but for the order in which it was added up shall be equal. For the
    arguments see `use_with_cpus`.
    """
    usable_milli, places = use_with_cpus(kinds, cpus, of.mix)
    worth = np.rint((usable_milli + places @ of.milli) * NANO_PER_MILLI)
    free_milli = kinds[:, -1].astype(np.int64)
    return worth.astype(np.int64) - free_milli * NANO_PER_MILLI


def _ways(columns: Columns, ask: Ask, at: Ints) -> tuple[Ints, Ints, Left]:
    """Ways to put a task on nodes: position in `at`, slot (-1 = no share), what is left then."""
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
    """[node, slot] an earlier GPU of the node is of the same class, with as much left."""
    is_alike = (left.free_milli[:, :, np.newaxis] == left.free_milli[:, np.newaxis, :]) & (
        left.gpu_class[:, :, np.newaxis] == left.gpu_class[:, np.newaxis, :]
    )
    slots = left.free_milli.shape[1]
    is_earlier = np.arange(slots) < np.arange(slots)[:, np.newaxis]
    found: Bools = (is_alike & is_earlier).any(axis=2)
    return found
