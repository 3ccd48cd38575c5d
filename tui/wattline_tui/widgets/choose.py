"""Chooses one of many by name: what is typed narrows the list."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from wattline_protocol.text.visible import visible_line
from wattline_tui.listing.names import folded, nearest_names

MOST = 200
"""Names that are offered at once."""

MAX_TYPED = 256


@dataclass(frozen=True, slots=True)
class Item:
    """One choice."""

    id: str
    label: str
    note: str = ""
    names: tuple[str, ...] = ()
    """By which it is found as well; empty ones do not count."""

    @property
    def line(self) -> Content:
        """As text, without markup."""
        note = f"  {visible_line(self.note)}" if self.note else ""
        return Content(visible_line(self.label) + note)


class Choose(ModalScreen[Item | str | None]):
    """Enter returns the one that matches best, or the one that was moved to, or what was typed
    where nothing matches; Esc None."""

    CSS_PATH = "choose.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave"),
        Binding("up", "move(-1)", "Up", priority=True),
        Binding("down", "move(1)", "Down", priority=True),
    ]

    def __init__(self, title: str, items: Sequence[Item], hint: str) -> None:
        super().__init__()
        self._title, self._items, self._hint = title, items, hint
        self._names = [folded((one.label, *one.names)) for one in items]
        self._offered: list[Item] = []
        self._best = 0
        self._has_moved = False

    def compose(self) -> ComposeResult:
        """What is typed above, choices below."""
        with Vertical(classes="choose"):
            yield Input(placeholder=self._hint, max_length=MAX_TYPED, compact=True)
            yield OptionList(markup=False)

    def on_mount(self) -> None:
        """All are offered."""
        self.query_one(Vertical).border_title = Content(visible_line(self._title))
        self._offer("")

    @property
    def _list(self) -> OptionList:
        return self.query_one(OptionList)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Offer what matches."""
        self._offer(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """The highlighted one, if it is clear which is meant."""
        at = self._list.highlighted
        if at is None:
            self.dismiss(event.value.strip() or None)
        elif self._best > 1 and not self._has_moved:
            self._say(f"{self._best:,} match equally well: ↑ and ↓ choose, or type more")
        else:
            self.dismiss(self._offered[at])

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """A click."""
        self.dismiss(self._offered[event.option_index])

    def action_move(self, by: int) -> None:
        """Another choice."""
        self._has_moved = True
        if by < 0:
            self._list.action_cursor_up()
        else:
            self._list.action_cursor_down()

    def action_leave(self) -> None:
        """Choose nothing."""
        self.dismiss(None)

    def _offer(self, typed: str) -> None:
        found = nearest_names(typed, self._names, MOST)
        self._best, self._has_moved = found.best, False
        items = self._offered = [self._items[at] for at in found.at]
        shown = self._list
        shown.clear_options()
        shown.add_options([Option(one.line) for one in items])
        shown.highlighted = 0 if items else None
        more = len(self._items) > len(items) == MOST
        self._say(f"the first {MOST}" if more else "")

    def _say(self, text: str) -> None:
        self.query_one(Vertical).border_subtitle = text
