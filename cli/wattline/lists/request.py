"""The options of a list, checked before the scheduler is asked."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic

from wattline import exits
from wattline.failures import ActFailed
from wattline.lists.list_of import ListOf, V
from wattline.lists.options import LIST_OPTIONS
from wattline_protocol.lists.column import Column, Row
from wattline_protocol.lists.kinds import Reading
from wattline_protocol.lists.table import Order, Table, ordered
from wattline_protocol.lists.where import Where
from wattline_protocol.text.quantities import format_duration
from wattline_protocol.text.wording import joined

MIN_PERIOD_S = 0.5
MAX_PERIOD_S = 3600.0


@dataclass(frozen=True, slots=True)
class ListOptions:
    """As given on the command line."""

    where: str | None = None
    columns: str | None = None
    sort: str | None = None
    csv: bool = False
    watch_s: float | None = None
    wide: bool = False
    json: bool = False


@dataclass(frozen=True)
class Asked(Generic[Row]):
    """The options, understood at one point in time."""

    unix_s: float
    table: Table[Row]
    where: Where[Row] | None
    columns: tuple[Column[Row], ...]
    order: Order[Row]

    @property
    def is_tree(self) -> bool:
        """Whether rows keep their own order, in which a tree is indented."""
        return self.table.tree is not None and self.where is None and not self.order

    def selected(self, rows: Iterable[Row], *, is_selected: bool = False) -> Iterator[Row]:
        """Those that meet the condition. `is_selected`: no others are there."""
        where = None if is_selected else self.where
        return (row for row in rows if where is None or where.matches(row))

    def rows(self, rows: Iterable[Row], *, is_selected: bool = False) -> list[Row]:
        """The same in order."""
        return ordered(self.selected(rows, is_selected=is_selected), self.order)


def understood(of: ListOf[V, Row], options: ListOptions, now_unix_s: float) -> Asked[Row]:
    """Raises ActFailed for options that are wrong, with what would be right."""
    table = of.table(now_unix_s)
    return Asked(
        now_unix_s,
        table,
        _option("--where", options.where, lambda text: _where(table, text, now_unix_s)),
        _option("--columns", options.columns, table.chosen) or table.chosen(None),
        _option("--sort", options.sort, table.order) or (),
    )


def _where(table: Table[Row], text: str, now_unix_s: float) -> Where[Row]:
    return table.where(text, Reading(now_unix_s))


def _option(flag: str, text: str | None, read: Any) -> Any:
    if text is None:
        return None
    try:
        return read(text)
    except ValueError as error:
        raise ActFailed(f"{flag}: {error}", exits.USAGE) from error


def unfit(options: ListOptions) -> None:
    """Raises ActFailed if any option of lists is given, where nothing is listed."""
    if options != ListOptions(json=options.json):
        flags = joined([option.flags[0] for option in LIST_OPTIONS])
        raise ActFailed(f"{flags} are options of lists, and this shows no list", exits.USAGE)


def checked(of: ListOf[V, Row], options: ListOptions, *, is_endless: bool = False) -> None:
    """Raises ActFailed for options that are wrong, or that exclude each other. `is_endless`: rows
    come for as long as the user waits."""
    is_laid_out = options.columns is not None and not options.csv
    if is_endless and (options.sort is not None or is_laid_out):
        text = "--follow prints events as they come: it takes --columns with --csv, and no --sort"
        raise ActFailed(text, exits.USAGE)
    if options.json and (options.csv or options.columns is not None):
        other = "--csv" if options.csv else "--columns"
        raise ActFailed(f"{other} and --json exclude each other: JSON has all fields", exits.USAGE)
    period_s = options.watch_s
    if period_s is not None and not MIN_PERIOD_S <= period_s <= MAX_PERIOD_S:
        bounds = " to ".join(map(format_duration, (MIN_PERIOD_S, MAX_PERIOD_S)))
        raise ActFailed(f"--watch: expected a period from {bounds}", exits.USAGE)
    understood(of, options, time.time())
