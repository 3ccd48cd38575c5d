"""Tables that update cells, not rows: the cursor and the scroll position are retained."""

from collections.abc import Sequence

from rich.text import Text
from textual.widgets import DataTable

from wattline_protocol.text.visible import visible_line

Cell = str | Text
Row = tuple[str, tuple[Cell, ...]]
"""Key and cells."""


class SteadyTable(DataTable[Cell]):
    """A DataTable that is updated to its new content with the fewest changes."""

    def __init__(self, columns: Sequence[str], *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, cursor_type="row", zebra_stripes=False)
        self._titles = tuple(columns)
        self._shown: dict[str, tuple[Cell, ...]] = {}

    def on_mount(self) -> None:
        """Columns once; rows come with the first snapshot."""
        for title in self._titles:
            self.add_column(title, key=title)
        self.show_cursor = self.has_focus

    def on_focus(self) -> None:
        """Keys act here now: show the cursor."""
        self.show_cursor = True

    def on_blur(self) -> None:
        """Keys act elsewhere: hide the cursor, which would be misleading."""
        self.show_cursor = False

    def show(self, rows: Sequence[Row]) -> None:
        """Show exactly these rows in this order."""
        if list(self._shown) != [key for key, _ in rows]:
            self._rebuild(rows)
        else:
            self._update(rows)

    @property
    def selected(self) -> str | None:
        """Key of the row under the cursor."""
        if not self._shown:
            return None
        return list(self._shown)[min(self.cursor_row, len(self._shown) - 1)]

    def _update(self, rows: Sequence[Row]) -> None:
        for key, cells in rows:
            before = self._shown[key]
            for title, old, new in zip(self._titles, before, cells, strict=True):
                if old != new:
                    self.update_cell(key, title, _drawn(new), update_width=True)
            self._shown[key] = cells

    def _rebuild(self, rows: Sequence[Row]) -> None:
        selected, at_y = self.selected, self.scroll_y
        self.clear()
        self._shown = {}
        for key, cells in rows:
            self.add_row(*map(_drawn, cells), key=key)
            self._shown[key] = cells
        if selected in self._shown:
            self.move_cursor(row=list(self._shown).index(selected), animate=False)
        self.scroll_to(y=at_y, animate=False)


def _drawn(cell: Cell) -> Text:
    """A plain cell is text, not markup: names and reasons come from users."""
    if isinstance(cell, str):
        return Text(visible_line(cell))
    cell.plain = visible_line(cell.plain)
    return cell
