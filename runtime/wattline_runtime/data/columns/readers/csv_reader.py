"""CSV and TSV: a header, then rows of as many fields; UTF-8."""

import codecs
import csv
import io
from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa
from pyarrow import csv as arrow_csv

from wattline_runtime.data.columns.readers.batch import MAX_LINE_BYTES, Batch
from wattline_runtime.data.columns.readers.texts import column_of_texts
from wattline_runtime.data.columns.summary import MAX_COLUMNS, Column, NotSummarized

NULLS = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "-nan", "<NA>", "#N/A")
MAX_HEADER_BYTES = 1024 * 1024


def read_csv(file: BinaryIO, delimiter: str) -> Iterator[Batch]:
    """Batches of rows. Raises NotSummarized."""
    names, has_header = _header(file, delimiter)
    file.seek(0)
    ragged: list[str] = []
    try:
        reader = _open(file, delimiter, names, ragged, skip=int(has_header))
        for batch in reader:
            yield Batch(batch.num_rows, zip(names, map(_column, batch.columns), strict=True))
    except UnicodeDecodeError:
        raise NotSummarized("it is not UTF-8: expected UTF-8") from None
    except pa.ArrowInvalid as error:
        raise NotSummarized(ragged[0] if ragged else _reason(str(error))) from None


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
    column = column_of_texts(dict.fromkeys(filter(None, cells), 1))
    if column.kinds and set(column.kinds) <= {"integer", "float"}:
        return [f"column {at}" for at in range(1, len(cells) + 1)], False
    names = [cell or f"column {at}" for at, cell in enumerate(cells, 1)]
    if twice := {name for name in names if names.count(name) > 1}:
        raise NotSummarized(f"its header has {len(twice)} names more than once, as {min(twice)!r}")
    return names, True


def _open(
    file: BinaryIO, delimiter: str, names: list[str], ragged: list[str], skip: int
) -> arrow_csv.CSVStreamingReader:
    """`ragged` gets a text for a row with too few or too many fields, which ends the reading."""

    def note(row: arrow_csv.InvalidRow) -> str:
        where = f"row {row.number}" if row.number is not None else "a row"
        ragged.append(
            f"{where} has {row.actual_columns} fields, the header has {row.expected_columns}"
        )
        return "error"

    return arrow_csv.open_csv(
        _Checked(file),
        arrow_csv.ReadOptions(
            use_threads=False, block_size=MAX_LINE_BYTES, skip_rows=skip, column_names=names
        ),
        arrow_csv.ParseOptions(
            delimiter=delimiter, newlines_in_values=True, invalid_row_handler=note
        ),
        arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            strings_can_be_null=True,
            null_values=list(NULLS),
        ),
    )


class _Checked(io.RawIOBase):
    """The same bytes; raises UnicodeDecodeError where they are no UTF-8, before Arrow sees them."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._decoder = file, codecs.getincrementaldecoder("utf-8")()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._decoder.decode(data, final=not data)
        return data


def _column(array: pa.Array) -> Column:
    return column_of_texts(counts_by_value(array))


def counts_by_value(array: pa.Array) -> dict[str, int]:
    """How often each value occurs that is not null."""
    counts = array.drop_null().value_counts()
    return dict(zip(counts.field(0).to_pylist(), counts.field(1).to_pylist(), strict=True))


def _reason(text: str) -> str:
    """Arrow's error without the row that it quotes."""
    if "straddling" in text:
        return f"a row is longer than {MAX_LINE_BYTES >> 20} MiB, or a quote is not closed"
    return f"it is not valid CSV: {text.partition(':')[0]}"
