"""One list: only the lines in view are rendered; cursor and chosen rows are kept by key."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from wattline_protocol.lists.column import Column
from wattline_protocol.lists.fit import GAP, filled, fitting, widths
from wattline_protocol.lists.kinds import TIME
from wattline_protocol.lists.table import INDENT
from wattline_protocol.lists.tones import TONES
from wattline_protocol.text.moments import when
from wattline_protocol.text.visible import visible_line
from wattline_tui.actions import bindings
from wattline_tui.listing.drawn import Drawn
from wattline_tui.listing.rows import Rows

MARK_WIDTH = 2
"""In front of each line: whether it is chosen."""

HEAD_LINES = 1

MEASURED_LINES = 40
"""At least so many rows from the first in view on have a say in the widths: a list whose height is
that of its rows is measured before it has it."""

LEAST_TEXT = 14
"""A name may take this much, and up to a fifth of the width where no column has to leave for that;
what is longer is cut at `…`."""

LEAST_FIGURE = 24
"""The same of what is no name: a date with its time is whole."""


@dataclass(slots=True)
class _Fitted:
    """A column with its width, which grows with what comes into view."""

    column: Column[Any]
    width: int

    @property
    def weight(self) -> int:
        return self.column.weight

    @property
    def grows(self) -> bool:
        return self.column.grows


class ListTable(ScrollView, can_focus=True):
    """Rows of any list that has a table of columns."""

    DEFAULT_CSS = "ListTable { overflow-x: hidden; overflow-y: scroll; height: 1fr; }"
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "list--head",
        "list--sorted",
        "list--cursor",
        "list--chosen",
        "list--empty",
        "list--alert",
        *(f"tone--{tone}" for tone in set(TONES.values())),
    }
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("rows")]

    @dataclass
    class Opened(Message):
        """Enter, or a double click on a row."""

        table: "ListTable"
        key: str

    @dataclass
    class Changed(Message):
        """Another row is under the cursor, or others are chosen."""

        table: "ListTable"

    @dataclass
    class HeadClicked(Message):
        """A click on the heading of a column."""

        column: Column[Any]

    def __init__(self, rows: Rows[Any], *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.rows = rows
        self._widths: dict[str, int] = {}
        self._cells: dict[str, dict[str, str]] = {}
        self._shown: list[_Fitted] = []
        self._styles: dict[str, Style] = {}

    # --- content ----------------------------------------------------------------------------

    def show(self, rows: Iterable[Any], now_unix_s: float) -> None:
        """Show exactly these rows."""
        before = self.rows.cursor
        self.rows.update(rows, now_unix_s)
        self._redraw(before)

    def select(self, where_text: str) -> None:
        """Show those that meet a condition. Raises ValueError."""
        before = self.rows.cursor
        self.rows.select(where_text)
        self._widths.clear()
        self._redraw(before)

    def sort(self, order_text: str) -> None:
        """Sort them. Raises ValueError."""
        self.rows.sort(order_text)
        self._widths.clear()
        self._redraw(self.rows.cursor)
        self._reveal()

    def find(self, key: str) -> bool:
        """Move the cursor to that row; False: it is not shown."""
        found = self.rows.find(key)
        self._moved()
        return found

    @property
    def hidden(self) -> list[str]:
        """Usual columns that do not fit."""
        if not self._shown:
            return []
        shown = {one.column.name for one in self._shown}
        return [one.name for one in self.rows.table.chosen(None) if one.name not in shown]

    def _redraw(self, cursor_before: int) -> None:
        """The cursor stays on its line of the screen where the rows above it have changed."""
        self._cells.clear()
        self.virtual_size = Size(0, len(self.rows.shown) + HEAD_LINES)
        shift = self.rows.cursor - cursor_before
        if shift and self.scroll_y:
            self.scroll_to(y=self.scroll_y + shift, animate=False, immediate=True)
        self._fit()
        self.refresh()
        self.post_message(self.Changed(self))

    # --- keys and mouse ---------------------------------------------------------------------

    def action_move(self, by: int) -> None:
        """A row up or down."""
        self._move_to(self.rows.cursor + by)

    def action_page(self, by: int) -> None:
        """A page up or down."""
        self._move_to(self.rows.cursor + by * max(1, self.size.height - HEAD_LINES - 1))

    def action_end(self, by: int) -> None:
        """The first or the last row."""
        self._move_to(0 if by < 0 else len(self.rows.keys))

    def action_open(self) -> None:
        """Open the row under the cursor."""
        key = self.rows.at_cursor
        if key is not None:
            self.post_message(self.Opened(self, key))

    def choose(self) -> None:
        """Choose the row under the cursor, or no longer, and go to the next."""
        self.rows.choose()
        self.action_move(1)

    def choose_all(self) -> None:
        """Choose all that are shown, or none."""
        self.rows.choose_all()
        self._moved()

    def choose_none(self) -> None:
        """Choose no row."""
        self.rows.chosen.clear()
        self._moved()

    def on_click(self, event: events.Click) -> None:
        """Move the cursor; twice: open. On the head: sort."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        event.stop()
        if offset.y < HEAD_LINES:
            self._click_head(offset.x)
            return
        at = self.scroll_offset.y + offset.y - HEAD_LINES
        if at < len(self.rows.keys):
            self._move_to(at)
            if event.chain > 1:
                self.action_open()

    def _click_head(self, x: int) -> None:
        left = MARK_WIDTH
        for one, width in zip(self._shown, self._line_widths(), strict=True):
            if left <= x < left + width + GAP:
                self.post_message(self.HeadClicked(one.column))
                return
            left += width + GAP

    def on_focus(self) -> None:
        """Keys act here now: the cursor shows."""
        self.refresh()

    def on_blur(self) -> None:
        """Keys act elsewhere: the cursor would mislead."""
        self.refresh()

    def on_resize(self) -> None:
        """Another width has other columns."""
        self._widths.clear()
        self._cells.clear()
        self._fit()
        self._reveal()
        self.refresh()  # one that was hidden has drawn no columns yet
        self.post_message(self.Changed(self))

    def _move_to(self, at: int) -> None:
        """Where nothing scrolls, two lines change."""
        before, top = self.rows.cursor, self.scroll_offset.y
        self.rows.move_to(at)
        self._reveal()
        if self.scroll_offset.y == top:
            lines = {before, self.rows.cursor}
            width = self.size.width
            self.refresh(*(Region(0, HEAD_LINES + at - top, width, 1) for at in lines))
        self.post_message(self.Changed(self))

    def _moved(self) -> None:
        self._reveal()
        self._fit()
        self.refresh()
        self.post_message(self.Changed(self))

    def _reveal(self) -> None:
        """Scroll so that the cursor is in view."""
        lines = max(1, self.size.height - HEAD_LINES)
        at, top = self.rows.cursor, round(self.scroll_y)
        wanted = min(top, at) if at < top else max(top, at - lines + 1)
        if wanted != top:
            self.scroll_to(y=wanted, animate=False, immediate=True)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Other rows come into view."""
        super().watch_scroll_y(old_value, new_value)
        if round(old_value) != round(new_value):
            self._fit()

    @property
    def _width(self) -> int:
        """Without the scroll bar."""
        return self.scrollable_content_region.width

    # --- lines ------------------------------------------------------------------------------

    def _fit(self) -> None:
        """Choose the columns that fit, by what is in view."""
        width = self._width - MARK_WIDTH
        if width <= 0:
            return
        columns = self.rows.table.columns
        top = self.scroll_offset.y
        bottom = top + max(MEASURED_LINES, self.size.height)
        for at in range(top, min(bottom, len(self.rows.shown))):
            self._widen(at, columns)
        usual = [self._fitted(one, LEAST_TEXT) for one in columns if one.is_usual]
        more = [self._fitted(one, LEAST_TEXT) for one in columns if not one.is_usual]
        names = {one.column.name for one in filled(usual, more, width)}
        self._shown = self._widest([one for one in columns if one.name in names], width)

    def _widest(self, chosen: Sequence[Column[Any]], width: int) -> list[_Fitted]:
        """Names get as much as leaves every one of these columns its place."""
        for most_text in range(max(LEAST_TEXT, self._width // 5), LEAST_TEXT, -1):
            shown = [self._fitted(one, most_text) for one in chosen]
            if len(fitting(shown, width)) == len(shown):
                return shown
        return [self._fitted(one, LEAST_TEXT) for one in chosen]

    def _fitted(self, column: Column[Any], most_text: int) -> _Fitted:
        least, wide = len(column.heading) + 1, self._widths.get(column.name, 0)
        if isinstance(column, Drawn):
            return _Fitted(column, max(least, column.least))
        if not column.grows:
            most = most_text if column.kind.is_text else max(LEAST_FIGURE, most_text)
            wide = min(wide, most)
        return _Fitted(column, max(least, wide))

    def _widen(self, at: int, columns: Sequence[Column[Any]]) -> None:
        key, row = self.rows.keys[at], self.rows.shown[at]
        if key in self._cells:
            return
        cells = self._cells[key] = {
            one.name: visible_line(self._cell(one, row))
            for one in columns
            if not isinstance(one, Drawn)
        }
        if self.rows.depths:
            cells[columns[0].name] = INDENT * self.rows.depths[at] + cells[columns[0].name]
        for name, text in cells.items():
            wide = cell_len(text)
            if wide > self._widths.get(name, 0):
                self._widths[name] = wide

    def _cell(self, column: Column[Any], row: Any) -> str:
        """A time without its date where that is today's."""
        at = column.value(row) if column.kind is TIME and column.text is None else None
        if isinstance(at, int | float):
            return when(at, self.rows.now_unix_s)
        return column.cell(row)

    def _line_widths(self) -> list[int]:
        """What is left goes to the columns that are drawn."""
        width = self._width - MARK_WIDTH
        found = widths(self._shown, width)
        left = width - sum(found) - GAP * len(found)
        for at, one in enumerate(self._shown):
            if isinstance(one.column, Drawn) and left > 0:
                more = min(left, one.column.most - found[at])
                found[at], left = found[at] + more, left - more
        return found

    def render_line(self, y: int) -> Strip:
        """The heading, or a row."""
        width, base = self._width, self.rich_style
        if y < HEAD_LINES:
            return self._strip(self._head(), width, self._look("list--head"))
        at = self.scroll_offset.y + y - HEAD_LINES
        if at >= len(self.rows.shown):
            empty = " " * MARK_WIDTH + self._empty() if at == 0 else ""
            return self._strip([Segment(empty, self._look("list--empty"))], width, base)
        return self._strip(self._row(at), width, self._line_look(at))

    def _strip(self, segments: Sequence[Segment], width: int, style: Style) -> Strip:
        return Strip(segments).adjust_cell_length(width, style).apply_style(self.rich_style)

    def _empty(self) -> str:
        return "Nothing meets the condition." if self.rows.total else self.rows.table.empty

    def _head(self) -> list[Segment]:
        head, sorted_by = self._look("list--head"), self._look("list--sorted")
        order = {column.name: is_reversed for column, is_reversed in self.rows.order}
        segments = [Segment(" " * MARK_WIDTH, head)]
        for one, width in zip(self._shown, self._line_widths(), strict=True):
            column = one.column
            mark = {True: "▾", False: "▴"}[order[column.name]] if column.name in order else ""
            heading = column.heading
            if isinstance(column, Drawn) and column.head is not None:
                heading = column.head(width)
            text = _set_width(heading + mark, width, is_right=column.kind.is_right)
            segments.append(Segment(text + " " * GAP, sorted_by if mark else head))
        return segments

    def _row(self, at: int) -> list[Segment]:
        row, key = self.rows.shown[at], self.rows.keys[at]
        self._widen(at, self.rows.table.columns)
        cells, line = self._cells[key], self._line_look(at)
        mark = "●" if key in self.rows.chosen else " "
        segments = [Segment(f"{mark} ", line)]
        for one, width in zip(self._shown, self._line_widths(), strict=True):
            column = one.column
            text = column.draw(row, width) if isinstance(column, Drawn) else cells[column.name]
            text = _set_width(text, width, is_right=column.kind.is_right)
            segments.append(Segment(text, line + self._tone(one.column, row, cells)))
            segments.append(Segment(" " * GAP, line))
        return segments

    def _line_look(self, at: int) -> Style:
        if at == self.rows.cursor and self.has_focus:
            return self._look("list--cursor")
        if self.rows.keys[at] in self.rows.chosen:
            return self._look("list--chosen")
        return self.rich_style

    def _tone(self, column: Column[Any], row: Any, cells: dict[str, str]) -> Style:
        if column.is_alarm is not None and column.is_alarm(row):
            return self._look("list--alert")
        tone = TONES.get(cells[column.name]) if column.kind.is_word else None
        return Style.null() if tone is None else self._look(f"tone--{tone}")

    def _look(self, name: str) -> Style:
        return self.get_component_rich_style(name, partial=True)


def _set_width(text: str, width: int, *, is_right: bool) -> str:
    """In exactly that many characters; what is cut ends in `…`."""
    wide = cell_len(text)
    if wide > width:
        return set_cell_size(text, width - 1) + "…"
    blanks = " " * (width - wide)
    return blanks + text if is_right else text + blanks
