"""The structures of `native_loops.c`, field by field."""

import ctypes
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

LAYOUT = 6
"""Version of the structures below."""

Array = NDArray[Any]
Int = ctypes.c_int64


class AnyArray(ctypes.c_void_p):
    """Address of the first element of a numeric array."""

    dtype: ClassVar[np.dtype[Any]] = np.dtype(np.int64)


class OfInts(AnyArray):
    pass


class OfInts32(AnyArray):
    dtype = np.dtype(np.int32)


class OfBools(AnyArray):
    dtype = np.dtype(np.bool_)


class OfFloats(AnyArray):
    dtype = np.dtype(np.float64)


class Struct(ctypes.Structure):
    """Numbers and arrays; it keeps the arrays alive."""

    def __init__(self, **values: float | Array) -> None:
        super().__init__()
        self.values = values
        for name, kind, *_ in self._fields_:
            value = values[name]
            if isinstance(value, np.ndarray) and issubclass(kind, AnyArray):
                value = pointer(value, kind.dtype)
            setattr(self, name, value)
        self.address = ctypes.addressof(self)


class ColumnsStruct(Struct):
    _fields_ = (
        ("node_count", Int),
        ("slot_count", Int),
        ("is_open", OfBools),
        ("gpu_class", OfInts32),
        ("gpu_index", OfInts32),
        ("idle_mw", OfInts32),
        ("free_milli", OfInts32),
        ("whole", OfInts32),
        ("first_idle_mw", OfInts32),
        ("cpus_free", OfInts),
        ("memory_free_bytes", OfInts),
        ("load_mw", OfInts),
        ("one_class", OfInts),
        ("psu_permille", OfInts),
        ("warmth", OfInts),
        ("label_set", OfInts),
        ("group", OfInts),
        ("group_count", Int),
        ("depth", Int),
        ("group_rows", OfInts),
        ("group_share", OfInts),
        ("row_count", Int),
        ("headroom_mw", OfInts),
        ("budget_mw", OfFloats),
        ("has_mixed", Int),
    )


class WorthsStruct(Struct):
    _fields_ = (
        ("profile", OfInts),
        ("worth_now", OfInts),
        ("worth", OfInts),
        ("cpus_count", Int),
    )


class WeightsStruct(Struct):
    _fields_ = (
        ("fragments_per_milli", ctypes.c_double),
        ("warmth", ctypes.c_double),
        ("cpus", ctypes.c_double),
        ("watts_per_mw", ctypes.c_double),
        ("stranding", ctypes.c_double),
    )


class TrialStruct(Struct):
    _fields_ = (
        ("columns", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
        ("groups", OfInts),
        ("choices", Int),
        ("rest", OfInts),
        ("rest_count", Int),
        ("gpus", OfInts),
    )


class Wanted(Struct):
    """One task, and the output arrays for each node."""

    _fields_ = (
        ("gpus", Int),
        ("cpus", Int),
        ("memory_bytes", Int),
        ("about_mw", Int),
        ("is_suited", OfBools),
        ("has_labels", OfBools),
        ("task_mw", OfInts),
        ("draw_mw", OfInts),
        ("cost", OfFloats),
        ("needed_mw", OfInts),
    )


def pointer(array: Array, dtype: np.dtype[Any]) -> int:
    """Address of the first element; the array must be contiguous and of this type."""
    if array.dtype != dtype or not array.flags.c_contiguous:
        raise TypeError(f"an array of {array.dtype}, wanted one block of {dtype}")
    return int(array.ctypes.data)
