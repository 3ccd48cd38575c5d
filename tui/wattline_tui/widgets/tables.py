"""Lists whose rows are texts already: answers of the scheduler about few things."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from rich.text import Text

from wattline_protocol.lists.column import Column
from wattline_protocol.lists.kinds import TEXT
from wattline_protocol.lists.table import Table
from wattline_tui.listing.rows import Rows
from wattline_tui.widgets.list_table import ListTable

Cell = str | Text
"""A styled one needs attention."""

Row = tuple[str, tuple[Cell, ...]]
"""Key and cells."""


class SteadyTable(ListTable):
    """Columns with these titles; the first ones and the last stay where space is short."""

    def __init__(self, columns: Sequence[str], *, id: str) -> None:  # noqa: A002 - Textual's name
        *fixed, last = (_column(at, title) for at, title in enumerate(columns))
        table = Table((*fixed, replace(last, weight=0, grows=True)), empty="")
        super().__init__(Rows[Row](lambda _: table, lambda row: row[0]), id=id)

    def show(self, rows: Sequence[Row], now_unix_s: float = 0.0) -> None:  # type: ignore[override]
        """Show exactly these rows in this order."""
        super().show(rows, now_unix_s)

    @property
    def selected(self) -> str | None:
        """Key of the row under the cursor."""
        return self.rows.at_cursor


def _column(at: int, title: str) -> Column[Row]:
    return Column(f"column-{at}", TEXT, _text(at), title, weight=at, is_alarm=_is_styled(at))


def _text(at: int) -> Callable[[Row], str]:
    return lambda row: str(row[1][at])


def _is_styled(at: int) -> Callable[[Row], bool]:
    return lambda row: isinstance(row[1][at], Text)
