"""The columns of one list: chosen, sorted by, and searched in conditions."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic

from wattline_protocol.lists.column import Column, Row, unknown
from wattline_protocol.lists.kinds import Reading
from wattline_protocol.lists.where import Where, parse_where

Order = tuple[tuple[Column[Row], bool], ...]
"""Columns to sort by, the most significant first; True = the greatest value first."""

INDENT = "  "
"""Of each level of a tree, before the first cell."""


@dataclass(frozen=True)
class Table(Generic[Row]):
    """All columns of a list, in their usual order."""

    columns: tuple[Column[Row], ...]
    empty: str
    """Shown when there are no rows."""
    tree: Callable[[Sequence[Row]], Iterable[tuple[int, Row]]] | None = None
    """Depth and row in the order of a tree; shown indented where nothing else selects or sorts."""

    def column(self, name: str) -> Column[Row]:
        """The column of that name or heading, in any case. Raises ValueError with the nearest."""
        wanted = name.casefold()
        for column in self.columns:
            if wanted in (column.name, column.heading.casefold()):
                return column
        raise unknown("column", name, [column.name for column in self.columns])

    def where(self, text: str, reading: Reading) -> Where[Row]:
        """The condition that `text` is. Raises ValueError."""
        return parse_where(text, self.column, reading)

    def chosen(self, text: str | None) -> tuple[Column[Row], ...]:
        """`job,user` in that order, or the usual ones changed by `+account,-reason`: those that
        are named are omitted last where space is short. Raises ValueError."""
        usual = tuple(column for column in self.columns if column.is_usual)
        if text is None:
            return usual
        words = _words(text, "columns, as in job,user or +account,-reason")
        signs = {word[:1] if word[:1] in "+-" else "" for word in words}
        if "" not in signs:
            return self._changed(usual, words)
        if len(signs) > 1:
            raise ValueError("either names alone, or each with + or - before it")
        named = dict.fromkeys(map(self.column, words))
        return tuple(replace(column, weight=at) for at, column in enumerate(named))

    def _changed(
        self, usual: Sequence[Column[Row]], words: Sequence[str]
    ) -> tuple[Column[Row], ...]:
        shown = {column.name: column for column in usual}
        for word in words:
            column = self.column(word[1:])
            if word[0] == "+":
                shown[column.name] = replace(column, weight=min(1, column.weight))
            else:
                shown.pop(column.name, None)
        if not shown:
            raise ValueError("no column is left")
        return tuple(shown[one.name] for one in self.columns if one.name in shown)

    def order(self, text: str | None) -> Order[Row]:
        """`-gpus,user`: most GPUs first, then by user. Raises ValueError."""
        if text is None:
            return ()
        words = _words(text, "columns, as in -gpus,user")
        return tuple((self.column(word.lstrip("+-")), word.startswith("-")) for word in words)


def ordered(rows: Iterable[Row], order: Order[Row]) -> list[Row]:
    """Sorted by these columns, otherwise in their order; values that are not known come last."""
    found = list(rows)
    for column, is_reversed in reversed(order):
        known = [row for row in found if column.value(row) is not None]
        known.sort(key=partial(_rank, column), reverse=is_reversed)
        found = known + [row for row in found if column.value(row) is None]
    return found


def _rank(column: Column[Row], row: Row) -> Any:
    return column.rank(column.value(row))


def _words(text: str, wanted: str) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.strip("+-") for word in words):
        raise ValueError(f"expected {wanted}")
    return words
