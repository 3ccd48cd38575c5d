"""`loops.c` from Python: looking at nodes and taking one, without a call for each operation.

Where the library was built. Without it, and for what it leaves to its caller, the array operations
of `looks`, `trial` and `taking` do the same; a property test holds that the same is placed.
"""

import ctypes
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from wattline_protocol.site import Weights
from wattline_scheduler.plan.asks import Ask
from wattline_scheduler.plan.columns import WHOLE_MILLI, Columns
from wattline_scheduler.plan.rank import MILLIWATTS_PER_KW
from wattline_scheduler.plan.worths import Worths
from wattline_scheduler.power.matrix import Bools, Floats, Ints

MODULE = "wattline_scheduler.plan._loops"
"""A compiler makes it when the package is installed."""

LAYOUT = 3
"""Of the structures below; a library with another one was built from other sources."""

GROUP_WORDS = 3
"""Room for one `struct group`."""

Array = NDArray[Any]
_Int = ctypes.c_int64


class _Array(ctypes.c_void_p):
    """Where the first element of an array of numbers of one kind is."""

    dtype: ClassVar[np.dtype[Any]] = np.dtype(np.int64)


class _Ints(_Array):
    pass


class _Ints32(_Array):
    dtype = np.dtype(np.int32)


class _Bools(_Array):
    dtype = np.dtype(np.bool_)


class _Floats(_Array):
    dtype = np.dtype(np.float64)


class _Struct(ctypes.Structure):
    """Numbers, and arrays, which it keeps alive."""

    def __init__(self, **values: float | Array) -> None:
        super().__init__()
        self.values = values
        for name, kind, *_ in self._fields_:
            value = values[name]
            if isinstance(value, np.ndarray) and issubclass(kind, _Array):
                value = pointer(value, kind.dtype)
            setattr(self, name, value)
        self.address = ctypes.addressof(self)


class _Columns(_Struct):
    _fields_ = (
        ("node_count", _Int),
        ("slot_count", _Int),
        ("is_open", _Bools),
        ("gpu_class", _Ints32),
        ("gpu_index", _Ints32),
        ("idle_mw", _Ints32),
        ("free_milli", _Ints32),
        ("whole", _Ints32),
        ("first_idle_mw", _Ints32),
        ("cpus_free", _Ints),
        ("memory_free_bytes", _Ints),
        ("load_mw", _Ints),
        ("one_class", _Ints),
        ("psu_permille", _Ints),
        ("warmth", _Ints),
        ("group", _Ints),
        ("group_count", _Int),
        ("depth", _Int),
        ("group_rows", _Ints),
        ("group_share", _Ints),
        ("row_count", _Int),
        ("room_mw", _Ints),
        ("budget_mw", _Floats),
        ("has_mixed", _Int),
    )


class _Worths(_Struct):
    _fields_ = (
        ("profile", _Ints),
        ("worth_now", _Ints),
        ("worth", _Ints),
        ("cpus_count", _Int),
    )


class _Weights(_Struct):
    _fields_ = (
        ("fragments_per_milli", ctypes.c_double),
        ("warmth", ctypes.c_double),
        ("cpus", ctypes.c_double),
        ("watts_per_mw", ctypes.c_double),
        ("stranding", ctypes.c_double),
    )


class _Trial(_Struct):
    _fields_ = (
        ("columns", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
        ("groups", _Ints),
        ("choices", _Int),
        ("rest", _Ints),
        ("rest_count", _Int),
        ("gpus", _Ints),
    )


class Wanted(_Struct):
    """One task, and where what is found of it on each node is written."""

    _fields_ = (
        ("gpus", _Int),
        ("cpus", _Int),
        ("memory_bytes", _Int),
        ("about_mw", _Int),
        ("is_suited", _Bools),
        ("task_mw", _Ints),
        ("draw_mw", _Ints),
        ("cost", _Floats),
        ("needed_mw", _Ints),
    )


def pointer(array: Array, dtype: np.dtype[Any]) -> int:
    """Where its first element is; it must be one block of numbers of that kind."""
    if array.dtype != dtype or not array.flags.c_contiguous:
        raise TypeError(f"an array of {array.dtype}, wanted one block of {dtype}")
    return int(array.ctypes.data)


def wanted(ask: Ask, cost: Floats, needed_mw: Ints) -> Wanted | None:
    """None: the loops do not know such tasks."""
    if ask.is_part or ask.labels:
        return None
    return Wanted(
        gpus=ask.gpus,
        cpus=ask.cpus,
        memory_bytes=ask.memory_bytes,
        about_mw=ask.about_mw,
        is_suited=ask.is_suited,
        task_mw=ask.task_mw,
        draw_mw=ask.draw_mw,
        cost=cost,
        needed_mw=needed_mw,
    )


class Library:
    """The functions of `loops.c`. They take addresses."""

    def __init__(self, library: ctypes.PyDLL) -> None:
        address = ctypes.c_void_p
        self.look = library.wattline_look
        self.look.argtypes = [address] * 5 + [_Int]
        self.place = library.wattline_place
        self.place.argtypes = [address] * 4
        self.look.restype = self.place.restype = _Int


def load(file: str) -> Library | None:
    """None where it was not built for this machine and these sources."""
    try:
        # A PyDLL keeps the interpreter's lock: a call takes microseconds.
        library = ctypes.PyDLL(file)
        layout = ctypes.c_int.in_dll(library, "wattline_loops_layout").value
    except (OSError, ValueError):  # not a library of this machine, or not this one
        return None
    return Library(library) if layout == LAYOUT else None


class Loops:
    """The loops on the columns of one trial, whose arrays stay where they are while it lasts."""

    def __init__(
        self, library: Library, columns: Columns, budget_mw: Floats, weights: Weights
    ) -> None:
        self._library = library
        self._columns = _columns(columns, budget_mw)
        self._weights = _Weights(
            fragments_per_milli=weights.fragments / WHOLE_MILLI,
            warmth=weights.warmth,
            cpus=weights.cpus,
            watts_per_mw=weights.watts / MILLIWATTS_PER_KW,
            stranding=weights.stranding,
        )
        self._worths: _Worths | None = None
        self._rest: Ints = np.zeros(columns.node_count, np.int64)
        self._gpus: Ints = np.zeros(columns.slot_count, np.int64)
        self._trial = _Trial(
            columns=self._columns.address,
            weights=self._weights.address,
            groups=np.zeros((columns.group_rows.shape[1], GROUP_WORDS), np.int64),
            choices=0,
            rest=self._rest,
            rest_count=0,
            gpus=self._gpus,
        )
        self._known: dict[int, tuple[Array, int]] = {}

    def look(
        self, at: Wanted, worths: Worths, leads: Ints | None, touched: Ints, seen: int
    ) -> tuple[int, Ints]:
        """Look again at nodes touched after `seen`: how many the task fits on, and positions of
        those that are left to the caller, which are good until the next call.

        `leads`: [profile] what the task leads to; None = it takes no GPUs.
        """
        able: int = self._library.look(
            self._trial.address,
            self._table(worths).address,
            at.address,
            None if leads is None else self._pointer(leads),
            self._pointer(touched),
            seen,
        )
        return able, self._rest[: self._trial.rest_count]

    def place(
        self, at: Wanted, given_back_mw: Ints, barred: Bools | None
    ) -> tuple[int, list[int]] | None:
        """Take the task on the first of the nodes with the least cost, of those whose rows have the
        watts: its position, and its GPUs as the node counts them, in that order; None: on none.

        `given_back_mw`: [row] what lower priorities give back there.
        """
        node: int = self._library.place(
            self._trial.address,
            at.address,
            self._pointer(given_back_mw),
            None if barred is None else pointer(barred, _Bools.dtype),
        )
        return (node, self._gpus[: at.gpus].tolist()) if node >= 0 else None

    def _table(self, worths: Worths) -> _Worths:
        table = self._worths
        if table is None or table.values["worth"] is not worths.worth:
            table = self._worths = _Worths(
                profile=worths.profile,
                worth_now=worths.worth_now,
                worth=worths.worth,
                cpus_count=worths.worth.shape[1],
            )
        return table

    def _pointer(self, array: Ints) -> int:
        """Asked for once: that costs more than a call. What is known stays alive."""
        known = self._known.get(id(array))
        if known is None:
            known = self._known[id(array)] = array, pointer(array, _Ints.dtype)
        return known[1]


def _columns(columns: Columns, budget_mw: Floats) -> _Columns:
    return _Columns(
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
        group=columns.group,
        group_count=columns.group_rows.shape[1],
        depth=columns.group_rows.shape[0],
        group_rows=columns.group_rows,
        group_share=columns.group_share,
        row_count=len(columns.room_mw),
        room_mw=columns.room_mw,
        budget_mw=budget_mw,
        has_mixed=columns.has_mixed,
    )


def _installed() -> Library | None:
    spec = find_spec(MODULE)
    return load(spec.origin) if spec is not None and spec.origin is not None else None


LIBRARY = _installed()


def way() -> str:
    """How nodes are looked at on this host."""
    return "array operations, for loops.c was not compiled" if LIBRARY is None else "loops"
