"""A panel whose lines a function renders for its size."""

from collections.abc import Sequence

from wattline_tui.render.lines import Line, Render
from wattline_tui.widgets.panel import Panel


class RenderedPanel(Panel, can_focus=False):
    """It has no cursor: keys act elsewhere."""

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's own parameter name
        super().__init__(id=id)
        self._of: Render | None = None

    def show(self, of: Render) -> None:
        """Draw these lines from now on."""
        self._of = of
        self.redraw()

    def lines(self, width: int, height: int) -> Sequence[Line]:
        """None before the first."""
        return () if self._of is None else self._of(width, height)
