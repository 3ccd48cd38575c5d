"""NPZ and NPY: arrays of NumPy, streamed; pickled objects are refused.

The first axis counts rows. The others are columns where they are few, as `x[3]`; a wider array,
such as images, is one column of all its values.
"""

import io
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from math import prod
from tokenize import TokenError
from typing import IO, Any, BinaryIO, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from wattline_runtime.data.columns.readers.batch import BATCH_BYTES, Batch
from wattline_runtime.data.columns.readers.texts import column_of_strings
from wattline_runtime.data.columns.summary import (
    MAX_COLUMNS,
    MAX_NAME_CHARS,
    Column,
    NotSummarized,
    categories,
    numbers,
    opaque,
)

MAX_WIDTH = 256
MAX_ITEM_BYTES = 64 * 1024
MAX_DIRECTORY_BYTES = 1024 * 1024
MAX_HEADER_CHARS = 10_000
BOMB_BYTES = 1024 * 1024 * 1024
BOMB_RATIO = 200
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, EOFError, ValueError, struct.error),
    RuntimeError,  # encrypted, or packed in a way that zipfile has not
)
_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")


class _Shape(NamedTuple):
    rows: int
    width: int
    """Columns; 1 where the array is one."""
    per_row: int
    is_column_major: bool
    dtype: np.dtype[np.generic]

    @property
    def data_bytes(self) -> int:
        return self.rows * self.width * self.per_row * self.dtype.itemsize


def read_npz(file: BinaryIO) -> Iterator[Batch]:
    """Batches of each array, a table each. Raises NotSummarized."""
    _check_directory(file)
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                yield from _member(archive, info)
    except NotSummarized:
        raise
    except _DAMAGED as error:
        raise NotSummarized(f"it is not a valid NPZ file ({type(error).__name__})") from None


def read_npy(file: BinaryIO) -> Iterator[Batch]:
    """The same of one array."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    yield from _array(file, "array", size)


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[Batch]:
    name = info.filename.removesuffix(".npy")
    if len(name) > MAX_NAME_CHARS:
        raise NotSummarized(f"the name of an array is longer than {MAX_NAME_CHARS} characters")
    if name == info.filename:
        raise NotSummarized(f"it holds {info.filename[:80]!r}, which is no array")
    if info.file_size > max(BOMB_BYTES, BOMB_RATIO * info.compress_size):
        raise NotSummarized(
            f"array {name[:80]!r} expands {BOMB_RATIO}-fold or more, to "
            f"{info.file_size >> 30} GiB: a bomb; store it without compression if it is none"
        )
    with archive.open(info) as member:
        yield from _array(member, name, info.file_size)


def _array(file: IO[bytes], name: str, size: int) -> Iterator[Batch]:
    shape = _shape(file, name)
    if shape.data_bytes > size:
        raise NotSummarized(f"array {name[:80]!r} is truncated")
    yield Batch(shape.rows, (), name)
    if not shape.data_bytes:
        return  # it has rows, and no values in them
    for at, values in _pieces(file, name, shape):
        for column, found in _columns(name, at, values, shape):
            yield Batch(0, [(column, found)], name)


def _shape(file: IO[bytes], name: str) -> _Shape:
    try:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, is_column_major, dtype = read(file, max_header_size=MAX_HEADER_CHARS)
    except (ValueError, MemoryError, SyntaxError, RecursionError, TokenError):
        raise NotSummarized(f"array {name[:80]!r} has no valid header") from None
    if dtype.hasobject:
        raise NotSummarized(
            f"array {name[:80]!r} holds pickled objects, which are refused: save numbers or texts"
        )
    if not 0 < dtype.itemsize <= MAX_ITEM_BYTES:
        text = f"items of {dtype.itemsize:,} bytes: at most {MAX_ITEM_BYTES:,}"
        raise NotSummarized(f"array {name[:80]!r} has {text}")
    if any(length < 0 for length in shape):
        raise NotSummarized(f"array {name[:80]!r} has an axis of negative length")
    rows, width = (shape[0], prod(shape[1:])) if shape else (1, 1)
    is_narrow = width <= MAX_WIDTH and (len(shape) == 2 or not is_column_major)
    return _Shape(
        rows=rows,
        width=width if is_narrow else 1,
        per_row=1 if is_narrow else width,
        is_column_major=is_column_major and len(shape) == 2 and is_narrow,
        dtype=dtype,
    )


def _pieces(file: IO[bytes], name: str, shape: _Shape) -> Iterator[tuple[int, NDArray[np.generic]]]:
    """Values in the order of the file, with the index of the first; whole rows where they lie in
    rows, so that a column is a stride of the piece."""
    step = max(1, BATCH_BYTES // (shape.dtype.itemsize * shape.width)) * shape.width
    count = shape.rows * shape.width * shape.per_row
    for at in range(0, count, step):
        wanted = min(step, count - at) * shape.dtype.itemsize
        data = file.read(wanted)
        if len(data) < wanted:
            raise NotSummarized(f"array {name[:80]!r} is truncated")
        yield at, np.frombuffer(data, shape.dtype)


def _columns(
    name: str, first: int, values: NDArray[np.generic], shape: _Shape
) -> Iterator[tuple[str, Column]]:
    if shape.width == 1:
        yield from _fields(name, values, shape.per_row)
        return
    if shape.is_column_major:
        for column in range(first // shape.rows, -(-(first + len(values)) // shape.rows)):
            start, end = column * shape.rows - first, (column + 1) * shape.rows - first
            yield from _fields(f"{name}[{column}]", values[max(0, start) : end], 1)
        return
    for column in range(shape.width):
        yield from _fields(f"{name}[{column}]", values[column :: shape.width], 1)


def _fields(name: str, values: NDArray[Any], per_row: int) -> Iterator[tuple[str, Column]]:
    """The column, or those of a structured array."""
    if values.dtype.names is None:
        yield name, _with_width(_column(values), per_row)
        return
    for field in values.dtype.names:
        inner = values[field]
        if not inner.size:
            continue
        yield from _fields(f"{name}.{field}", inner.reshape(-1), per_row * prod(inner.shape[1:]))


def _with_width(column: Column, per_row: int) -> Column:
    return Column(column.kinds, column.low, column.high, column.numbers, column.values, per_row)


def _column(values: NDArray[np.generic]) -> Column:
    match values.dtype.kind:
        case "b":
            return _counted_booleans(values)
        case "i" | "u":
            return numbers("integer", values.astype(np.float64))
        case "f":
            return numbers("float", values.astype(np.float64))
        case "U":
            _check_characters(values)
            found, counts = np.unique(values, return_counts=True)
            return column_of_strings(dict(zip(found.tolist(), counts.tolist(), strict=True)))
        case "M" | "m":
            return opaque("time", len(values) - int(np.isnat(values).sum()))
        case "S" | "V":
            return opaque("binary", len(values))
        case _:
            return opaque("object", len(values))


def _check_characters(values: NDArray[np.generic]) -> None:
    """Before there are texts of them: four bytes may be no character."""
    codes = np.ascontiguousarray(values).view(np.dtype("u4").newbyteorder(values.dtype.byteorder))
    if codes.size and codes.max() > sys.maxunicode:
        raise NotSummarized("it holds texts that are not Unicode")


def _counted_booleans(values: NDArray[np.generic]) -> Column:
    true = int(np.count_nonzero(values))
    counts = {"true": true, "false": len(values) - true}
    return categories("boolean", {value: count for value, count in counts.items() if count})


def _check_directory(file: BinaryIO) -> None:
    """Before it is parsed: a directory of a zip file is read as a whole."""
    size = file.seek(0, io.SEEK_END)
    start = max(0, size - 0x10000 - _END.size - _END_64.size - 20)
    file.seek(start)
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < _END.size:
        raise NotSummarized("it is not a valid NPZ file: no directory at its end")
    directory_bytes = _END.unpack_from(tail, at)[5]
    before = tail.rfind(b"PK\6\6", 0, at)
    if directory_bytes == 0xFFFF_FFFF and len(tail) - before >= _END_64.size and before >= 0:
        directory_bytes = _END_64.unpack_from(tail, before)[8]
    if directory_bytes > MAX_DIRECTORY_BYTES:
        raise NotSummarized(f"it holds too many arrays: at most {MAX_COLUMNS:,} are read")
