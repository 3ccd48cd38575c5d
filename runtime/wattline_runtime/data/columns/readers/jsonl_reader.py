"""JSON lines: an object in each; keys of objects inside are columns too, as `user.age`."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import msgspec
import numpy as np

from wattline_runtime.data.columns.readers.batch import (
    BATCH_BYTES,
    BATCH_ROWS,
    MAX_LINE_BYTES,
    Batch,
)
from wattline_runtime.data.columns.readers.texts import column_of_strings
from wattline_runtime.data.columns.summary import (
    MAX_COLUMNS,
    Column,
    NotSummarized,
    added,
    categories,
    numbers,
    opaque,
)

MAX_DEPTH = 4
"""Objects deeper inside are values."""


def read_jsonl(file: BinaryIO) -> Iterator[Batch]:
    """Batches of rows. Raises NotSummarized with the number of a line that is no object."""
    rows, size, columns = 0, 0, defaultdict[str, list[Any]](list)
    for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES + 1), b""), 1):
        if len(line) > MAX_LINE_BYTES:
            raise NotSummarized(f"line {number} is longer than {MAX_LINE_BYTES >> 20} MiB")
        if not line.strip():
            continue
        for name, value in _flat(_row(line, number)):
            columns[name].append(value)
        if len(columns) > MAX_COLUMNS:
            raise NotSummarized(f"more than {MAX_COLUMNS:,} columns by line {number}")
        rows, size = rows + 1, size + len(line)
        if rows == BATCH_ROWS or size >= BATCH_BYTES:
            yield _batch(rows, columns)
            rows, size, columns = 0, 0, defaultdict(list)
    if rows:
        yield _batch(rows, columns)


def _batch(rows: int, columns: dict[str, list[Any]]) -> Batch:
    return Batch(rows, [(name, _column(values)) for name, values in columns.items()])


def _row(line: bytes, number: int) -> dict[str, Any]:
    try:
        row = _decoded(line)
    except (ValueError, RecursionError):
        raise NotSummarized(f"line {number} is not valid JSON") from None
    if not isinstance(row, dict):
        raise NotSummarized(f'line {number} is no object: expected one, as {{"age": 42}}')
    return row


def _decoded(line: bytes) -> Any:
    """Python's own decoder where the fast one refuses: it reads NaN, which many programs write."""
    try:
        return msgspec.json.decode(line)
    except msgspec.DecodeError:
        if b"\\u" in line:
            raise  # half a surrogate pair is no text
        return json.loads(line)


def _flat(row: dict[str, Any], prefix: str = "", depth: int = 1) -> Iterator[tuple[str, Any]]:
    for key, value in row.items():
        if isinstance(value, dict) and depth < MAX_DEPTH:
            yield from _flat(value, f"{prefix}{key}.", depth + 1)
        else:
            yield f"{prefix}{key}", value


def _column(values: Iterable[Any]) -> Column:
    groups: defaultdict[type, list[Any]] = defaultdict(list)
    for value in values:
        if value is not None:
            groups[type(value)].append(value)
    column = Column()
    for kind, group in groups.items():
        column = added(column, _of_kind(kind, group))
    return column


def _of_kind(kind: type, values: list[Any]) -> Column:
    if kind is bool:
        return categories("boolean", Counter(str(value).lower() for value in values))
    if kind is int:
        return numbers("integer", np.array([_double(value) for value in values]))
    if kind is float:
        return numbers("float", np.array(values))
    if kind is str:
        return column_of_strings(Counter(values))
    return opaque("list" if kind is list else "object", len(values))


def _double(value: int) -> float:
    """Infinite beyond what a double holds."""
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
