"""Parquet: one column after the other, so that memory is bounded by a column of a row group."""

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import pyarrow as pa
from pyarrow import compute, parquet

from wattline_runtime.data.columns.readers.batch import BATCH_ROWS, Batch
from wattline_runtime.data.columns.readers.texts import column_of_strings
from wattline_runtime.data.columns.summary import (
    MAX_COLUMNS,
    Column,
    Kind,
    NotSummarized,
    categories,
    numbers,
    opaque,
)

MAX_FOOTER_BYTES = 16 * 1024 * 1024
MAX_CHUNK_BYTES = 1024 * 1024 * 1024
_MAGIC = b"PAR1"


def read_parquet(file: BinaryIO) -> Iterator[Batch]:
    """Batches of one column each; the first has the rows. Raises NotSummarized."""
    _check_footer(file)
    try:
        yield from _batches(file)
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, OverflowError, UnicodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's, not the file's
        raise NotSummarized(f"it is not valid Parquet ({type(error).__name__})") from None


def _check_footer(file: BinaryIO) -> None:
    """Before it is parsed: a footer is read as a whole."""
    size = file.seek(0, 2)
    if size < 12:
        raise NotSummarized("it is not Parquet: too short")
    file.seek(size - 8)
    tail = file.read(8)
    file.seek(0)
    if tail[4:] != _MAGIC:
        raise NotSummarized("it is not Parquet: it does not end with PAR1")
    if int.from_bytes(tail[:4], "little") > min(size, MAX_FOOTER_BYTES):
        raise NotSummarized(f"its footer is cut off, or longer than {MAX_FOOTER_BYTES >> 20} MiB")


def _batches(file: BinaryIO) -> Iterator[Batch]:
    metadata = parquet.read_metadata(file)
    if metadata.num_columns > MAX_COLUMNS:
        raise NotSummarized(f"{metadata.num_columns:,} columns: more than {MAX_COLUMNS:,}")
    _check_chunks(metadata)
    file.seek(0)
    # As dictionaries a long text that repeats takes no memory; inside of structs Arrow cannot.
    plain = [field.name for field in metadata.schema.to_arrow_schema() if not _is_nested(field)]
    opened = parquet.ParquetFile(file, metadata=metadata, read_dictionary=plain, pre_buffer=False)
    yield Batch(metadata.num_rows, ())
    for field in opened.schema_arrow:
        if _has_lists(field.type):
            yield Batch(0, [(field.name, opaque("list", metadata.num_rows))])
            continue
        for batch in opened.iter_batches(BATCH_ROWS, columns=[field.name], use_threads=False):
            for array in batch.columns:
                yield Batch(0, list(_columns(field.name, array)))


def _is_nested(field: pa.Field) -> bool:
    return bool(pa.types.is_nested(field.type))


def _has_lists(kind: pa.DataType) -> bool:
    """These are not read: a few bytes of one may say that a row has millions of values."""
    if pa.types.is_struct(kind):
        return any(_has_lists(kind.field(at).type) for at in range(kind.num_fields))
    return bool(pa.types.is_nested(kind))


def _check_chunks(metadata: parquet.FileMetaData) -> None:
    for at in range(metadata.num_row_groups):
        group = metadata.row_group(at)
        for column in range(group.num_columns):
            chunk = group.column(column)
            if chunk.total_uncompressed_size > MAX_CHUNK_BYTES:
                name = chunk.path_in_schema[:80]
                raise NotSummarized(
                    f"column {name!r} has more than {MAX_CHUNK_BYTES >> 30} GiB "
                    f"in row group {at}: write smaller row groups"
                )


def _columns(name: str, array: pa.Array) -> Iterator[tuple[str, Column]]:
    """The column, or those of a struct."""
    if pa.types.is_struct(array.type):
        for at, inner in enumerate(array.flatten()):
            yield from _columns(f"{name}.{array.type.field(at).name}", inner)
    else:
        yield name, _column(array.drop_null())


def _column(array: pa.Array) -> Column:
    kind = _kind(array.type)
    if kind in ("integer", "float"):
        return numbers(kind, _doubles(array))
    if kind in ("text", "boolean"):
        counts = array.value_counts()
        values, often = counts.field(0), counts.field(1).to_pylist()
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        named = dict(zip(map(str, values.to_pylist()), often, strict=True))
        if kind == "text":
            return column_of_strings(named)
        return categories("boolean", {value.lower(): count for value, count in named.items()})
    return opaque(kind, len(array))


def _doubles(array: pa.Array) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    doubles = compute.cast(array, pa.float64(), safe=False)
    return np.asarray(doubles.to_numpy(zero_copy_only=False), np.float64)


def _kind(kind: pa.DataType) -> Kind:
    types = pa.types
    if types.is_dictionary(kind):
        return _kind(kind.value_type)
    tests: tuple[tuple[Kind, bool], ...] = (
        ("boolean", types.is_boolean(kind)),
        ("integer", types.is_integer(kind)),
        ("float", types.is_floating(kind) or types.is_decimal(kind)),
        ("text", types.is_string(kind) or types.is_large_string(kind)),
        ("binary", types.is_binary(kind) or types.is_large_binary(kind)),
        ("binary", types.is_fixed_size_binary(kind)),
        ("time", types.is_temporal(kind)),
    )
    return next((name for name, holds in tests if holds), "object")
