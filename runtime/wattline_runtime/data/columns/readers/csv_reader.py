"""CSV and TSV: a header, then rows of as many fields; UTF-8."""

import codecs
import csv
import io
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from wattline_runtime.data.columns.readers.batch import BATCH_BYTES, MAX_LINE_BYTES, Batch
from wattline_runtime.data.columns.readers.texts import column_of_texts
from wattline_runtime.data.columns.summary import MAX_COLUMNS, NotSummarized

NULLS = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "-nan", "<NA>", "#N/A")
MAX_HEADER_BYTES = 1024 * 1024
_QUOTE, _LINE_END = b'"\n'


def read_csv(file: BinaryIO, delimiter: str) -> Iterator[Batch]:
    """Batches of rows. Raises NotSummarized."""
    names, has_header = _header(file, delimiter)
    file.seek(0)
    lines = int(has_header)
    for number, block in enumerate(_blocks(file)):
        skipped = int(has_header and not number)
        found = _parsed(block, delimiter, names, skipped, lines - skipped)
        lines += found.num_rows
        if found.num_rows:
            columns = (chunks.combine_chunks() for chunks in found.columns)
            yield Batch(found.num_rows, zip(names, map(column_of_texts, columns), strict=True))


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """Whole rows. Arrow's own reader of blocks calls the file from threads that it waits for when
    it is dropped, which is a deadlock where the file is Python's."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    rest = b""
    while data := file.read(BATCH_BYTES):
        _check_text(decoder, data)
        block = rest + data
        end = _end_of_rows(block)
        rest = block[end:]
        if len(rest) > MAX_LINE_BYTES:
            size = MAX_LINE_BYTES >> 20
            raise NotSummarized(f"a row is longer than {size} MiB, or a quote is not closed")
        if end:
            yield block[:end]
    _check_text(decoder, b"")
    if rest:
        yield rest


def _check_text(decoder: codecs.IncrementalDecoder, data: bytes) -> None:
    try:
        decoder.decode(data, final=not data)
    except UnicodeDecodeError:
        raise NotSummarized("it is not UTF-8: expected UTF-8") from None


def _end_of_rows(block: bytes) -> int:
    """Behind the last line end that is outside of quotes; a quote inside of them is doubled."""
    values = np.frombuffer(block, np.uint8)
    is_outside = np.bitwise_xor.accumulate(values == _QUOTE) == 0
    ends = np.flatnonzero((values == _LINE_END) & is_outside)
    return int(ends[-1]) + 1 if len(ends) else 0


def _header(file: BinaryIO, delimiter: str) -> tuple[list[str], bool]:
    """Names of the columns, and whether the first line has them: one of numbers alone has none."""
    head = file.read(MAX_HEADER_BYTES)
    if not head.strip():
        raise NotSummarized("it is empty: expected a header")
    line = head.splitlines()[0]
    if len(line) == MAX_HEADER_BYTES or line.count(delimiter.encode()) >= MAX_COLUMNS:
        raise NotSummarized(f"its header has more than {MAX_COLUMNS:,} columns or 1 MiB")
    try:
        cells = next(csv.reader(io.StringIO(line.decode("utf-8-sig")), delimiter=delimiter))
    except UnicodeDecodeError:
        raise NotSummarized("it is not UTF-8: expected UTF-8") from None
    except (csv.Error, StopIteration):
        raise NotSummarized("its first line is no header") from None
    column = column_of_texts(pa.array(filter(None, cells), pa.string()))
    if column.kinds and set(column.kinds) <= {"integer", "float"}:
        return [f"column {at}" for at in range(1, len(cells) + 1)], False
    names = [cell or f"column {at}" for at, cell in enumerate(cells, 1)]
    if twice := {name for name in names if names.count(name) > 1}:
        raise NotSummarized(
            f"its header has {len(twice)} names more than once, as {min(twice)[:80]!r}"
        )
    return names, True


def _parsed(block: bytes, delimiter: str, names: list[str], skipped: int, lines: int) -> pa.Table:
    """Rows of a block, behind so many lines of others. Raises NotSummarized."""
    ragged: list[str] = []

    def note(row: arrow_csv.InvalidRow) -> str:
        where = f"row {lines + row.number}" if row.number is not None else "a row"
        ragged.append(
            f"{where} has {row.actual_columns} fields, the header has {row.expected_columns}"
        )
        return "error"

    try:
        return arrow_csv.read_csv(
            pa.BufferReader(block),
            arrow_csv.ReadOptions(
                use_threads=False,
                block_size=len(block) + 1,
                skip_rows=skipped,
                column_names=names,
            ),
            arrow_csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, invalid_row_handler=note
            ),
            arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=True,
                null_values=list(NULLS),
                check_utf8=False,
            ),
        )
    except pa.ArrowInvalid as error:
        # Without the row that Arrow quotes.
        text = f"it is not valid CSV: {str(error).partition(':')[0]}"
        raise NotSummarized(ragged[0] if ragged else text) from None
