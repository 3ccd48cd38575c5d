"""A panel that shows rendered lines, and scrolls by keys and mouse."""

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import BindingType
from textual.events import Click, MouseScrollDown, MouseScrollUp
from textual.markup import escape
from textual.strip import Strip
from textual.widget import Widget

from wattline_protocol.text.visible import visible_line
from wattline_tui.actions import bindings
from wattline_tui.render.lines import ROLES, Line, Role, fitted

CLASS = "panel--"
TO_THE_END = 1_000_000
"""More lines than any panel has."""


class Panel(Widget, can_focus=True):
    """Draws `lines()` for its size; a subclass knows what a row is and which one has the cursor."""

    DEFAULT_CSS = """
    Panel { border: round $foreground 25%; border-title-color: $primary; }
    Panel { border-title-style: bold; border-subtitle-color: $foreground-muted; }
    Panel:focus { border: round $primary; }
    Panel .panel--muted { color: $foreground-muted; }
    Panel .panel--title { color: $foreground-muted; text-style: bold; }
    Panel .panel--measured { color: $text-success; }
    Panel .panel--committed { color: $text-primary; }
    Panel .panel--free { color: $foreground-disabled; }
    Panel .panel--limit { color: $text-warning; text-style: bold; }
    Panel .panel--over { color: $text-error; text-style: bold; }
    Panel .panel--warning { color: $text-warning; }
    Panel .panel--alarm { color: $text-error; text-style: bold; }
    Panel .panel--cursor { background: $primary-muted; color: $foreground; text-style: bold; }
    Panel .panel--heat-0 { color: $foreground-muted; }
    Panel .panel--heat-1 { color: $heat-1; }
    Panel .panel--heat-2 { color: $heat-2; }
    Panel .panel--heat-3 { color: $heat-3; }
    Panel .panel--heat-4 { color: $heat-4; }
    Panel .panel--owner-0 { color: $text-primary; }
    Panel .panel--owner-1 { color: $text-success; }
    Panel .panel--owner-2 { color: $text-warning; }
    Panel .panel--owner-3 { color: $text-secondary; }
    Panel .panel--owner-4 { color: $text-accent; }
    Panel .panel--owner-5 { color: $text-error; }
    App:nocolor Panel .panel--cursor { text-style: reverse; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"{CLASS}{role}" for role in ROLES if role}
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("rows")]

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's own parameter name
        super().__init__(id=id)
        self._strips: list[Strip] | None = None
        self._styles: dict[Role, Style] = {}

    # --- of each panel --------------------------------------------------------------------

    def lines(self, width: int, height: int) -> Sequence[Line]:
        """What is in view; implemented by each panel."""
        del width, height
        return ()

    def move(self, by: int) -> None:
        """Move the cursor, or scroll where there is none; implemented by each panel."""

    def action_open(self) -> None:
        """Open the row under the cursor; implemented by panels of rows."""

    def open_at(self, y: int) -> None:
        """A click on this line; implemented by each panel."""

    # --- drawing --------------------------------------------------------------------------

    def redraw(self) -> None:
        """What it shows has changed."""
        self._strips = None
        self.refresh()

    def titled(self, title: str, subtitle: str = "") -> None:
        """Names of users and domains in a title are text, not markup."""
        self.border_title = escape(visible_line(title))
        self.border_subtitle = escape(visible_line(subtitle))

    def notify_style_update(self) -> None:
        """Another theme: other colours."""
        super().notify_style_update()
        self._styles.clear()
        self._strips = None

    def on_resize(self) -> None:
        """Lines are laid out for a size."""
        self._strips = None

    def on_focus(self) -> None:
        """The cursor shows where keys act."""
        self.redraw()

    def on_blur(self) -> None:
        """Keys act elsewhere."""
        self.redraw()

    def render_line(self, y: int) -> Strip:
        """One line of the panel; all are rendered at once when something has changed."""
        width, height = self.size
        if self._strips is None:
            shown = self.lines(width, height)
            self._strips = [self._strip(one, width) for one in shown[:height]]
        if y < len(self._strips):
            return self._strips[y]
        return Strip.blank(width, self.rich_style)

    def _strip(self, of: Line, width: int) -> Strip:
        base = self.rich_style
        pieces = [
            Segment(text, base + self._style(role) if role else base)
            for text, role in fitted(of, width)
        ]
        return Strip(pieces).adjust_cell_length(width, base)

    def _style(self, role: Role) -> Style:
        known = self._styles.get(role)
        if known is None:
            known = self.get_component_rich_style(f"{CLASS}{role}", partial=True)
            self._styles[role] = known
        return known

    # --- keys and mouse -------------------------------------------------------------------

    def action_move(self, by: int) -> None:
        """Up and down."""
        self.move(by)
        self.redraw()

    def action_page(self, by: int) -> None:
        """A screenful."""
        self.action_move(by * max(1, self.size.height - 1))

    def action_end(self, by: int) -> None:
        """The first or the last row."""
        self.action_move(by * TO_THE_END)

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        """Three lines."""
        event.stop()
        self.action_move(3)

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        """Three lines."""
        event.stop()
        self.action_move(-3)

    def on_click(self, event: Click) -> None:
        """Select what is under the pointer."""
        event.stop()
        offset = event.get_content_offset(self)
        if offset is not None:
            self.open_at(offset.y)
            self.redraw()
