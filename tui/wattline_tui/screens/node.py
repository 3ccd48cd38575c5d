"""Node screen: its lease, its health, every GPU with its recent power and its limiting factor."""

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.markup import escape

from wattline_protocol.ids import NodeId
from wattline_protocol.site.labels import labels_text
from wattline_protocol.text.visible import visible_line
from wattline_protocol.views.site_views import GpuView, NodeView
from wattline_tui.actions import Place
from wattline_tui.holders import held_in_short, holders_of
from wattline_tui.limits import when
from wattline_tui.model import View
from wattline_tui.screens.base import SiteScreen, Subject
from wattline_tui.units import duration, reasons, watts
from wattline_tui.widgets.facts import Facts
from wattline_tui.widgets.sparkline import spark
from wattline_tui.widgets.tables import Row, SteadyTable

COLUMNS = (
    "GPU",
    "type",
    "power, last minute",
    "now",
    "cap",
    "°C",
    "util",
    "MHz",
    "job",
    "limited by",
)
SPARK_WIDTH = 24


class NodeScreen(SiteScreen):
    """Opened from the heat map."""

    CSS_PATH = "node.tcss"
    place: ClassVar[Place] = "node"

    def __init__(self, node: NodeId) -> None:
        super().__init__()
        self.node = node

    def content(self) -> ComposeResult:
        """Facts on top, GPUs below."""
        with Vertical(id="content"):
            yield Facts(id="facts")
            yield SteadyTable(COLUMNS, id="gpus")

    def draw(self, view: View) -> None:
        """Draw the current state of the node."""
        node = view.node(self.node)
        facts = self.query_one(Facts)
        facts.border_title = escape(visible_line(self.node))
        if node is None:
            facts.show(f"The site no longer has node {self.node}.")
            return
        facts.show(facts_of(node, view.site.unix_s if view.site else 0.0))
        table = self.query_one(SteadyTable)
        table.border_title = "GPUs"
        rows = (_rows(gpu, view.history.get((node.id, gpu.index), ()), view) for gpu in node.gpus)
        table.show([row for of_gpu in rows for row in of_gpu])

    def subject(self) -> Subject:
        """This node."""
        return Subject("node", (self.node,))


def facts_of(node: NodeView, now_s: float) -> str:
    """The node in a few lines."""
    inlet = "–" if node.inlet_c is None else f"{node.inlet_c:.1f} °C"
    measured = watts(node.measured_w)
    if node.measured_w is None:
        measured = f"not measured, about {watts(node.estimated_w)}"
    heard = "never" if node.heard_ago_s is None else f"{duration(node.heard_ago_s)} ago"
    state = node.state + (f" ({node.reason})" if node.reason else "")
    if node.drained_unix_s is not None:
        state += f" since {when(node.drained_unix_s, now_s)}"
    marked = " · simulated hardware" if node.simulated else ""
    labels = f" · {labels_text(node.labels.items())}" if node.labels else ""
    power = f"drawing {measured} · lease {watts(node.lease_w)}"
    room = f"inlet {inlet} · cooling {node.cooling_zone or '–'} · inputs {', '.join(node.inputs)}"
    lines = [
        f"{state} · rack {node.rack}{labels} · heard {heard}{marked}",
        f"{power} · committed {watts(node.committed_w)} · floor {watts(node.floor_w)}",
        f"{room} · CPU {node.cpu_pct:.0f} %",
        f"tasks: {', '.join(node.tasks) if node.tasks else 'none'}",
        *([node.reserved] if node.reserved else []),
    ]
    return "\n".join([*lines, *(f"! {problem}" for problem in node.problems)])


def _rows(gpu: GpuView, history: tuple[float, ...], view: View) -> list[Row]:
    """Rows of the GPU, and of each part of it where it is shared or partitioned."""
    parts = [
        (f"{gpu.index}/{n}", ("", f"  {part}", *[""] * 6, holder, ""))
        for n, (part, holder) in enumerate(holders_of(gpu, view))
    ]
    return [_row(gpu, history), *parts]


def _row(gpu: GpuView, history: tuple[float, ...]) -> Row:
    def known(value: int | None, unit: str = "") -> str:
        return "–" if value is None else f"{value}{unit}"

    limited = "lost" if not gpu.healthy else reasons(gpu.reasons)
    return str(gpu.index), (
        str(gpu.index),
        gpu.name.removeprefix("NVIDIA "),
        Text(spark(history, SPARK_WIDTH, gpu.cap_max_w)),
        watts(gpu.power_w),
        watts(gpu.cap_w) if gpu.can_cap else "cannot cap",
        known(gpu.temp_c),
        known(gpu.util_pct, " %"),
        known(gpu.sm_clock_mhz),
        held_in_short(gpu),
        limited,
    )
