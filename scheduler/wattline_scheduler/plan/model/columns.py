"""The fleet as arrays, nodes in site-file order: the input of every planner decision.

The core owns one `Columns` and rewrites a node's entries when it changes; a cycle works on a
`copy`. This module is independent of jobs and of the scheduler: a replay fills the same arrays
itself (`empty`, then `set_gpus`, and plain assignments), and calls the same functions.

Slots are a node's usable GPUs in allocation order: the smallest sufficient memory first, then the
coolest. Nodes that count in the same rows with the same shares form a group, so that headroom is
computed once per group.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from wattline_protocol.site.labels import Labels
from wattline_protocol.site.wall_power import PERMILLE
from wattline_protocol.wire.agent_messages import GpuInfo
from wattline_scheduler.plan.model.device_classes import profile_of, size_milli
from wattline_scheduler.power.topology.matrix import Bools, Floats, Ints

Ints32 = NDArray[np.int32]

WHOLE_MILLI = 1000
"""An entirely free GPU."""

NO_CLASS = 0
"""Class of a slot without a GPU."""

MOST_IDLE_MW = 2**31 - 1
"""What `idle_mw` and `first_idle_mw` can hold. More counts as this: a task there then needs more
watts, not fewer. Agents may claim any watts, and tasks on MIG devices count for each free device of
their GPU."""

ENDLESS_MW = 2**50
"""Headroom of the row that pads lists of rows: more than any site, and safe to multiply."""

PRIORITY_LEVELS = 101
"""0 to 100."""


_kind_of = attrgetter(
    *("name", "memory_bytes", "cap_min_mw", "cap_max_mw"),
    *("overshoot_permille", "can_cap", "can_share"),
)


def class_of(gpu: GpuInfo) -> tuple[object, ...]:
    """What GPUs and MIG devices of one class have in common."""
    return _kind_of(gpu), size_milli(gpu)


class GpuClasses:
    """Numbers of GPU classes: equal name, memory and watts. Numbers are never reused."""

    def __init__(self) -> None:
        self.examples: list[GpuInfo | None] = [None]
        """One GPU of each class, by number."""
        self._sizes_milli = [0]
        self._numbers: dict[tuple[object, ...], int] = {}

    def __len__(self) -> int:
        return len(self.examples)

    def copy(self) -> "GpuClasses":
        """A copy that numbers further classes by itself."""
        other = GpuClasses()
        other.examples, other._sizes_milli = list(self.examples), list(self._sizes_milli)
        other._numbers = dict(self._numbers)
        return other

    def number(self, gpu: GpuInfo) -> int:
        """The class of a GPU. Its individually learned idle watts are not part of it."""
        key = class_of(gpu)
        known = self._numbers.get(key)
        if known is None:
            known = self._numbers[key] = len(self.examples)
            self.examples.append(gpu)
            self._sizes_milli.append(size_milli(gpu))
        return known

    @property
    def sizes_milli(self) -> Ints:
        """[class] thousandths of a GPU that one of it counts as; 0 = no GPU."""
        return np.array(self._sizes_milli, np.int64)

    @property
    def are_gpus(self) -> Bools:
        """[class] whole GPUs, not MIG devices."""
        is_gpu = [gpu is not None and not profile_of(gpu) for gpu in self.examples]
        return np.array(is_gpu, np.bool_)


@dataclass(slots=True)
class Columns:
    """One entry per node, per node and slot, or per row. Plain arrays that callers may fill.

    `whole`, `one_class` and `first_idle_mw` derive from the slots: `note_slots` after each change.
    """

    classes: GpuClasses
    gpu_class: Ints32
    """[node, slot] number in `classes`, free or not; `NO_CLASS` = lost or absent."""
    gpu_index: Ints32
    """[node, slot] the node's own index of the GPU."""
    free_milli: Ints32
    """[node, slot] free thousandths; 0 = allocated, lost or absent."""
    idle_mw: Ints32
    """[node, slot] idle draw, or the admitted watts of its holders: a task's draw replaces it."""
    ends_s: Floats
    """[node, slot] expected end of the GPU's allocation; infinite = unknown, or free."""
    is_endless: Bools
    """[node, slot] allocated to a service, which has no expected end."""
    whole: Ints32
    """[node] entirely free GPUs."""
    one_class: Ints
    """[node] the class of all its GPUs; `NO_CLASS` = they differ, or there are none."""
    has_mixed: bool
    """Whether any node has ever had GPUs of different classes."""
    first_idle_mw: Ints32
    """[n, node] idle draw of the first n free GPUs; undefined where there are fewer."""
    is_open: Bools
    """[node] tasks may be placed here: healthy, leased, not drained."""
    cpus: Ints
    cpus_free: Ints
    memory_bytes: Ints
    memory_free_bytes: Ints
    load_mw: Ints
    """[node] load that must stay available to it now, before the power supplies."""
    psu_permille: Ints
    warmth: Ints
    """[node] steps above comfort of its free GPUs at full power."""
    least_priority: Ints
    """[node] lowest priority running there; `PRIORITY_LEVELS` if none."""
    rack: Ints
    label_set: Ints
    """[node] index of its label set in `label_sets`."""
    label_sets: tuple[Labels, ...]
    group: Ints
    """[node] number of its group."""
    group_rows: Ints
    """[n, group] rows above; padded with the endless row, the last one."""
    group_share: Ints
    """[n, group] permille of a node's wall watts that count there."""
    are_whole_shares: bool
    """Whether every node counts in full in every row above it."""
    headroom_mw: Ints
    """[row] headroom for new tasks, at the wall."""
    budget_mw: Ints
    """[row]"""
    yields_mw: Ints
    """[row, priority] watts that work of that priority releases to higher priorities."""

    @classmethod
    def empty(
        cls,
        node_count: int,
        slot_count: int,
        above: Sequence[tuple[tuple[int, int], ...]] = (),
        row_count: int = 0,
        classes: GpuClasses | None = None,
    ) -> "Columns":
        """Closed nodes without GPUs. `above`: the rows above each node, with permille."""
        slots = (node_count, slot_count)
        group, rows, share = _groups(above or ((),) * node_count, row_count)
        are_whole = bool((share == PERMILLE).all())
        return cls(
            classes=classes or GpuClasses(),
            gpu_class=np.zeros(slots, np.int32),
            gpu_index=np.zeros(slots, np.int32),
            free_milli=np.zeros(slots, np.int32),
            idle_mw=np.zeros(slots, np.int32),
            ends_s=np.full(slots, np.inf),
            is_endless=np.zeros(slots, np.bool_),
            whole=np.zeros(node_count, np.int32),
            one_class=_zeros(node_count),
            has_mixed=False,
            first_idle_mw=np.zeros((slot_count + 1, node_count), np.int32),
            is_open=np.zeros(node_count, np.bool_),
            cpus=_zeros(node_count),
            cpus_free=_zeros(node_count),
            memory_bytes=_zeros(node_count),
            memory_free_bytes=_zeros(node_count),
            load_mw=_zeros(node_count),
            psu_permille=np.full(node_count, PERMILLE, np.int64),
            warmth=_zeros(node_count),
            least_priority=np.full(node_count, PRIORITY_LEVELS),
            rack=_zeros(node_count),
            label_set=_zeros(node_count),
            label_sets=(frozenset(),),
            group=group,
            group_rows=rows,
            group_share=share,
            are_whole_shares=are_whole,
            headroom_mw=np.append(_zeros(row_count), ENDLESS_MW),
            budget_mw=np.append(_zeros(row_count), ENDLESS_MW),
            yields_mw=np.zeros((row_count + 1, PRIORITY_LEVELS), np.int64),
        )

    @property
    def node_count(self) -> int:
        return len(self.is_open)

    @property
    def slot_count(self) -> int:
        return int(self.gpu_class.shape[1])

    def copy(self) -> "Columns":
        """A copy for trial placements. Columns that a placement never changes are shared."""
        changes = {name: getattr(self, name).copy() for name in TRIED}
        return replace(self, **changes)

    def copy_all(self) -> "Columns":
        """A copy in which nodes can be rewritten."""
        names = (each.name for each in fields(self))
        arrays = {name: getattr(self, name) for name in names}
        return replace(self, **{n: a.copy() for n, a in arrays.items() if hasattr(a, "copy")})

    def gpus_milli(self) -> Ints:
        """[node] thousandths of present GPUs, free or not."""
        there: Ints = self.classes.sizes_milli[self.gpu_class].sum(axis=1)
        return there

    def free_gpus_milli(self) -> int:
        """Free thousandths of GPUs on all nodes."""
        free = self.free_milli * self.classes.sizes_milli[self.gpu_class] // WHOLE_MILLI
        return int(free.sum())

    def set_gpus(
        self,
        at: int,
        gpus: Sequence[GpuInfo],
        free_milli: Sequence[int],
        counts_mw: Sequence[int] | None = None,
    ) -> None:
        """Set the usable GPUs of a node in slot order, and the free part of each. `counts_mw`: what
        each counts; None = its idle draw."""
        count = len(gpus)
        if count > self.slot_count:
            self._widen(count)
        rest = self.slot_count - count
        numbers = [self.classes.number(gpu) for gpu in gpus]
        self.gpu_class[at] = numbers + [NO_CLASS] * rest
        self.gpu_index[at] = [gpu.index for gpu in gpus] + [0] * rest
        self.free_milli[at] = [*free_milli] + [0] * rest
        counted = [gpu.idle_mw for gpu in gpus] if counts_mw is None else counts_mw
        self.idle_mw[at] = [min(mw, MOST_IDLE_MW) for mw in counted] + [0] * rest
        self.one_class[at] = numbers[0] if len(set(numbers)) == 1 else NO_CLASS
        self.has_mixed = self.has_mixed or len(set(numbers)) > 1
        self.note_slots(at)

    def note_slots(self, at: int) -> None:
        """Update the columns derived from a node's `free_milli`."""
        idle_mw, total_mw = [0], 0
        for free_milli, mw in zip(
            self.free_milli[at].tolist(), self.idle_mw[at].tolist(), strict=True
        ):
            if free_milli == WHOLE_MILLI:
                total_mw += mw
                idle_mw.append(min(total_mw, MOST_IDLE_MW))
        self.whole[at] = len(idle_mw) - 1
        self.first_idle_mw[: len(idle_mw), at] = idle_mw

    def _widen(self, slot_count: int) -> None:
        more = slot_count - self.slot_count
        for name in SLOTTED:
            setattr(self, name, np.pad(getattr(self, name), ((0, 0), (0, more))))
        self.first_idle_mw = np.pad(self.first_idle_mw, ((0, more), (0, 0)))


TRIED = (
    "free_milli",
    "idle_mw",
    "whole",
    "first_idle_mw",
    "is_open",
    "cpus_free",
    "memory_free_bytes",
    "load_mw",
    "headroom_mw",
)
"""Columns that a placement changes."""

SLOTTED = ("gpu_class", "gpu_index", "free_milli", "idle_mw", "ends_s", "is_endless")


def _zeros(count: int) -> Ints:
    return np.zeros(count, np.int64)


def _groups(
    above: Sequence[tuple[tuple[int, int], ...]], row_count: int
) -> tuple[Ints, Ints, Ints]:
    numbers: dict[tuple[tuple[int, int], ...], int] = {}
    group = np.array([numbers.setdefault(rows, len(numbers)) for rows in above], np.int64)
    depth = max((len(rows) for rows in numbers), default=0) or 1
    group_rows = np.full((depth, len(numbers)), row_count, np.int64)
    group_share = np.full((depth, len(numbers)), PERMILLE, np.int64)
    for rows, number in numbers.items():
        for n, (row, share) in enumerate(rows):
            group_rows[n, number], group_share[n, number] = row, share
    return group, group_rows, group_share
