"""Python bindings of `native_loops.c`: evaluate nodes and take one, in a single call.

Used if the library was built. Otherwise, and for nodes left to the caller, the array operations of
`score_cache`, `trial` and `trial_log` do the same; a property test checks equal placement.
"""

import ctypes
from pathlib import Path

import numpy as np

from wattline_native import load
from wattline_protocol.site.model import Weights
from wattline_scheduler.plan.mix.fragmentation_table import Worths
from wattline_scheduler.plan.model.columns import WHOLE_MILLI, Columns
from wattline_scheduler.plan.model.task_request import Ask, are_labelled
from wattline_scheduler.plan.search.native_structs import (
    LAYOUT,
    Array,
    ColumnsStruct,
    Int,
    OfBools,
    OfInts,
    TrialStruct,
    Wanted,
    WeightsStruct,
    WorthsStruct,
    pointer,
)
from wattline_scheduler.plan.search.rank import MILLIWATTS_PER_KW
from wattline_scheduler.power.topology.matrix import Bools, Floats, Ints

GROUP_WORDS = 3
"""Size of one `struct group`."""


def wanted(ask: Ask, columns: Columns, cost: Floats, needed_mw: Ints) -> Wanted | None:
    """None: the loops do not support such tasks."""
    if ask.is_part:
        return None
    return Wanted(
        gpus=ask.gpus,
        cpus=ask.cpus,
        memory_bytes=ask.memory_bytes,
        about_mw=ask.about_mw,
        is_suited=ask.is_suited,
        has_labels=are_labelled(columns, ask.labels),
        task_mw=ask.task_mw,
        draw_mw=ask.draw_mw,
        cost=cost,
        needed_mw=needed_mw,
    )


class Library:
    """The functions of `native_loops.c`. They take addresses."""

    def __init__(self, library: ctypes.PyDLL) -> None:
        address = ctypes.c_void_p
        self.evaluate = library.wattline_evaluate
        self.evaluate.argtypes = [address] * 5 + [Int]
        self.place = library.wattline_place
        self.place.argtypes = [address] * 4
        self.evaluate.restype = self.place.restype = Int


def load_loops(folder: Path = Path(__file__).parent) -> Library | None:
    """None where the library was not built."""
    # A PyDLL does not release the interpreter's lock: a call takes microseconds.
    library = load(folder, "loops", LAYOUT, ctypes.PyDLL)
    return None if library is None else Library(library)


class Loops:
    """The loops on the columns of one trial; its arrays must not move while it lasts."""

    def __init__(
        self, library: Library, columns: Columns, budget_mw: Floats, weights: Weights
    ) -> None:
        self._library = library
        self._columns = _columns(columns, budget_mw)
        self._weights = WeightsStruct(
            fragments_per_milli=weights.fragments / WHOLE_MILLI,
            warmth=weights.warmth,
            cpus=weights.cpus,
            watts_per_mw=weights.watts / MILLIWATTS_PER_KW,
            stranding=weights.stranding,
        )
        self._worths: WorthsStruct | None = None
        self._rest: Ints = np.zeros(columns.node_count, np.int64)
        self._gpus: Ints = np.zeros(columns.slot_count, np.int64)
        self._trial = TrialStruct(
            columns=self._columns.address,
            weights=self._weights.address,
            groups=np.zeros((columns.group_rows.shape[1], GROUP_WORDS), np.int64),
            choices=0,
            rest=self._rest,
            rest_count=0,
            gpus=self._gpus,
        )
        self._known: dict[int, tuple[Array, int]] = {}

    def evaluate(
        self, at: Wanted, worths: Worths, leads: Ints | None, touched: Ints, seen: int
    ) -> Ints:
        """Re-evaluate nodes touched after `seen`. Returns positions of those left to the caller,
        valid until the next call.

        `leads`: [profile] where the task leads; None = it takes no GPUs.
        """
        self._library.evaluate(
            self._trial.address,
            self._table(worths).address,
            at.address,
            None if leads is None else self._pointer(leads),
            self._pointer(touched),
            seen,
        )
        return self._rest[: self._trial.rest_count]

    def place(
        self, at: Wanted, given_back_mw: Ints, barred: Bools | None
    ) -> tuple[int, list[int]] | None:
        """Place the task on the first of the cheapest nodes whose rows have the watts. Returns its
        position, and its GPUs by the node's index, in that order; None: no node.

        `given_back_mw`: [row] what lower priorities release there.
        """
        node: int = self._library.place(
            self._trial.address,
            at.address,
            self._pointer(given_back_mw),
            None if barred is None else pointer(barred, OfBools.dtype),
        )
        return (node, self._gpus[: at.gpus].tolist()) if node >= 0 else None

    def _table(self, worths: Worths) -> WorthsStruct:
        table = self._worths
        if table is None or table.values["worth"] is not worths.worth:
            table = self._worths = WorthsStruct(
                profile=worths.profile,
                worth_now=worths.worth_now,
                worth=worths.worth,
                cpus_count=worths.worth.shape[1],
            )
        return table

    def _pointer(self, array: Ints) -> int:
        """Cached, as it costs more than a call. Arrays in the cache stay alive."""
        known = self._known.get(id(array))
        if known is None:
            known = self._known[id(array)] = array, pointer(array, OfInts.dtype)
        return known[1]


def _columns(columns: Columns, budget_mw: Floats) -> ColumnsStruct:
    return ColumnsStruct(
        node_count=columns.node_count,
        slot_count=columns.slot_count,
        is_open=columns.is_open,
        gpu_class=columns.gpu_class,
        gpu_index=columns.gpu_index,
        idle_mw=columns.idle_mw,
        free_milli=columns.free_milli,
        whole=columns.whole,
        first_idle_mw=columns.first_idle_mw,
        cpus_free=columns.cpus_free,
        memory_free_bytes=columns.memory_free_bytes,
        load_mw=columns.load_mw,
        one_class=columns.one_class,
        psu_permille=columns.psu_permille,
        warmth=columns.warmth,
        label_set=columns.label_set,
        group=columns.group,
        group_count=columns.group_rows.shape[1],
        depth=columns.group_rows.shape[0],
        group_rows=columns.group_rows,
        group_share=columns.group_share,
        row_count=len(columns.headroom_mw),
        headroom_mw=columns.headroom_mw,
        budget_mw=budget_mw,
        has_mixed=columns.has_mixed,
    )


LIBRARY = load_loops()


def way() -> str:
    """The node evaluation method on this host."""
    return "array operations, for native_loops.c was not compiled" if LIBRARY is None else "loops"
