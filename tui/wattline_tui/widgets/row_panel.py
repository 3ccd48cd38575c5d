"""A panel of rows with a cursor, which is a key: rows that come and go do not move it."""

from collections.abc import Sequence
from typing import ClassVar

from textual.message import Message

from wattline_tui.render.lines import Line, with_more
from wattline_tui.render.trees import scrolled
from wattline_tui.widgets.panel import Panel


class RowPanel(Panel):
    """A subclass gives the keys of its rows, and draws those from `first` on."""

    HEADING_LINES: ClassVar[int] = 0
    """Lines above the rows."""

    class Opened(Message):
        """Enter, or a second click, on a row."""

        def __init__(self, panel: "RowPanel", key: str) -> None:
            super().__init__()
            self.panel = panel
            self.key = key

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's own parameter name
        super().__init__(id=id)
        self._keys: Sequence[str] = ()
        self._cursor: str | None = None
        self._at = 0
        """Where the cursor was last: a row that leaves hands it to its successor."""
        self.first = 0
        self._is_chosen = False
        """The user has moved the cursor; until then it is on the first row, the most urgent one."""

    @property
    def cursor(self) -> str | None:
        """Key of the row that keys act on."""
        return self._cursor

    @property
    def marked(self) -> str | None:
        """The same for display: only where the focus is."""
        return self._cursor if self.has_focus else None

    @property
    def row_count(self) -> int:
        """Lines that it would use; one where it says that there are none."""
        return max(1, len(self._keys)) + self.HEADING_LINES

    @property
    def rows_in_view(self) -> int:
        """Lines for rows."""
        return max(1, self.size.height - self.HEADING_LINES)

    def row_lines(self, width: int, height: int) -> Sequence[Line]:
        """A heading, and the rows from `first` on; implemented by each panel."""
        del width, height
        return ()

    def lines(self, width: int, height: int) -> Sequence[Line]:
        """Those, and how many are out of view."""
        below = len(self._keys) - self.first - self.rows_in_view
        shown = self.row_lines(width, height)
        heading = self.HEADING_LINES
        return [*shown[:heading], *with_more(shown[heading:], self.first, below, width)]

    def show_keys(self, keys: Sequence[str]) -> None:
        """The rows are these now."""
        self._keys = keys
        if not self._is_chosen:
            self._cursor, self._at = (keys[0] if keys else None), 0
        elif self._cursor in keys:
            self._at = keys.index(self._cursor)
        else:
            self._at = max(0, min(self._at, len(keys) - 1))
            self._cursor = keys[self._at] if keys else None
        self._scroll()
        self.redraw()

    def select(self, key: str) -> bool:
        """Move the cursor to a row; False: there is none."""
        if key not in self._keys:
            return False
        self._cursor, self._at, self._is_chosen = key, self._keys.index(key), True
        self._scroll()
        self.redraw()
        return True

    def move(self, by: int) -> None:
        """The cursor, and what is in view with it."""
        if self._keys:
            self._is_chosen = True
            self._at = max(0, min(len(self._keys) - 1, self._at + by))
            self._cursor = self._keys[self._at]
            self._scroll()

    def open_at(self, y: int) -> None:
        """Select the row under the pointer; open the one that is selected."""
        at = self.first + y - self.HEADING_LINES
        if y >= self.HEADING_LINES and at < len(self._keys):
            is_again = self._keys[at] == self._cursor
            self._at, self._cursor, self._is_chosen = at, self._keys[at], True
            if is_again:
                self.action_open()

    def action_open(self) -> None:
        """Open the row under the cursor."""
        if self._cursor is not None:
            self.post_message(self.Opened(self, self._cursor))

    def on_resize(self) -> None:
        """Keep the cursor in view."""
        super().on_resize()
        self._scroll()

    def _scroll(self) -> None:
        self.first = scrolled(self.first, self._at, self.rows_in_view, len(self._keys))
