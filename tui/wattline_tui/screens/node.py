"""Node screen: lease and health, host, every GPU with its recent power, and what runs on them."""

from functools import partial
from typing import ClassVar

import msgspec
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.markup import escape

from wattline_protocol.ids import GpuIndex, NodeId
from wattline_protocol.site.labels import labels_text
from wattline_protocol.text.moments import when
from wattline_protocol.text.visible import visible_line
from wattline_protocol.views.history_views import (
    HISTORY_STEP_S,
    MAX_SUBJECTS,
    GetHistory,
    History,
)
from wattline_protocol.views.history_views import Subject as HistorySubject
from wattline_protocol.views.site_views import NodeView
from wattline_protocol.wire.client_messages import Answer, GetNode, Nodes, Request
from wattline_tui.actions import Place
from wattline_tui.listing.gpus import gpu_rows, gpu_table
from wattline_tui.listing.rows import Rows
from wattline_tui.messages import OpenJob
from wattline_tui.model import View
from wattline_tui.render.host import host_lines
from wattline_tui.render.lines import Line
from wattline_tui.render.node_charts import NodeHistory, gpu_chart_lines, node_chart_lines
from wattline_tui.render.node_heights import node_heights
from wattline_tui.render.processes import entries, process_lines
from wattline_tui.screens.base import ListScreen, Subject
from wattline_tui.units import duration, watts
from wattline_tui.widgets.facts import Facts
from wattline_tui.widgets.list_pane import ListPane
from wattline_tui.widgets.list_table import ListTable
from wattline_tui.widgets.rendered_panel import RenderedPanel

WIDE_FROM = 110
"""A narrower screen has no frames around its panels, and charts of GPUs only."""
CHROME_LINES = 2
"""Status line and keys."""


class NodeScreen(ListScreen):
    """Opened from the heat map."""

    CSS_PATH = "node.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (WIDE_FROM, "-wide")]  # noqa: RUF012 - Textual's
    place: ClassVar[Place] = "list"

    def __init__(self, node: NodeId, gpu: str = "") -> None:
        """`gpu`: the index of the one that the cursor is put on at first."""
        super().__init__()
        self.node = node
        self._first_gpu = gpu
        self._asked_unix_s = 0.0
        self._view = View()
        self._details: NodeView | None = None
        """The answer to GetNode: with its host, and with its GPUs on a site of any size."""
        self._history = NodeHistory()

    def content(self) -> ComposeResult:
        """Facts and host on top, GPUs below, then their charts and what runs on them."""
        rows = Rows(gpu_table, lambda row: row.key)
        with Vertical(id="content"):
            yield Facts(id="facts")
            yield RenderedPanel(id="host")
            yield ListPane(ListTable(rows, id="gpus"), "GPUs", id="pane")
            with Horizontal(id="charts"):
                yield RenderedPanel(id="gpu-charts")
                yield RenderedPanel(id="node-charts")
            yield RenderedPanel(id="processes")

    def on_mount(self) -> None:
        """Keys act on the GPUs."""
        titles = {"host": "host", "processes": "processes"}
        titles |= {"gpu-charts": "power against cap", "node-charts": "draw against lease"}
        for name, title in titles.items():
            self._panel(name).titled(title, "last 15 minutes" if "charts" in name else "")
        self.query_one(ListTable).focus()

    def _panel(self, name: str) -> RenderedPanel:
        return self.query_one(f"#{name}", RenderedPanel)

    # --- drawing ----------------------------------------------------------------------------

    def draw(self, view: View) -> None:
        """Draw the current state of the node."""
        self._view = view
        node, facts = self._shown(), self.query_one("#facts", Facts)
        facts.border_title = escape(visible_line(self.node))
        if node is None:
            facts.show(f"The site no longer has node {self.node}.")
            return
        facts.show(facts_of(node, self._now_s))
        powers = self._history.powers_w(node)
        table = self.query_one(ListTable)
        table.show(gpu_rows(node, view, powers), self._now_s)
        if self._first_gpu and table.find(self._first_gpu):
            self._first_gpu = ""
        self._panel("host").show(lambda width, _: host_lines(node, width))
        self._panel("processes").show(partial(process_lines, node))
        self._draw_charts(node)
        self._fit(node)

    @property
    def _now_s(self) -> float:
        return self._view.site.unix_s if self._view.site else 0.0

    def _shown(self) -> NodeView | None:
        """The details, as long as the site has the node; its state is that of the picture."""
        node, known = self._view.node(self.node), self._details
        if node is None or known is None:
            return node
        gpus = node.gpus if len(node.gpus) == len(known.gpus) else known.gpus
        return msgspec.structs.replace(node, host=known.host, gpus=gpus)

    def _draw_charts(self, node: NodeView) -> None:
        history, now_s, selected = self._history, self._now_s, self._selected()
        is_wide = self.size.width >= WIDE_FROM

        def gpus(width: int, height: int) -> list[Line]:
            of = (node, history, selected, now_s, (width, height))
            return gpu_chart_lines(*of, with_node=not is_wide)

        def whole(width: int, height: int) -> list[Line]:
            return node_chart_lines(node, history, now_s, (width, height))

        self._panel("gpu-charts").show(gpus)
        self._panel("node-charts").show(whole)

    def _selected(self) -> GpuIndex | None:
        row = self.query_one(ListTable).rows.row
        return None if row is None else GpuIndex(row.gpu.index)

    def _fit(self, node: NodeView) -> None:
        """Each part gets its lines of this screen."""
        is_wide = self.size.width >= WIDE_FROM
        border = 2 if is_wide else 0
        heights = node_heights(
            self.size.height - CHROME_LINES,
            facts=facts_of(node, self._now_s).count("\n") + 1,
            host=len(host_lines(node, self.size.width - border)),
            gpus=len(self.query_one(ListTable).rows.shown),
            processes=len(entries(node)),
            border=border,
        )
        parts = {
            "#facts": heights.facts,
            "#host": heights.host,
            "#pane": heights.table,
            "#charts": heights.charts,
            "#processes": heights.processes,
        }
        for name, lines in parts.items():
            part = self.query_one(name)
            part.display = lines > 0
            part.styles.height = lines
        self._panel("node-charts").display = is_wide

    def on_resize(self) -> None:
        """Other heights."""
        node = self._shown()
        if node is not None:
            self._fit(node)

    def on_list_table_changed(self) -> None:
        """Another GPU is under the cursor."""
        node = self._shown()
        if node is not None:
            self._draw_charts(node)

    # --- requests ---------------------------------------------------------------------------

    @property
    def requests(self) -> tuple[Request, ...]:
        """The node in full; and its last 15 minutes, where there is a new step of them."""
        site, node = self._view.site, self._shown()
        if site is None or node is None:
            return ()
        if site.unix_s - self._asked_unix_s < HISTORY_STEP_S:
            return (GetNode(self.node),)
        self._asked_unix_s = site.unix_s
        gpus = [HistorySubject("gpu", self.node, gpu.index) for gpu in node.gpus]
        return GetNode(self.node), GetHistory(
            (HistorySubject("node", self.node), *gpus)[:MAX_SUBJECTS]
        )

    def show_answer(self, answer: Answer, now_unix_s: float) -> None:
        """Draw it."""
        del now_unix_s
        if isinstance(answer, History):
            self._history = NodeHistory(answer)
        elif isinstance(answer, Nodes) and len(answer.nodes) == 1:
            self._details = answer.nodes[0]
        else:
            return
        self.draw(self._view)

    # --- what keys act on -------------------------------------------------------------------

    def on_list_table_opened(self, event: ListTable.Opened) -> None:
        """Open the job on a GPU."""
        event.stop()
        row = event.table.rows.row
        if row is not None and row.gpu.job is not None:
            self.post_message(OpenJob(row.gpu.job))

    def subject(self) -> Subject:
        """The GPUs that are chosen or under the cursor, as parts of this node."""
        node, table = Subject("node", (self.node,)), self.query_one(ListTable)
        picked = table.rows.picked if table.has_focus else ()
        gpus = dict.fromkeys(f"{self.node}/{key.partition('/')[0]}" for key in picked)
        return Subject("GPU", tuple(gpus), node) if gpus else node


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
    lines = [
        f"{state} · rack {node.rack}{labels} · heard {heard}{marked}",
        f"{power} · committed {watts(node.committed_w)} · floor {watts(node.floor_w)}",
        f"inlet {inlet} · cooling {node.cooling_zone or '–'} · inputs {', '.join(node.inputs)}",
        *([node.reserved] if node.reserved else []),
        *(f"! cordoned: {one.text}" for one in node.cordons),
    ]
    return "\n".join([*lines, *(f"! {problem}" for problem in node.problems)])
