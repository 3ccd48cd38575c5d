"""One task's request in the numbers of the columns, and the nodes that can satisfy it.

All functions take `at`: positions of nodes, as an array, or `ALL`. They check nodes only; headroom
of the rows above is checked by `headroom`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from wattline_protocol.site.labels import Labels
from wattline_protocol.site.wall_power import PERMILLE
from wattline_protocol.wire.agent_messages import GpuInfo
from wattline_scheduler.plan.model.columns import (
    ENDLESS_MW,
    NO_CLASS,
    WHOLE_MILLI,
    Columns,
    GpuClasses,
    Ints32,
)
from wattline_scheduler.plan.model.device_classes import profile_of
from wattline_scheduler.plan.model.node_fit import Amount, Truth, fits_each
from wattline_scheduler.plan.model.shape import Shape
from wattline_scheduler.power.demand.node_load import gpu_admission_mw
from wattline_scheduler.power.topology.matrix import Bools, Ints

At = Ints | slice
ALL = slice(None)


@dataclass(frozen=True, slots=True)
class Ask:
    """One task of a shape. `is_suited` and `draw_mw` have an entry per class of GPUs."""

    gpus: int
    milli: int
    """Thousandths of each of them; less than 1000 only for a single one."""
    cpus: int
    memory_bytes: int
    is_suited: Bools
    """[class] of a requested type, with enough memory. False for `NO_CLASS`."""
    draw_mw: Ints
    """[class] watts required for such a GPU before a task is placed on it."""
    labels: Labels = frozenset()
    is_mig: bool = False
    """A MIG device: the draw of others on its GPU already counts."""

    draws_mw: tuple[int, ...] = field(init=False)
    """`draw_mw` as a tuple, for scalar access."""
    task_mw: Ints = field(init=False)
    """[class] watts required for all of them."""
    about_mw: int = field(init=False)
    """Maximum watts required for the task."""
    suited: tuple[bool, ...] = field(init=False)
    """[class] `is_suited` as a tuple, for scalar access."""
    suits_all: bool = field(init=False)
    """Whether any GPUs suit."""

    @property
    def is_share(self) -> bool:
        """Whether it requests a share of one GPU."""
        return self.milli < WHOLE_MILLI

    @property
    def is_part(self) -> bool:
        """Whether others may use the rest of its GPU."""
        return self.is_share or self.is_mig

    def __post_init__(self) -> None:
        most_mw = int(self.draw_mw.max(where=self.is_suited, initial=0))
        object.__setattr__(self, "draws_mw", tuple(self.draw_mw.tolist()))
        object.__setattr__(self, "task_mw", self.gpus * self.draw_mw)
        object.__setattr__(self, "about_mw", self.gpus * most_mw)
        object.__setattr__(self, "suited", tuple(self.is_suited.tolist()))
        object.__setattr__(self, "suits_all", all(self.suited[NO_CLASS + 1 :]))


def ask_of(shape: Shape, classes: GpuClasses) -> Ask:
    """The shape in the numbers of these classes; recompute it when classes are added."""
    examples = classes.examples[1:]
    suited = [False, *(suits(gpu, shape) for gpu in examples if gpu is not None)]
    draw = [0, *(gpu_admission_mw(gpu, shape.need) for gpu in examples if gpu is not None)]
    return Ask(
        gpus=shape.gpus,
        milli=shape.gpu_milli,
        cpus=shape.cpus,
        memory_bytes=shape.memory_bytes,
        is_suited=np.array(suited, np.bool_),
        draw_mw=np.array(draw, np.int64),
        labels=shape.labels,
        is_mig=bool(shape.mig),
    )


def suits(gpu: GpuInfo, shape: Shape) -> bool:
    """Whether the GPU has a requested type and enough memory, and can be shared if required."""
    given_bytes = gpu.memory_bytes * shape.gpu_milli // WHOLE_MILLI
    is_free_to = gpu.can_share or shape.gpu_milli == WHOLE_MILLI
    return is_free_to and given_bytes >= shape.gpu_memory_min_bytes and is_of_type(gpu, shape)


def is_of_type(gpu: GpuInfo, shape: Shape) -> bool:
    """Whether it is a GPU or MIG device as requested, with one of the requested words in its name.

    Whole words: an A100 is not an A10.
    """
    if profile_of(gpu) != shape.mig:
        return False
    return not shape.gpu_type or is_called(gpu, shape.gpu_type)


def is_called(gpu: GpuInfo, words: Iterable[str]) -> bool:
    """Whether its name contains one of the lower-case words."""
    name = gpu.name.lower()
    return any(re.search(rf"(?<![a-z0-9]){re.escape(word)}(?![a-z0-9])", name) for word in words)


def free_slots(columns: Columns, ask: Ask, at: At = ALL) -> Bools:
    """[node, slot] GPUs that the task may use now."""
    is_free: Bools = columns.free_milli[at] >= ask.milli
    return is_free & ask.is_suited[columns.gpu_class[at]]


def free_gpus(columns: Columns, ask: Ask, at: At = ALL) -> Amount:
    """[node] number of free GPUs that suit; for a share, 1 if there is any."""
    if ask.is_share:
        has_any: Ints = np.logical_or.reduce(free_slots(columns, ask, at), axis=1)
        return has_any
    whole = columns.whole[at]
    if ask.gpus == 0 or ask.suits_all:
        return whole
    one_class = columns.one_class[at]
    suited: Ints32 = whole * ask.is_suited[one_class]
    if columns.has_mixed:
        mixed = np.flatnonzero((whole >= ask.gpus) & (one_class == NO_CLASS))
        where = mixed if isinstance(at, slice) else at[mixed]
        suited[mixed] = free_slots(columns, ask, where).sum(axis=1)
    return suited


class FreeOn(NamedTuple):
    """What the nodes at `at` have free for such a task now; `Free` as arrays."""

    columns: Columns
    ask: Ask
    at: At = ALL

    @property
    def is_open(self) -> Truth:
        return self.columns.is_open[self.at]

    @property
    def has_labels(self) -> Truth:
        labels = self.ask.labels
        return not labels or has_labels(self.columns, labels, self.at)

    @property
    def gpus(self) -> Amount:
        return free_gpus(self.columns, self.ask, self.at)

    @property
    def cpus(self) -> Amount:
        return self.columns.cpus_free[self.at]

    @property
    def memory_bytes(self) -> Amount:
        return self.columns.memory_free_bytes[self.at]


def has_labels(columns: Columns, labels: Labels, at: At = ALL) -> Bools:
    """[node] has all of the labels."""
    has_all: Bools = are_labelled(columns, labels)[columns.label_set[at]]
    return has_all


def are_labelled(columns: Columns, labels: Labels) -> Bools:
    """[label set] has all of the labels."""
    return np.array([labels <= there for there in columns.label_sets], np.bool_)


def fits(columns: Columns, ask: Ask, at: At = ALL) -> Bools:
    """[node] fits the task now, checking the node only."""
    return np.asarray(fits_each(FreeOn(columns, ask, at), ask), np.bool_)


def fitting(columns: Columns, ask: Ask, among: Bools) -> Ints:
    """Positions of the nodes in `among` for which `fits` is true.

    Few nodes have enough whole GPUs, so that is checked first, and the rest for these only.
    """
    able = among & columns.is_open
    if not ask.is_share:
        able &= columns.whole >= ask.gpus
    at = able.nonzero()[0]
    return at[fits(columns, ask, at)] if len(at) else at


def rise_mw(columns: Columns, ask: Ask, at: At = ALL, slot: Ints | None = None) -> Ints:
    """[node] load that the task adds before the power supplies; for nodes that it fits on.

    A task on a share of a GPU, or on one of its MIG devices, adds its excess over what the GPU
    counts for its holders. `slot`: [node] the GPU from which a share is taken; None = best fit.
    """
    if ask.is_share:
        slot = fullest_slot(columns, ask, at) if slot is None else slot
        rise_of = _each_rise_mw(columns, ask, at)
        share_rise: Ints = np.take_along_axis(rise_of, slot[:, np.newaxis], axis=1)[:, 0]
        return share_rise
    if ask.is_mig:
        return _slots_rise_mw(columns, ask, at)
    idle_mw = columns.first_idle_mw[min(ask.gpus, columns.slot_count)][at]
    one_class = columns.one_class[at]
    rise: Ints = ask.task_mw[one_class] - idle_mw
    if ask.gpus and columns.has_mixed:
        mixed = np.flatnonzero(one_class == NO_CLASS)
        rise[mixed] = _slots_rise_mw(columns, ask, mixed if isinstance(at, slice) else at[mixed])
    return rise


def _slots_rise_mw(columns: Columns, ask: Ask, at: At) -> Ints:
    free = free_slots(columns, ask, at)
    taken = free & (np.cumsum(free, axis=1) <= ask.gpus)
    total: Ints = np.where(taken, _each_rise_mw(columns, ask, at), 0).sum(axis=1)
    return total


def fullest_slot(columns: Columns, ask: Ask, at: At = ALL) -> Ints:
    """[node] the GPU with the least sufficient free part for a share; any if none suffices."""
    left = np.where(free_slots(columns, ask, at), columns.free_milli[at], WHOLE_MILLI + 1)
    slot: Ints = left.argmin(axis=1)
    return slot


def leanest_slot(columns: Columns, ask: Ask, at: At = ALL) -> Ints:
    """[node] the GPU on which a share adds the fewest watts; any if none suffices."""
    rise = np.where(free_slots(columns, ask, at), _each_rise_mw(columns, ask, at), ENDLESS_MW)
    slot: Ints = rise.argmin(axis=1)
    return slot


def part_left(columns: Columns, ask: Ask, at: At = ALL) -> Ints:
    """[node] free thousandths that a share leaves on its best-fit GPU."""
    left = np.where(free_slots(columns, ask, at), columns.free_milli[at], 2 * WHOLE_MILLI)
    least: Ints = left.min(axis=1) - ask.milli
    return least


def _each_rise_mw(columns: Columns, ask: Ask, at: At) -> Ints:
    each: Ints = ask.draw_mw[columns.gpu_class[at]] - columns.idle_mw[at]
    return np.maximum(each, 0)


def needed_mw(columns: Columns, ask: Ask, at: At = ALL, slot: Ints | None = None) -> Ints:
    """[node] additional wall milliwatts that the node needs for the task; exact. `slot`: above."""
    # Rounded up with and without it: -(-a // b) is a / b rounded up.
    psu = columns.psu_permille[at]
    less = columns.load_mw[at] * -PERMILLE
    needed: Ints = less // psu
    less -= rise_mw(columns, ask, at, slot) * PERMILLE
    needed -= less // psu
    return needed


def slots_for(columns: Columns, ask: Ask, at: int) -> list[int]:
    """Slots that the task would get: the smallest sufficient ones, coolest first.

    A share of a GPU goes to the one with the least sufficient free part, so that others stay whole.
    """
    free_milli = columns.free_milli[at].tolist()
    number = columns.gpu_class[at].tolist()
    fitting = [
        slot
        for slot, milli in enumerate(free_milli)
        if milli >= ask.milli and ask.suited[number[slot]]
    ]
    if ask.is_share:
        fitting.sort(key=lambda slot: free_milli[slot])
    return fitting[: ask.gpus]


def labels_of_any(columns: Columns) -> Labels:
    """Labels that at least one node has."""
    sets = (columns.label_sets[number] for number in np.unique(columns.label_set).tolist())
    return frozenset[tuple[str, str]]().union(*sets)
