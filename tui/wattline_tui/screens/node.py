"""Node screen: its lease, its health, every GPU with its recent power and its limiting factor."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.markup import escape

from wattline_protocol.ids import NodeId
from wattline_protocol.site.labels import labels_text
from wattline_protocol.text.visible import visible_line
from wattline_protocol.text.wording import listed
from wattline_protocol.views.history_views import (
    HISTORY_STEP_S,
    MAX_SUBJECTS,
    GetHistory,
    History,
    Series,
)
from wattline_protocol.views.history_views import Subject as HistorySubject
from wattline_protocol.views.site_views import NodeView
from wattline_protocol.wire.client_messages import Answer, Request
from wattline_tui.actions import Place
from wattline_tui.limits import when
from wattline_tui.listing.gpus import Powers, gpu_rows, gpu_table
from wattline_tui.listing.rows import Rows
from wattline_tui.messages import OpenJob
from wattline_tui.model import View
from wattline_tui.screens.base import ListScreen, Subject
from wattline_tui.units import duration, watts
from wattline_tui.widgets.facts import Facts
from wattline_tui.widgets.list_pane import ListPane
from wattline_tui.widgets.list_table import ListTable
from wattline_tui.widgets.sparkline import spark

MOST_TASKS = 12
CURVE_WIDTH = 36


class NodeScreen(ListScreen):
    """Opened from the heat map."""

    CSS_PATH = "node.tcss"
    place: ClassVar[Place] = "list"

    def __init__(self, node: NodeId) -> None:
        super().__init__()
        self.node = node
        self._asked_unix_s = 0.0
        self._view = View()
        self._series: dict[HistorySubject, Series] = {}

    def content(self) -> ComposeResult:
        """Facts on top, GPUs below."""
        rows = Rows(gpu_table, lambda row: row.key)
        with Vertical(id="content"):
            yield Facts(id="facts")
            yield ListPane(ListTable(rows, id="gpus"), "GPUs", id="pane")

    def on_mount(self) -> None:
        """Keys act on the GPUs."""
        self.query_one(ListTable).focus()

    def draw(self, view: View) -> None:
        """Draw the current state of the node."""
        self._view = view
        node = view.node(self.node)
        facts = self.query_one(Facts)
        facts.border_title = escape(visible_line(self.node))
        if node is None:
            facts.show(f"The site no longer has node {self.node}.")
            return
        now_s = view.site.unix_s if view.site else 0.0
        facts.show(facts_of(node, view, now_s, self._drawn_of_node()))
        self.query_one(ListTable).show(gpu_rows(node, view, self._powers()), now_s)

    @property
    def request(self) -> Request | None:
        """The last 15 minutes of the node and its GPUs, where there is a new step of them."""
        site, node = self._view.site, self._view.node(self.node)
        if site is None or node is None or site.unix_s - self._asked_unix_s < HISTORY_STEP_S:
            return None
        self._asked_unix_s = site.unix_s
        gpus = [HistorySubject("gpu", self.node, gpu.index) for gpu in node.gpus]
        return GetHistory((HistorySubject("node", self.node), *gpus)[:MAX_SUBJECTS])

    def show_answer(self, answer: Answer, now_unix_s: float) -> None:
        """Draw the last 15 minutes."""
        del now_unix_s
        if isinstance(answer, History):
            self._series = {one.subject: one for one in answer.series}
            self.draw(self._view)

    def _powers(self) -> Powers:
        return {
            subject.gpu: [value or 0.0 for value in one.columns.get("power_w", ())]
            for subject, one in self._series.items()
            if subject.kind == "gpu"
        }

    def _drawn_of_node(self) -> str:
        """A curve of the draw within what is committed; empty before the first answer."""
        one = self._series.get(HistorySubject("node", self.node))
        if one is None:
            return ""
        drawn = [value or 0.0 for value in one.columns.get("drawn_w", ())]
        committed = [value or 0.0 for value in one.columns.get("committed_w", ())]
        return spark(drawn, CURVE_WIDTH, max([*committed, *drawn], default=0.0))

    def on_list_table_opened(self, event: ListTable.Opened) -> None:
        """Open the job on a GPU."""
        event.stop()
        row = event.table.rows.row
        if row is not None and row.gpu.job is not None:
            self.post_message(OpenJob(row.gpu.job))

    def subject(self) -> Subject:
        """This node."""
        return Subject("node", (self.node,))


def facts_of(node: NodeView, view: View, now_s: float, drawn: str = "") -> str:
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
        *([f"draw in 15 min, of what was committed: {drawn}"] if drawn else []),
        f"{room} · CPU {node.cpu_pct:.0f} %",
        f"tasks: {listed(_tasks(node, view), MOST_TASKS) or 'none'}",
        *([node.reserved] if node.reserved else []),
    ]
    return "\n".join([*lines, *(f"! {problem}" for problem in node.problems), *_foreign(node)])


def _tasks(node: NodeView, view: View) -> list[str]:
    """`1.0#1 resnet-ablation of ada`, by job, as many as fit into a few lines."""
    jobs = {f"{job.id}": job for job in view.site.jobs} if view.site else {}
    found = []
    for task in node.tasks:
        job = jobs.get(task.partition(".")[0])
        found.append(task if job is None else f"{task} of {job.owner}")
    return found


def _foreign(node: NodeView) -> list[str]:
    """Processes of no job, GPU by GPU."""
    return [
        f"! GPU {gpu.index}: {one.text} is of no job" for gpu in node.gpus for one in gpu.foreign
    ]
