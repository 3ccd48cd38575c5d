"""The rows of a list: selected by a condition, sorted, with a cursor and chosen ones. No Textual.

A row that is the same object as before is neither tested nor ranked again.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic

from wattline_protocol.lists.column import Column, Row
from wattline_protocol.lists.kinds import TIME, Reading
from wattline_protocol.lists.table import Order, Table
from wattline_protocol.lists.where import Where

Columns = Callable[[float], Table[Row]]
"""The table as of a time."""


@dataclass(slots=True)
class _Known(Generic[Row]):
    """A row, and what was computed of it."""

    row: Row
    key: str
    matches: bool
    ranks: tuple[Any, ...]
    """By the columns of the order, None = not known; or by the list's own order."""


@dataclass
class Rows(Generic[Row]):
    """All rows of a list by their keys, and those of them that are shown."""

    columns: Columns[Row]
    key: Callable[[Row], str]
    own_rank: Callable[[Row], Any] | None = None
    """What the list is sorted by where nothing else is chosen; None: as the rows come."""
    where_text: str = ""
    order_text: str = ""
    now_unix_s: float = 0.0
    shown: list[Row] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    """Of the rows that are shown."""
    depths: list[int] = field(default_factory=list)
    """Of the rows that are shown, as a tree; empty = they are none."""
    total: int = 0
    cursor: int = 0
    chosen: set[str] = field(default_factory=set)
    """Keys; only of rows that are shown."""

    def __post_init__(self) -> None:
        self.table = self.columns(self.now_unix_s)
        self._known: list[_Known[Row]] = []
        self._where: Where[Row] | None = None
        self._order: Order[Row] = ()

    # --- rows in ----------------------------------------------------------------------------

    def update(self, rows: Iterable[Row], now_unix_s: float) -> None:
        """Exactly these rows, as of that time."""
        self.now_unix_s = now_unix_s
        self.table = self.columns(now_unix_s)
        known: dict[int, _Known[Row]] = {}
        if self._moves():
            self._understand(self.where_text, self.order_text)
        else:
            known = {id(one.row): one for one in self._known}
        self._known = [known.get(id(row)) or self._computed(row) for row in rows]
        self._show()

    def select(self, where_text: str) -> None:
        """Show those that meet the condition; empty = all. Raises ValueError, and changes nothing
        then."""
        self._renew(where_text.strip(), self.order_text)

    def sort(self, order_text: str) -> None:
        """Sort by these columns; empty = the list's own order. Raises ValueError, and changes
        nothing then."""
        self._renew(self.where_text, order_text.strip())

    @property
    def order(self) -> Order[Row]:
        """The columns that they are sorted by."""
        return self._order

    def _renew(self, where_text: str, order_text: str) -> None:
        self._understand(where_text, order_text)
        self._known = [self._computed(one.row) for one in self._known]
        self._show()

    def _understand(self, where_text: str, order_text: str) -> None:
        where = self.table.where(where_text, Reading(self.now_unix_s)) if where_text else None
        order = self.table.order(order_text or None)
        self.where_text, self.order_text = where_text, order_text
        self._where, self._order = where, order

    def _moves(self) -> bool:
        """Whether selection or order depend on the time. A time may be relative: `started>2h`."""
        terms = () if self._where is None else self._where.terms
        return any(
            column.is_moving or column.kind is TIME
            for column in (*(term.column for term in terms), *(column for column, _ in self._order))
        )

    def _computed(self, row: Row) -> _Known[Row]:
        matches = self._where is None or self._where.matches(row)
        return _Known(row, self.key(row), matches, self._ranks(row))

    def _ranks(self, row: Row) -> tuple[Any, ...]:
        if self._order:
            return tuple(_rank(column, row) for column, _ in self._order)
        return () if self.own_rank is None else (self.own_rank(row),)

    def _show(self) -> None:
        at_key, at = self.at_cursor, self.cursor
        found = [one for one in self._known if one.matches]
        if not self._order and self.own_rank is not None:
            found = _sorted(found, 0, is_reversed=False)
        for place in reversed(range(len(self._order))):
            found = _sorted(found, place, is_reversed=self._order[place][1])
        found = self._as_tree(found)
        self.total = len(self._known)
        self.shown = [one.row for one in found]
        self.keys = [one.key for one in found]
        if at_key is not None and at_key in self.keys:
            at = self.keys.index(at_key)
        self.cursor = self._within(at)
        if self.chosen:
            self.chosen.intersection_update(self.keys)

    def _as_tree(self, found: list[_Known[Row]]) -> list[_Known[Row]]:
        """As a tree, where nothing else selects or sorts."""
        self.depths = []
        if self.table.tree is None or self._where is not None or self._order:
            return found
        known = {id(one.row): one for one in found}
        pairs = list(self.table.tree([one.row for one in found]))
        self.depths = [depth for depth, _ in pairs]
        return [known[id(row)] for _, row in pairs]

    # --- cursor and chosen rows -------------------------------------------------------------

    @property
    def at_cursor(self) -> str | None:
        """Key of the row under the cursor."""
        return self.keys[self.cursor] if self.cursor < len(self.keys) else None

    @property
    def row(self) -> Row | None:
        """The row under the cursor."""
        return self.shown[self.cursor] if self.cursor < len(self.shown) else None

    @property
    def picked(self) -> tuple[str, ...]:
        """What an act is about: the chosen rows in order, or else that under the cursor."""
        if self.chosen:
            return tuple(key for key in self.keys if key in self.chosen)
        return () if self.at_cursor is None else (self.at_cursor,)

    def move_to(self, at: int) -> None:
        """Move the cursor there, or to the nearest row."""
        self.cursor = self._within(at)

    def find(self, key: str) -> bool:
        """Move the cursor to that row; False: it is not shown."""
        if key not in self.keys:
            return False
        self.cursor = self.keys.index(key)
        return True

    def choose(self) -> None:
        """Choose the row under the cursor, or no longer."""
        if self.at_cursor is not None:
            self.chosen ^= {self.at_cursor}

    def choose_all(self) -> None:
        """Choose all that are shown, or none if they are."""
        self.chosen = set() if len(self.chosen) == len(self.keys) else set(self.keys)

    def _within(self, at: int) -> int:
        return max(0, min(at, len(self.keys) - 1))


def _rank(column: Column[Row], row: Row) -> Any:
    value = column.value(row)
    return None if value is None else column.rank(value)


def _sorted(found: Sequence[_Known[Row]], place: int, *, is_reversed: bool) -> list[_Known[Row]]:
    """By one column, otherwise in their order; values that are not known come last."""
    known = [one for one in found if one.ranks[place] is not None]
    known.sort(key=lambda one: one.ranks[place], reverse=is_reversed)
    if len(known) == len(found):
        return known
    return known + [one for one in found if one.ranks[place] is None]
