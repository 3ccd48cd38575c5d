"""The fleet: a cell a GPU, or a summary a rack."""

from collections.abc import Mapping, Sequence

from wattline_protocol.ids import JobId
from wattline_protocol.views.site_views import NodeView
from wattline_tui.render.fleet import (
    KEYS,
    Key,
    Rack,
    cell_by,
    fleet_height,
    fleet_lines,
    fleet_title,
    layout_of,
    overview_line,
    racks_of,
)
from wattline_tui.render.lines import Line, with_more
from wattline_tui.widgets.panel import Panel


class FleetPanel(Panel):
    """Scrolls; what its cells show is chosen by key."""

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's own parameter name
        super().__init__(id=id)
        self.key: Key = "power"
        self._racks: Sequence[Rack] = ()
        self._owners: Mapping[JobId, str] = {}
        self._first = 0

    def show(self, nodes: Sequence[NodeView], owners: Mapping[JobId, str]) -> None:
        """Draw these nodes."""
        self._racks, self._owners = racks_of(nodes), owners
        self._changed()

    def show_next(self) -> None:
        """Draw another figure."""
        self.key = KEYS[(KEYS.index(self.key) + 1) % len(KEYS)]
        self._changed()

    def _changed(self) -> None:
        layout = layout_of(self._racks, self.size.width, self.size.height)
        self.titled(*fleet_title(self._racks, self.key, layout))
        self.redraw()

    def on_resize(self) -> None:
        """Another layout."""
        super().on_resize()
        self._changed()

    def lines(self, width: int, height: int) -> Sequence[Line]:
        """One line where there is no room for racks."""
        cell = cell_by(self.key, self._owners)
        if height == 1:
            return [overview_line(self._racks, cell, width)]
        below = self.lines_at(width, height) - self._first - height
        shown = fleet_lines(self._racks, cell, width, height, self._first)
        return with_more(shown, self._first, below, width)

    def lines_at(self, width: int, height: int) -> int:
        """Lines of all racks in a panel of that size."""
        return fleet_height(self._racks, layout_of(self._racks, width, height))

    def move(self, by: int) -> None:
        """Scroll."""
        width, height = self.size
        self._first = max(0, min(self._first + by, self.lines_at(width, height) - height))
