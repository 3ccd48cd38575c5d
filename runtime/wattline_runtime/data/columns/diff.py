"""Differences between two versions, column by column: for people, without a verdict."""

from collections.abc import Callable, Iterator, Mapping

import msgspec

from wattline_runtime.data.columns.check import MISSING, Names
from wattline_runtime.data.columns.stability import stability
from wattline_runtime.data.columns.summary import Column, Summary, Table

MAX_FILES_NAMED = 100


class FileChanges(msgspec.Struct, frozen=True):
    """Files by path: how many, and the first of those that differ."""

    same: int
    added: int
    removed: int
    changed: int
    first: tuple[str, ...]
    """`+ path`, `- path`, `~ path`."""


class TableChange(msgspec.Struct, frozen=True):
    """A table's rows in both versions; None where it is missing."""

    name: str
    rows: tuple[int | None, int | None]


class ColumnChange(msgspec.Struct, frozen=True):
    """A column in both versions, old and new; None where it is missing or has no numbers."""

    name: str
    type: tuple[str, str]
    nulls: tuple[float | None, float | None]
    low: tuple[float | None, float | None]
    median: tuple[float | None, float | None]
    high: tuple[float | None, float | None]
    psi: float | None
    by_chance: float | None
    """What PSI may be by chance for as few rows."""
    values: tuple["ValueChange", ...]
    """Of categories those whose shares differ most."""


class ValueChange(msgspec.Struct, frozen=True):
    """A value of a category and its shares, old and new."""

    value: str
    shares: tuple[float, float]


class Difference(msgspec.Struct, frozen=True):
    """What differs between two versions of a data set."""

    files: FileChanges
    tables: tuple[TableChange, ...]
    columns: tuple[ColumnChange, ...]
    unreadable: dict[str, str]
    """Files of either whose columns cannot be read, with the reason."""


VALUES_NAMED = 5


def difference(old: Summary, new: Summary, files: FileChanges) -> Difference:
    """Of two summaries; columns that differ most first."""
    name_of = Names(old, new)
    names = sorted(old.tables.keys() | new.tables.keys())
    pairs = [(name, old.tables.get(name), new.tables.get(name)) for name in names]
    columns = [
        change for name, before, after in pairs for change in _columns(name_of, name, before, after)
    ]
    return Difference(
        files=files,
        tables=tuple(
            TableChange(name, (before.rows if before else None, after.rows if after else None))
            for name, before, after in pairs
        ),
        columns=tuple(sorted(columns, key=_by_change, reverse=True)),
        unreadable={**old.unreadable, **new.unreadable},
    )


def file_changes(old: Mapping[str, str], new: Mapping[str, str]) -> FileChanges:
    """Of two trees: hashes by path."""
    removed, added = sorted(old.keys() - new.keys()), sorted(new.keys() - old.keys())
    both = old.keys() & new.keys()
    changed = sorted(path for path in both if old[path] != new[path])
    marked = [
        f"{mark} {p}"
        for mark, paths in (("-", removed), ("+", added), ("~", changed))
        for p in paths
    ]
    return FileChanges(
        same=len(both) - len(changed),
        added=len(added),
        removed=len(removed),
        changed=len(changed),
        first=tuple(marked[:MAX_FILES_NAMED]),
    )


def _by_change(change: ColumnChange) -> tuple[bool, float]:
    return change.type[0] != change.type[1], change.psi or 0.0


def _columns(
    name_of: Names, table: str, old: Table | None, new: Table | None
) -> Iterator[ColumnChange]:
    sides = [one if one is not None else Table() for one in (old, new)]
    for name in dict.fromkeys(column for one in sides for column in one.columns):
        yield _change(name_of(table, name), name, *sides)


def _change(full: str, name: str, old: Table, new: Table) -> ColumnChange:
    before, after = old.columns.get(name), new.columns.get(name)
    sides = (before, after)
    found = stability(before, after) if before is not None and after is not None else None
    return ColumnChange(
        name=full,
        type=(before.type if before else MISSING, after.type if after else MISSING),
        nulls=(old.nulls(name) if before else None, new.nulls(name) if after else None),
        low=_both(lambda one: one.low, sides),
        median=_both(_median, sides),
        high=_both(lambda one: one.high, sides),
        psi=found.psi if found else None,
        by_chance=found.by_chance if found else None,
        values=_values(before, after) if before and after else (),
    )


def _both(
    of: Callable[[Column], float | None], sides: tuple[Column | None, Column | None]
) -> tuple[float | None, float | None]:
    first, second = (None if side is None else of(side) for side in sides)
    return first, second


def _median(column: Column) -> float | None:
    if column.low is None or column.high is None:
        return None
    return min(max(column.numbers.quantile(0.5), column.low), column.high)


def _values(old: Column, new: Column) -> tuple[ValueChange, ...]:
    """Not of columns that are hashed: there the names are gone."""
    if old.values.buckets or new.values.buckets:
        return ()
    names = old.values.values.keys() | new.values.values.keys()
    changes = [ValueChange(name, (_share(old, name), _share(new, name))) for name in sorted(names)]
    changed = [change for change in changes if change.shares[0] != change.shares[1]]
    changed.sort(key=lambda change: -abs(change.shares[1] - change.shares[0]))
    return tuple(changed[:VALUES_NAMED])


def _share(column: Column, value: str) -> float:
    return column.values.values.get(value, 0) / max(1, column.count)
