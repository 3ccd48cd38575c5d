"""Verdicts and differences of data sets as tables."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from wattline.show.styles import alarm
from wattline.show.tables import Cell, Column, Listing
from wattline.show.units import NOT_KNOWN
from wattline_protocol.text.visible import visible_line
from wattline_protocol.text.wording import digits
from wattline_runtime.data.columns.check import Verdict
from wattline_runtime.data.columns.diff import ColumnChange, Difference
from wattline_runtime.data.columns.stability import MODERATE, SIGNIFICANT

FILES_SHOWN = 10

_LEVELS = ((SIGNIFICANT, "significant"), (MODERATE, "moderate"))
_RULES = {
    "readable": "columns can be read",
    "table": "same tables",
    "type": "same type",
    "rows": "number of rows",
    "nulls": "share of nulls",
    "range": "share outside the old range",
    "low": "lowest value",
    "high": "highest value",
    "psi": "population stability index",
}


def verdict(found: Verdict) -> RenderableType:
    """One line a rule that is broken."""
    if found.ok:
        return Text("ok: every rule holds")
    rows = found.columns
    listing = Listing(
        columns=(
            Column("NAME", [row.name for row in rows]),
            Column("RULE", [row.rule for row in rows]),
            Column("MEANING", [_RULES[row.rule] for row in rows], weight=1),
            Column("LIMIT", [_value(row.limit) for row in rows], is_right=True),
            Column("VALUE", [_value(row.value) for row in rows], grows=True),
        ),
        empty="",
    )
    broken = "1 rule is broken" if len(rows) == 1 else f"{len(rows)} rules are broken"
    return Group(listing, alarm(f"not ok: {broken}"))


def differences(found: Difference) -> RenderableType:
    """Files, tables, then columns; those that differ most first."""
    files = found.files
    counts = f"{files.added} added, {files.removed} removed, {files.changed} changed"
    parts: list[RenderableType] = [Text(f"files: {counts}, {files.same} equal")]
    parts += [Text(f"  {visible_line(line)}") for line in files.first[:FILES_SHOWN]]
    if len(files.first) > FILES_SHOWN:
        parts.append(Text("  … more: --json has them", "dim"))
    parts += [
        Text(f"{visible_line(table.name)}: rows {_pair(*map(_count, table.rows))}")
        for table in found.tables
    ]
    parts += [
        alarm(f"{visible_line(path)}: {visible_line(why)}")
        for path, why in found.unreadable.items()
    ]
    return Group(*parts, Text(""), _columns(found.columns))


def _columns(rows: Sequence[ColumnChange]) -> Listing:
    return Listing(
        columns=(
            Column("COLUMN", [row.name for row in rows]),
            Column("TYPE", [_pair(*row.type) for row in rows], weight=2),
            Column("NULLS", [_pair(*map(_share, row.nulls)) for row in rows], weight=1),
            Column("LOW", [_pair(*map(_number, row.low)) for row in rows], weight=4),
            Column("MEDIAN", [_pair(*map(_number, row.median)) for row in rows], weight=3),
            Column("HIGH", [_pair(*map(_number, row.high)) for row in rows], weight=4),
            Column("PSI", [_number(row.psi) for row in rows], is_right=True),
            Column("DRIFT", [_drift(row) for row in rows]),
            Column("VALUES", [_values(row) for row in rows], grows=True),
        ),
        empty="No columns.",
    )


def _drift(row: ColumnChange) -> Cell:
    """In words; what chance explains is none."""
    if row.psi is None or row.by_chance is None:
        return NOT_KNOWN
    psi = row.psi if row.psi > row.by_chance else 0.0
    word = next((word for limit, word in _LEVELS if psi > limit), "none")
    return alarm(word) if word == "significant" else word


def _values(row: ColumnChange) -> str:
    return ", ".join(
        f"{change.value} {_pair(*map(_share, change.shares))}" for change in row.values
    )


def _pair(old: str, new: str) -> str:
    return old if old == new else f"{old} → {new}"


def _value(value: float | str) -> str:
    return value if isinstance(value, str) else _number(value)


def _number(value: float | None) -> str:
    if value is None:
        return NOT_KNOWN
    return digits(value) if 1e-3 <= abs(value) < 1e7 or value == 0 else f"{value:.3g}"


def _share(value: float | None) -> str:
    return NOT_KNOWN if value is None else f"{digits(value * 100)} %"


def _count(value: int | None) -> str:
    return NOT_KNOWN if value is None else f"{value:,}"
