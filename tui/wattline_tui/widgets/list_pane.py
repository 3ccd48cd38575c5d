"""A list with its filter: the table, and a line to type a condition in."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from wattline_protocol.lists.column import Column
from wattline_protocol.lists.where import MAX_CHARS
from wattline_protocol.text.visible import visible_line
from wattline_protocol.text.wording import counted
from wattline_tui.actions import bindings
from wattline_tui.widgets.choose import Choose, Item
from wattline_tui.widgets.list_table import ListTable

Totals = Callable[[Sequence[Any]], str]
"""Of the rows that are shown."""


class FilterLine(Input):
    """A condition; a text that is pasted is cut where a condition ends."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave", show=False)]

    def insert_text_at_cursor(self, text: str) -> None:
        """As much of it as still fits."""
        super().insert_text_at_cursor(text[: MAX_CHARS - len(self.value)])

    def replace(self, text: str, start: int, end: int) -> None:
        """Likewise."""
        super().replace(text[: MAX_CHARS - len(self.value) + abs(end - start)], start, end)

    def action_leave(self) -> None:
        """Close the line with the condition that was in force before."""
        pane = self.parent
        if isinstance(pane, ListPane):
            pane.leave_filter()


class ListPane(Vertical):
    """`/` filters, `s` sorts, Space and `*` choose rows."""

    DEFAULT_CSS = """
    ListPane { height: 1fr; }
    ListPane FilterLine { padding: 0 1; display: none; }
    ListPane .fault { height: auto; max-height: 3; padding: 0 1; display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("list")]

    def __init__(
        self,
        table: ListTable,
        title: str,
        *,
        id: str,  # noqa: A002 - Textual's name
        totals: Totals | None = None,
    ) -> None:
        super().__init__(id=id)
        self.table = table
        self.title = title
        self.facts = ""
        """Below the list; `totals` take its place."""
        self._totals = totals
        self._counted: Sequence[Any] | None = None
        """The rows that `facts` counts."""
        self._before = ""
        self._titles = ("", "")

    def compose(self) -> ComposeResult:
        """Table, filter, what is wrong with it."""
        yield self.table
        names = ", ".join(one.name for one in self.table.rows.table.columns)
        hint = f"a condition as for --where, on {names}"
        yield FilterLine(placeholder=hint, max_length=MAX_CHARS, compact=True)
        yield Static("", classes="fault", markup=False)

    @property
    def _line(self) -> FilterLine:
        return self.query_one(FilterLine)

    # --- filter -----------------------------------------------------------------------------

    def action_filter(self) -> None:
        """Open the line."""
        self._before = self.table.rows.where_text
        line = self._line
        line.value = self._before
        line.display = True
        line.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Each valid text is in force at once."""
        event.stop()
        if self._line.display:
            self._try(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter closes the line, if it is valid."""
        event.stop()
        if self._try(event.value):
            self._close()

    def leave_filter(self) -> None:
        """Back to the condition before."""
        self._try(self._before)
        self._close()

    def select(self, where_text: str) -> None:
        """Show what meets a condition. Raises ValueError."""
        self.table.select(where_text)
        self.retitle()

    def clear_filter(self) -> bool:
        """Show all again; False: all are shown."""
        if not self.table.rows.where_text:
            return False
        self.select("")
        return True

    def _try(self, text: str) -> bool:
        fault = ""
        try:
            self.select(text)
        except ValueError as error:
            fault = visible_line(str(error))
        self._show_fault(fault)
        return not fault

    def _show_fault(self, fault: str) -> None:
        shown = self.query_one(".fault", Static)
        shown.update(fault)
        shown.display = bool(fault)

    def _close(self) -> None:
        self._show_fault("")
        self._line.display = False
        self.table.focus()

    # --- order ------------------------------------------------------------------------------

    def action_sort(self) -> None:
        """Choose a column, or type an order."""
        columns = self.table.rows.table.columns
        items = [
            Item(one.name, one.heading.capitalize(), one.kind.name, (one.name,)) for one in columns
        ]
        now = self.table.rows.order_text or "its own order"
        self.app.push_screen(
            Choose(f"Sort by (now: {now})", items, hint="a column, or an order: -gpus,user"),
            self._chosen_order,
        )

    def _chosen_order(self, chosen: Item | str | None) -> None:
        self._sort_by(chosen.id if isinstance(chosen, Item) else chosen)

    def on_list_table_head_clicked(self, event: ListTable.HeadClicked) -> None:
        """The same by mouse."""
        event.stop()
        self._sort_by(event.column.name)

    def _sort_by(self, text: str | None) -> None:
        if text is None:
            return
        try:
            self.table.sort(self._turned(text))
        except ValueError as error:
            self.app.notify(str(error), severity="error", title="Not sorted")
        self.retitle()

    def _turned(self, text: str) -> str:
        """The same column again turns the order; numbers begin with the greatest."""
        rows = self.table.rows
        by_name: dict[str, Column[Any]] = {one.name: one for one in rows.table.columns}
        if text not in by_name:
            return text
        if rows.order_text.lstrip("-") == text:
            return text if rows.order_text.startswith("-") else f"-{text}"
        return f"-{text}" if by_name[text].kind.is_right else text

    # --- chosen rows ------------------------------------------------------------------------

    def action_choose(self) -> None:
        """The row under the cursor, or no longer."""
        self.table.choose()

    def action_choose_all(self) -> None:
        """All that are shown, or none."""
        self.table.choose_all()

    def on_list_table_changed(self) -> None:
        """Cursor, rows or columns are others."""
        self.retitle()

    def choose_none(self) -> bool:
        """No row any more; False: none was chosen."""
        if not self.table.rows.chosen:
            return False
        self.table.choose_none()
        return True

    # --- titles -----------------------------------------------------------------------------

    def retitle(self) -> None:
        """What is shown, in which order, and what is not shown."""
        rows, table = self.table.rows, self.table
        parts = [self.title]
        if rows.where_text:
            parts.append(f"{len(rows.shown):,} of {rows.total:,} with {rows.where_text}")
        if rows.order_text:
            parts.append(f"by {rows.order_text}")
        if rows.chosen:
            parts.append(f"{len(rows.chosen):,} chosen")
        self._count()
        below = [self.facts] if self.facts else []
        if table.hidden:
            below.append(f"+{counted(len(table.hidden), 'column')}")
        titles = " · ".join(parts), " · ".join(below)
        if titles != self._titles:  # each assignment draws the whole list
            self._titles = titles
            table.border_title, table.border_subtitle = map(_plain, titles)

    def _count(self) -> None:
        """Not for each move of the cursor."""
        shown = self.table.rows.shown
        if self._totals is not None and shown is not self._counted:
            self._counted, self.facts = shown, self._totals(shown)


def _plain(text: str) -> Content:
    return Content(visible_line(text))
