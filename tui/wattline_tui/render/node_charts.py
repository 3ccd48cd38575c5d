"""Charts of a node: power of its GPUs against their caps, its draw against its lease. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from wattline_protocol.ids import GpuIndex, NodeId
from wattline_protocol.views.history_views import HISTORY_S, History, Series, Subject
from wattline_protocol.views.site_views import GpuView, NodeView
from wattline_tui.render.charts import Chart, chart_lines
from wattline_tui.render.lines import Line
from wattline_tui.render.timeline import NO_SAMPLES, Samples, Span, samples_of
from wattline_tui.units import watts

Size = tuple[int, int]
"""Width and height in cells."""

ROWS_OF_ALL = 2
"""With fewer rows a GPU, only the one under the cursor has a chart."""


@dataclass(frozen=True, slots=True)
class NodeHistory:
    """The last 15 minutes of a node and its GPUs."""

    history: History | None = None

    def of_node(self, node: NodeId, column: str) -> Samples:
        """One column of the node."""
        return self._of(Subject("node", node), column)

    def of_gpu(self, node: NodeId, gpu: GpuIndex, column: str) -> Samples:
        """One column of a GPU."""
        return self._of(Subject("gpu", node, gpu), column)

    def powers_w(self, node: NodeView) -> Mapping[GpuIndex, Samples]:
        """Of each GPU."""
        return {gpu.index: self.of_gpu(node.id, gpu.index, "power_w") for gpu in node.gpus}

    def _of(self, subject: Subject, column: str) -> Samples:
        found: Iterable[Series] = () if self.history is None else self.history.series
        series = next((one for one in found if one.subject == subject), None)
        if series is None or self.history is None:
            return NO_SAMPLES
        return samples_of(self.history, series, column)


def recent(now_unix_s: float) -> Span:
    """The last 15 minutes."""
    return Span(now_unix_s - HISTORY_S, now_unix_s)


def gpu_chart_lines(
    node: NodeView,
    history: NodeHistory,
    selected: GpuIndex | None,
    now_unix_s: float,
    size: Size,
    *,
    with_node: bool,
) -> list[Line]:
    """Of all GPUs where each gets some rows; else of the selected one. `with_node`: the node has no
    chart elsewhere, and gets one below it where there is room."""
    width, height = size
    chosen = [gpu for gpu in node.gpus if gpu.index == selected] or list(node.gpus[:1])
    is_all = (height - 1) // max(1, len(node.gpus)) >= ROWS_OF_ALL
    charts = [gpu_chart(node, gpu, history) for gpu in (node.gpus if is_all else chosen)]
    if not charts or (with_node and not is_all and height > len(charts) + 1):
        charts.append(draw_chart(node, history))
    return chart_lines(charts, recent(now_unix_s), width, height, from_end=True)


def node_chart_lines(
    node: NodeView, history: NodeHistory, now_unix_s: float, size: Size
) -> list[Line]:
    """Draw, inlet and processors of the node."""
    charts = [draw_chart(node, history), _cpu_chart(node, history), _inlet_chart(node, history)]
    shown = [chart for chart in charts if chart.samples.known]
    return chart_lines(shown or charts[:1], recent(now_unix_s), *size, from_end=True)


def gpu_chart(node: NodeView, gpu: GpuView, history: NodeHistory) -> Chart:
    """Power against the cap, on a scale up to its highest cap."""
    cap = f"cap {watts(gpu.cap_w)}" if gpu.can_cap else "no cap"
    return Chart(
        (f"GPU {gpu.index} {watts(gpu.power_w)}", cap, f"top {watts(gpu.cap_max_w)}"),
        history.of_gpu(node.id, gpu.index, "power_w"),
        0.0,
        gpu.cap_max_w,
        history.of_gpu(node.id, gpu.index, "cap_w") if gpu.can_cap else NO_SAMPLES,
    )


def draw_chart(node: NodeView, history: NodeHistory) -> Chart:
    """The draw of the node against what is committed for its lease."""
    drawn, committed = (history.of_node(node.id, column) for column in ("drawn_w", "committed_w"))
    drawn_w = node.estimated_w if node.measured_w is None else node.measured_w
    return Chart(
        (f"node {watts(drawn_w)}", f"lease {watts(node.lease_w)}"),
        drawn,
        0.0,
        max((*drawn.known, *committed.known, 1.0)),
        committed,
    )


def _cpu_chart(node: NodeView, history: NodeHistory) -> Chart:
    return Chart(
        (f"CPU {node.cpu_pct:.0f} %", "top 100 %"),
        history.of_node(node.id, "cpu_pct"),
        0.0,
        100.0,
        role="committed",
    )


def _inlet_chart(node: NodeView, history: NodeHistory) -> Chart:
    """On the scale of its own values: a degree shows."""
    inlet = history.of_node(node.id, "inlet_c")
    low_c, top_c = min(inlet.known, default=0.0), max(inlet.known, default=0.0)
    now = "–" if node.inlet_c is None else f"{node.inlet_c:.1f} °C"
    label = (f"inlet {now}", f"{low_c:.1f} to {top_c:.1f}")
    return Chart(label, inlet, low_c, top_c, role="committed")
