"""The durable form of a summary: JSON, with bounds on all that is read."""

from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from wattline_runtime.data.columns.number_bins import MAX_BINS, MAX_SHIFT, NumberBins
from wattline_runtime.data.columns.summary import (
    MAX_COLUMNS,
    MAX_NAME_CHARS,
    MAX_ROWS,
    MAX_TABLES,
    MAX_UNREADABLE,
    Column,
    Kind,
    Summary,
    Table,
)
from wattline_runtime.data.columns.value_counts import (
    BUCKETS,
    MAX_LABEL_CHARS,
    MAX_VALUES,
    ValueCounts,
)

MAX_SUMMARY_BYTES = 64 * 1024 * 1024
MAX_PATH_CHARS = 2_048

_Count = Annotated[int, Meta(ge=1, le=MAX_ROWS)]
_Whole = Annotated[int, Meta(ge=0, le=MAX_ROWS)]
_Key = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
_Name = Annotated[str, Meta(max_length=MAX_NAME_CHARS)]
_Path = Annotated[str, Meta(max_length=MAX_PATH_CHARS)]
_Label = Annotated[str, Meta(max_length=MAX_LABEL_CHARS)]


class BadSummary(ValueError):
    """Bytes that are no summary."""


class _Column(msgspec.Struct, frozen=True, omit_defaults=True):
    kinds: dict[Kind, _Count]
    low: float | None = None
    high: float | None = None
    shift: Annotated[int, Meta(ge=0, le=MAX_SHIFT)] = 0
    keys: Annotated[tuple[_Key, ...], Meta(max_length=MAX_BINS)] = ()
    counts: Annotated[tuple[_Count, ...], Meta(max_length=MAX_BINS)] = ()
    values: Annotated[dict[_Label, _Count], Meta(max_length=MAX_VALUES)] = {}
    buckets: Annotated[dict[int, _Count], Meta(max_length=BUCKETS)] = {}
    per_row: _Count = 1


class _Table(msgspec.Struct, frozen=True):
    rows: _Whole
    files: _Whole
    columns: Annotated[dict[_Name, _Column], Meta(max_length=MAX_COLUMNS)]


class _Summary(msgspec.Struct, frozen=True):
    wattline_summary: Annotated[int, Meta(ge=1, le=1)]
    tables: Annotated[dict[_Path, _Table], Meta(max_length=MAX_TABLES)]
    unreadable: Annotated[dict[_Path, _Path], Meta(max_length=MAX_UNREADABLE)]


def encode_summary(summary: Summary) -> bytes:
    """Equal summaries give equal bytes."""
    tables = {
        name: _Table(
            table.rows,
            table.files,
            {column: _written(one) for column, one in table.columns.items()},
        )
        for name, table in summary.tables.items()
    }
    found = _Summary(1, tables, dict(summary.unreadable))
    return msgspec.json.encode(found, order="deterministic")


def decode_summary(data: bytes) -> Summary:
    """Raises BadSummary."""
    try:
        found = msgspec.json.decode(data, type=_Summary)
        tables = {
            name: Table(
                table.rows,
                table.files,
                {column: _read(one) for column, one in table.columns.items()},
            )
            for name, table in found.tables.items()
        }
    except (msgspec.DecodeError, UnicodeDecodeError, BadSummary) as error:
        raise BadSummary(f"not a summary of columns: {error}") from error
    return Summary(tables, found.unreadable)


def _written(column: Column) -> _Column:
    return _Column(
        kinds=dict(column.kinds),
        low=column.low,
        high=column.high,
        shift=column.numbers.shift,
        keys=tuple(column.numbers.keys.tolist()),
        counts=tuple(column.numbers.counts.tolist()),
        values=dict(column.values.values),
        buckets=dict(column.values.buckets),
        per_row=column.per_row,
    )


def _read(column: _Column) -> Column:
    keys, counts = np.array(column.keys, np.int64), np.array(column.counts, np.int64)
    if len(keys) != len(counts) or not (keys[1:] > keys[:-1]).all():
        raise BadSummary("bins out of order")
    if len(keys) and not -(1 << 63) >> column.shift <= keys[0] <= keys[-1] < 1 << 63 - column.shift:
        raise BadSummary("a bin is of no number")
    if any(not 0 <= bucket < BUCKETS for bucket in column.buckets):
        raise BadSummary(f"a bucket is not 0 to {BUCKETS - 1}")
    return Column(
        kinds=column.kinds,
        low=column.low,
        high=column.high,
        numbers=NumberBins(column.shift, keys, counts),
        values=ValueCounts(column.values, column.buckets),
        per_row=column.per_row,
    )
