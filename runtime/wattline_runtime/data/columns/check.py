"""The verdict on a new version: schema, rows, nulls, ranges and drift against the old one."""

from collections import Counter
from collections.abc import Iterator
from math import exp, log, log1p

import msgspec

from wattline_protocol.data.checks import Finding
from wattline_runtime.data.columns.rules import (
    DEFAULT_NULLS,
    DEFAULT_OUTSIDE,
    DEFAULT_PSI,
    ColumnRules,
    Rules,
)
from wattline_runtime.data.columns.stability import stability
from wattline_runtime.data.columns.summary import Column, Summary, Table

MISSING = "missing"

_CHANCE = exp(-12.0)
"""About one in 100,000, by which a column of few rows may be beyond a default limit."""


class Verdict(msgspec.Struct, frozen=True):
    """The result of a check."""

    ok: bool
    columns: tuple[Finding, ...]


def check(old: Summary, new: Summary, rules: Rules) -> Verdict:
    """Every rule that `new` breaks against `old`."""
    name_of = Names(old, new)
    found = [Finding(path, "readable", why, "readable") for path, why in new.unreadable.items()]
    for table in sorted(old.tables.keys() | new.tables.keys()):
        if table not in rules.ignore:
            found += _table(name_of, table, old.tables.get(table), new.tables.get(table), rules)
    return Verdict(not found, tuple(found))


class Names:
    """How columns are called: by their name where one table has it, else `table:column`."""

    def __init__(self, *summaries: Summary) -> None:
        tables = {(t, c) for one in summaries for t in one.tables for c in one.tables[t].columns}
        self._often = Counter(column for _, column in tables)

    def __call__(self, table: str, column: str) -> str:
        return column if self._often[column] == 1 else f"{table}:{column}"


def _table(
    name_of: Names, name: str, old: Table | None, new: Table | None, rules: Rules
) -> Iterator[Finding]:
    if old is None or new is None:
        if new is None:
            yield Finding(name, "table", MISSING, "table")
        elif not rules.may_add:
            yield Finding(name, "table", "table", MISSING)
        return
    yield from _rows(name, old.rows, new.rows, rules)
    if not new.rows:
        return
    for column in sorted(old.columns.keys() | new.columns.keys()):
        full = name_of(name, column)
        if not {column, full} & set(rules.ignore):
            yield from _column(full, column, old, new, rules)


def _rows(name: str, old: int, new: int, rules: Rules) -> Iterator[Finding]:
    least, most = (old * share for share in rules.rows)
    if old and not least <= new <= most:
        yield Finding(name, "rows", new, least if new < least else most)


def _column(full: str, name: str, old: Table, new: Table, rules: Rules) -> Iterator[Finding]:
    before, after = old.columns.get(name), new.columns.get(name)
    if before is None or after is None:
        if before is not None or not rules.may_add:
            types = (one.type if one is not None else MISSING for one in (after, before))
            yield Finding(full, "type", *types)
        return
    if not before.kinds:
        return  # nothing is known of a column without values
    if not _fits(before, after):
        yield Finding(full, "type", after.type, before.type)
        return
    limits = rules.of(full, name)
    yield from _nulls(full, old.nulls(name), new.nulls(name), limits)
    yield from _range(full, before, after, limits)
    yield from _drift(full, before, after, limits)


def _fits(old: Column, new: Column) -> bool:
    """Every kind of value is known; a whole number is a number."""
    known = set(old.kinds) | ({"integer"} if "float" in old.kinds else set())
    return bool(new.kinds) and set(new.kinds) <= known


def _nulls(name: str, old: float, new: float, limits: ColumnRules) -> Iterator[Finding]:
    limit = old + (DEFAULT_NULLS if limits.nulls is None else limits.nulls)
    if new > limit:
        yield Finding(name, "nulls", new, limit)


def _range(name: str, old: Column, new: Column, limits: ColumnRules) -> Iterator[Finding]:
    if new.low is not None and limits.low is not None and new.low < limits.low:
        yield Finding(name, "low", new.low, limits.low)
    if new.high is not None and limits.high is not None and new.high > limits.high:
        yield Finding(name, "high", new.high, limits.high)
    if old.low is None or old.high is None or not (old.numbers.total and new.numbers.total):
        return
    outside = new.numbers.outside(old.low, old.high) / new.numbers.total
    by_chance = max(DEFAULT_OUTSIDE, outside_by_chance(old.numbers.total, new.numbers.total))
    limit = by_chance if limits.outside is None else limits.outside
    if outside > limit:
        yield Finding(name, "range", outside, limit)


def outside_by_chance(old: int, new: int) -> float:
    """Share of `new` values that is outside the range of `old` ones of the same distribution.

    Beyond the highest old one are k or more of m new ones with the chance (m / (n + m)) ** k.
    """
    return min(1.0, -log(_CHANCE) / log1p(old / new) / new)


def _drift(name: str, old: Column, new: Column, limits: ColumnRules) -> Iterator[Finding]:
    found = stability(old, new)
    if found is None:
        return
    limit = max(DEFAULT_PSI, found.by_chance) if limits.psi is None else limits.psi
    if found.psi > limit:
        yield Finding(name, "psi", found.psi, limit)
