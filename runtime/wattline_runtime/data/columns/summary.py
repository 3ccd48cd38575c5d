"""Summaries of columns, tables and data sets, and how they add up."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from wattline_runtime.data.columns import number_bins, value_counts
from wattline_runtime.data.columns.number_bins import NO_NUMBERS, Floats, Ints, NumberBins
from wattline_runtime.data.columns.value_counts import NO_VALUES, ValueCounts, encodable

Kind = Literal[
    "integer", "float", "infinite", "boolean", "text", "time", "binary", "list", "object"
]
KINDS: tuple[Kind, ...] = (
    *("integer", "float", "infinite", "boolean", "text"),
    *("time", "binary", "list", "object"),
)

MAX_COLUMNS = 2_000
MAX_ROWS = 1 << 48
MAX_TABLES = 256
MAX_NAME_CHARS = 256
MAX_UNREADABLE = 100

_NUMBERS = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9]+")


class NotSummarized(ValueError):
    """A file whose columns cannot be read; the text says why, and holds no value of it."""


@dataclass(frozen=True, slots=True)
class Column:
    """Values of a column. What a table has no value for in a row is null there."""

    kinds: Mapping[Kind, int] = field(default_factory=dict)
    low: float | None = None
    high: float | None = None
    """Of its finite numbers."""
    numbers: NumberBins = NO_NUMBERS
    values: ValueCounts = NO_VALUES
    """Texts, booleans and infinities."""
    per_row: int = 1
    """Values in a row: more than 1 where a whole array is one column."""

    @property
    def count(self) -> int:
        """Values that are not null."""
        return sum(self.kinds.values())

    @property
    def type(self) -> str:
        """`float`, whole numbers among it; `integer or text`; `null` where it has no value."""
        kinds = [kind for kind in KINDS if self.kinds.get(kind)]
        if "float" in kinds and "integer" in kinds:
            kinds.remove("integer")
        return " or ".join(kinds) or "null"


@dataclass(frozen=True, slots=True)
class Table:
    """Files with the same columns."""

    rows: int = 0
    files: int = 0
    columns: Mapping[str, Column] = field(default_factory=dict)

    def nulls(self, name: str) -> float:
        """Share of nulls in a column; 0 without rows."""
        column = self.columns[name]
        cells = self.rows * column.per_row
        return 1 - column.count / cells if cells else 0.0


@dataclass(frozen=True, slots=True)
class Summary:
    """A data set: its tables, and the files that could not be read with the reason."""

    tables: Mapping[str, Table] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)


def numbers(kind: Kind, values: Floats, counts: Ints | None = None) -> Column:
    """A column of numbers: NaN is null, infinities are a kind of their own."""
    counts = np.ones(len(values), np.int64) if counts is None else counts
    infinite, finite = np.isinf(values), np.isfinite(values)
    signs = {"inf": values[infinite] > 0, "-inf": values[infinite] < 0}
    infinities = {sign: int(counts[infinite][at].sum()) for sign, at in signs.items()}
    values, counts = values[finite], counts[finite]
    kinds: dict[Kind, int] = {kind: int(counts.sum()), "infinite": sum(infinities.values())}
    return Column(
        kinds={one: count for one, count in kinds.items() if count},
        low=float(values.min()) if len(values) else None,
        high=float(values.max()) if len(values) else None,
        numbers=number_bins.bins_of(values, counts),
        values=value_counts.counts_of({sign: count for sign, count in infinities.items() if count}),
    )


def categories(kind: Kind, values: Mapping[str, int]) -> Column:
    """A column of texts or booleans with how often each occurs."""
    count = sum(values.values())
    return Column({kind: count}, values=value_counts.counts_of(values)) if count else Column()


def opaque(kind: Kind, count: int) -> Column:
    """A column of which only the kind is looked at."""
    return Column({kind: count}) if count else Column()


def added(a: Column, b: Column) -> Column:
    """Both together."""
    return Column(
        kinds=Counter(a.kinds) + Counter(b.kinds),
        low=min((x for x in (a.low, b.low) if x is not None), default=None),
        high=max((x for x in (a.high, b.high) if x is not None), default=None),
        numbers=number_bins.merged(a.numbers, b.numbers),
        values=value_counts.merged(a.values, b.values),
        per_row=max(a.per_row, b.per_row),
    )


def with_rows(table: Table, rows: int, columns: Iterable[tuple[str, Column]]) -> Table:
    """The table with a batch of rows more. Raises NotSummarized beyond the bounds."""
    if table.rows + rows > MAX_ROWS:
        raise NotSummarized(f"it claims {rows:,} rows")
    whole = dict(table.columns)
    for given, column in columns:
        name = encodable(given)
        if len(name) > MAX_NAME_CHARS:
            raise NotSummarized(f"the name of a column is longer than {MAX_NAME_CHARS} characters")
        whole[name] = added(whole[name], column) if name in whole else column
        if len(whole) > MAX_COLUMNS:
            raise NotSummarized(f"more than {MAX_COLUMNS:,} columns")
    return Table(table.rows + rows, table.files, whole)


def with_file(summary: Summary, path: str, tables: Mapping[str, Table]) -> Summary:
    """The summary with the tables of a file more; a file beyond the bounds is unreadable."""
    whole = dict(summary.tables)
    try:
        for name, table in tables.items():
            before = whole.get(name, Table())
            both = with_rows(before, table.rows, table.columns.items())
            whole[name] = Table(both.rows, before.files + 1, both.columns)
        if len(whole) > MAX_TABLES:
            raise NotSummarized(
                f"more than {MAX_TABLES} tables: files of one table differ in numbers only, "
                "as part-0001.csv and part-0002.csv"
            )
    except NotSummarized as error:
        return without_file(summary, path, str(error))
    return Summary(whole, summary.unreadable)


def without_file(summary: Summary, path: str, why: str) -> Summary:
    """The summary with a file that could not be read."""
    if len(summary.unreadable) == MAX_UNREADABLE:
        return summary
    return Summary(summary.tables, {**summary.unreadable, encodable(path): encodable(why)})


def table_name(path: str) -> str:
    """Files whose paths differ in numbers or UUIDs only are one table: `part-*.csv`."""
    return _NUMBERS.sub("*", encodable(path))
