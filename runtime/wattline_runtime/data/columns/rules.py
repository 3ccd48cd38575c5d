"""Limits of a check, and the file of them that travels with a data set."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from wattline_protocol.text.toml_fields import (
    DocumentError,
    Fields,
    Problem,
    Reader,
    flag,
    number,
    read_document,
    texts,
)
from wattline_runtime.data.columns.stability import SIGNIFICANT
from wattline_runtime.data.columns.summary import MAX_COLUMNS

RULES_FILE = "data-checks.toml"
"""At the root of a data set. The rules of the old version judge the new one, so that a version
cannot loosen those by which it is measured."""
MAX_RULES_BYTES = 1024 * 1024
DEFAULT_PSI = SIGNIFICANT
DEFAULT_NULLS = 0.01
DEFAULT_OUTSIDE = 0.01
DEFAULT_ROWS = (0.5, 10.0)
_FAR = 1e308


@dataclass(frozen=True, slots=True)
class ColumnRules:
    """Limits of one column; None: that of the data set."""

    psi: float | None = None
    nulls: float | None = None
    outside: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """Limits of a data set; None: the default, which allows for chance where rows are few."""

    psi: float | None = None
    nulls: float | None = None
    outside: float | None = None
    rows: tuple[float, float] = DEFAULT_ROWS
    may_add: bool = False
    ignore: tuple[str, ...] = ()
    columns: Mapping[str, ColumnRules] = field(default_factory=dict)

    def of(self, *names: str) -> ColumnRules:
        """Those of a column, by any of its names; where it has none, those of the data set."""
        own = next((self.columns[name] for name in names if name in self.columns), ColumnRules())
        return replace(
            own,
            psi=self.psi if own.psi is None else own.psi,
            nulls=self.nulls if own.nulls is None else own.nulls,
            outside=self.outside if own.outside is None else own.outside,
        )


SHARE = number(0, 1)
PSI = number(0, 100)


def parse_rules(text: str, source: str = RULES_FILE) -> Rules:
    """The rules in a TOML text. Raises DocumentError with file and line of every problem."""
    document = read_document(text, source)
    problems: list[Problem] = []
    fields = Fields(document.table, problems)
    rules = Rules(
        **_limits(fields),
        rows=fields.take("rows", row_limits, DEFAULT_ROWS),
        may_add=fields.take("may_add", flag, default=False),
        ignore=fields.take("ignore", texts(MAX_COLUMNS), ()),
        columns=_columns(fields.table("columns"), document.table.get("columns")),
    )
    fields.end()
    if problems:
        raise DocumentError([document.located(problem) for problem in problems])
    return rules


def _columns(tables: Fields, found: object) -> dict[str, ColumnRules]:
    columns: dict[str, ColumnRules] = {}
    for name in found if isinstance(found, Mapping) else ():
        fields = tables.table(name)
        columns[name] = ColumnRules(
            **_limits(fields),
            low=fields.take("low", _or_none(number(-_FAR, _FAR)), None),
            high=fields.take("high", _or_none(number(-_FAR, _FAR)), None),
        )
        fields.end()
    return columns


def _limits(fields: Fields) -> dict[str, float | None]:
    return {
        "psi": fields.take("psi", _or_none(PSI), None),
        "nulls": fields.take("nulls", _or_none(SHARE), None),
        "outside": fields.take("range", _or_none(SHARE), None),
    }


def _or_none(reader: Reader[float]) -> Reader[float | None]:
    """The same reader, for a key whose default is None."""
    return reader


def row_limits(value: object) -> tuple[float, float]:
    """`[0.5, 10]`: the least and most rows, as shares of those of the old version."""
    items = value if isinstance(value, list | tuple) else ()
    if len(items) != 2:
        raise ValueError("expected two shares of the old version's rows, as in [0.5, 10]")
    least, most = map(number(0, 1e9), items)
    if least > most:
        raise ValueError(f"the least, {least:g}, is above the most, {most:g}")
    return least, most
