"""Racks as a heat map: a row a node, a cell a GPU, each cell with its number."""

from typing import ClassVar

from rich.text import Text

from wattline_protocol.views.site_views import GpuView, NodeView, SiteView
from wattline_tui.model import heat_level, heat_text
from wattline_tui.units import is_capped, is_hot, kilowatts
from wattline_tui.widgets.tables import Row, SteadyTable


class NodeTable(SteadyTable):
    """Nodes by rack. A cell is tens of watts or °C, with `▾` if limited by its cap, `!` by heat."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *SteadyTable.COMPONENT_CLASSES,
        "heat--0",
        "heat--1",
        "heat--2",
        "heat--3",
        "heat--4",
        "heat--lost",
        "node--bad",
    }

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's own parameter name
        super().__init__(("rack", "node", "GPUs", "kW", "state", "lease", "in °C"), id=id)
        self.by_temperature = False

    def show_site(self, site: SiteView) -> None:
        """Draw this snapshot."""
        self.border_title = "racks"
        self.border_subtitle = "°C" if self.by_temperature else "GPU power, tens of W · ▾ capped"
        nodes = sorted(site.nodes, key=lambda n: (n.rack, n.id))
        self.show([self._row(node) for node in nodes])

    def _row(self, node: NodeView) -> Row:
        draw_w = node.measured_w if node.measured_w is not None else node.estimated_w
        inlet = "–" if node.inlet_c is None else f"{node.inlet_c:.0f}"
        state = Text()
        state.append(node.state, "" if node.state == "ok" else self._style("node--bad"))
        return node.id, (
            node.rack,
            node.id,
            self._heat(node.gpus),
            kilowatts(draw_w),
            state,
            kilowatts(node.lease_w),
            inlet,
        )

    def _heat(self, gpus: tuple[GpuView, ...]) -> Text:
        cells = Text()
        for gpu in gpus:
            lost = not gpu.healthy
            level = heat_level(gpu, by_temperature=self.by_temperature)
            style = self._style("heat--lost" if lost else f"heat--{level}")
            mark = "!" if is_hot(gpu) else "▾" if is_capped(gpu) else " "
            cells.append(heat_text(gpu, by_temperature=self.by_temperature) + mark, style)
        return cells

    def _style(self, name: str) -> str:
        return str(self.get_component_rich_style(name, partial=True))
