"""Reads the files of a data set into a summary. A file that cannot be read is named in it."""

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import BinaryIO, NamedTuple, cast

from wattline_runtime.data.columns.formats import PACKED, format_of, has_columns
from wattline_runtime.data.columns.readers.batch import Batch
from wattline_runtime.data.columns.readers.csv_reader import read_csv
from wattline_runtime.data.columns.readers.jsonl_reader import read_jsonl
from wattline_runtime.data.columns.readers.npz_reader import read_npy, read_npz
from wattline_runtime.data.columns.readers.parquet_reader import read_parquet
from wattline_runtime.data.columns.summary import (
    NotSummarized,
    Summary,
    Table,
    table_name,
    with_file,
    with_rows,
    without_file,
)

Opener = Callable[[], AbstractContextManager[BinaryIO]]

_READERS: dict[str, Callable[[BinaryIO], Iterator[Batch]]] = {
    ".csv": partial(read_csv, delimiter=","),
    ".tsv": partial(read_csv, delimiter="\t"),
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".parquet": read_parquet,
    ".npz": read_npz,
    ".npy": read_npy,
}


class DataFile(NamedTuple):
    """A file of a data set: its path there, and how to open it. Readers seek."""

    path: str
    open: Opener


def summarize(files: Iterable[DataFile]) -> Summary:
    """All files whose names say that they have columns; the others are passed over."""
    summary = Summary()
    for file in files:
        if has_columns(file.path):
            try:
                summary = with_file(summary, file.path, _tables(file))
            except NotSummarized as error:
                summary = without_file(summary, file.path, str(error))
            except OSError as error:
                summary = without_file(summary, file.path, error.strerror or str(error))
            except MemoryError:
                summary = without_file(summary, file.path, "reading it takes too much memory")
    return summary


def _tables(file: DataFile) -> dict[str, Table]:
    """By name: one of most files, one an array of NPZ. Raises NotSummarized."""
    tables: dict[str, Table] = {}
    base = table_name(file.path)
    with file.open() as opened:
        for batch in _batches(file.path, opened):
            name = f"{base}/{batch.array}" if batch.array else base
            tables[name] = with_rows(tables.get(name, Table()), batch.rows, batch.columns)
    return tables


def _batches(path: str, opened: BinaryIO) -> Iterator[Batch]:
    read = _READERS[format_of(path)]
    if not path.lower().endswith(PACKED):
        yield from read(opened)
        return
    try:
        with gzip.open(opened) as unpacked:
            yield from read(cast("BinaryIO", unpacked))
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise NotSummarized(f"it is not valid gzip ({type(error).__name__})") from None
