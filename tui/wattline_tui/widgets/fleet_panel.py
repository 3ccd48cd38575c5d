"""The fleet: a cell a GPU, or a summary a rack."""

from collections.abc import Sequence
from itertools import islice

from wattline_protocol.views.site_views import JobView, NodeView
from wattline_tui.render.fleet import (
    KEYS,
    Blocks,
    Key,
    Rack,
    cell_by,
    fleet_height,
    fleet_lines,
    fleet_title,
    layout_of,
    overview_line,
    owners_of,
    racks_of,
)
from wattline_tui.render.lines import Line, ends, used_cells, with_more
from wattline_tui.widgets.panel import Panel


class FleetPanel(Panel):
    """Scrolls; what its cells show is chosen by key."""

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's own parameter name
        super().__init__(id=id)
        self.key: Key = "power"
        self._racks: Sequence[Rack] = ()
        self._jobs: Sequence[JobView] = ()
        self._first = 0
        self._blocks = Blocks()

    def show(self, nodes: Sequence[NodeView], jobs: Sequence[JobView]) -> None:
        """Draw these nodes and the owners of their jobs."""
        self._racks, self._jobs = racks_of(nodes, self._racks), jobs
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
        owners = owners_of(self._jobs) if self.key == "owner" else {}
        cell = cell_by(self.key, owners)
        if height == 1:
            return [overview_line(self._racks, self.key, cell, width)]
        layout = layout_of(self._racks, width, height)
        self._blocks.begin((self.key, owners), layout)
        below = fleet_height(self._racks, layout) - self._first - height
        block = self._blocks.lines
        shown = fleet_lines(self._racks, cell, width, height, self._first, block=block)
        return with_more(self._with_key(shown, width), self._first, below, width)

    def _with_key(self, shown: Sequence[Line], width: int) -> list[Line]:
        """What cells show, at the right of the first line that has room for it: without a frame no
        title says it."""
        lines, key = list(shown), f" {self.key}"
        is_framed = self.size != self.outer_size
        if self._racks and not is_framed:
            spare = (at for at, one in enumerate(lines) if used_cells(one) + len(key) <= width)
            for at in islice(spare, 1):
                lines[at] = ends(lines[at], ((key, "muted"),), width)
        return lines

    def lines_at(self, width: int, height: int) -> int:
        """Lines of all racks in a panel of that size."""
        return fleet_height(self._racks, layout_of(self._racks, width, height))

    def move(self, by: int) -> None:
        """Scroll."""
        width, height = self.size
        self._first = max(0, min(self._first + by, self.lines_at(width, height) - height))
