"""Nodes as a listing, and one in full."""

from collections.abc import Sequence
from typing import get_args

from rich.console import Group, RenderableType
from rich.text import Text

from wattline.lists.list_of import ListOf
from wattline.show import units
from wattline.show.problems import sentence
from wattline.show.styles import alarm, state, throttle
from wattline.show.tables import Cell, Column, Listing, facts
from wattline_protocol.lists import kinds
from wattline_protocol.lists.column import Column as ListColumn
from wattline_protocol.lists.table import Table
from wattline_protocol.site.labels import labels_text
from wattline_protocol.text.wording import counted
from wattline_protocol.views.site_views import GpuView, NodeState, NodeView, OutOfBandView


def table(_: float) -> Table[NodeView]:
    """The columns of nodes."""
    own = ListColumn[NodeView]
    return Table(
        (
            own("node", kinds.TEXT, lambda node: node.id),
            own("rack", kinds.TEXT, lambda node: node.rack, weight=5),
            own("state", kinds.choice(*get_args(NodeState)), lambda node: node.state),
            own("gpus", kinds.NUMBER, lambda node: node.gpu_count, text=busy, weight=1),
            own("free", kinds.NUMBER, free, weight=8, is_usual=False),
            own("model", kinds.TEXTS, lambda node: node.gpu_models, weight=8, is_usual=False),
            own("lease", kinds.POWER, lambda node: node.lease_w, weight=2),
            own("committed", kinds.POWER, lambda node: node.committed_w, weight=3),
            own("draw", kinds.POWER, draw_w, text=draw, weight=1),
            own("inlet", kinds.CELSIUS, lambda node: node.inlet_c, weight=6),
            own("cpu", kinds.SHARE, lambda node: node.cpu_pct / 100, weight=7),
            own("heard", kinds.DURATION, lambda node: node.heard_ago_s, text=heard, weight=4),
            own("zone", kinds.TEXT, zone, weight=8, is_usual=False),
            own("inputs", kinds.TEXTS, lambda node: node.inputs, weight=8, is_usual=False),
            own("labels", kinds.TEXTS, labels_of, weight=8, is_usual=False),
            own("simulated", kinds.FLAG, lambda node: node.simulated, weight=8, is_usual=False),
            own("note", kinds.TEXT, note, grows=True, is_alarm=lambda node: bool(node.problems)),
        ),
        empty="The site file has no nodes.",
    )


LIST = ListOf[Sequence[NodeView], NodeView](table)


def free(node: NodeView) -> int:
    """GPUs without a job."""
    return node.gpu_count - node.gpus_busy


def zone(node: NodeView) -> str:
    """Its cooling zone; empty = none."""
    return node.cooling_zone or ""


def labels_of(node: NodeView) -> tuple[str, ...]:
    """`name=value` of each."""
    return tuple(f"{name}={value}" for name, value in sorted(node.labels.items()))


def draw_w(node: NodeView) -> float:
    """Measured watts, or the estimate."""
    return node.estimated_w if node.measured_w is None else node.measured_w


def busy(node: NodeView) -> str:
    """`5/8`: GPUs with a job, of all."""
    return f"{node.gpus_busy}/{node.gpu_count}"


def draw(node: NodeView) -> str:
    """Measured watts, or the estimate with a mark."""
    if node.measured_w is not None:
        return units.watts(node.measured_w)
    return f"~{units.watts(node.estimated_w)}"


def heard(node: NodeView) -> str:
    """Time since it was last heard."""
    return "never" if node.heard_ago_s is None else units.seconds(node.heard_ago_s)


def note(node: NodeView) -> str:
    """Its problem, or a remark."""
    if node.problems:
        return "; ".join(node.problems)
    simulated = "simulated" if node.simulated else ""
    notes = (node.reason, drained(node), node.reserved, simulated)
    return " · ".join(x for x in notes if x)


def drained(node: NodeView) -> str:
    """Since when it is drained, or by when it will be, as far as known."""
    if node.state == "drained" and node.drained_unix_s is not None:
        return f"since {units.clock(node.drained_unix_s)}"
    if node.state != "draining":
        return ""
    tasks = f"{counted(len(node.tasks), 'task')} left"
    if node.empty_by_unix_s is None:
        return tasks
    return f"{tasks}, until {units.clock(node.empty_by_unix_s)} at the latest"


def _why(node: NodeView) -> str:
    return "".join(f" {text}" for text in (node.reason, drained(node), node.reserved) if text)


OUT_OF_BAND: dict[OutOfBandView, str] = {
    "none": "none: reachable by its agent only",
    "status": "reports whether it is off",
    "off": "switches it off on request of an operator",
    "automatic": "switches it off if a lowered budget is not met otherwise",
}


def detail(node: NodeView) -> RenderableType:
    """Everything about one node."""
    pairs: list[tuple[str, Cell]] = [
        ("node", f"{node.id}, rack {node.rack}" + (" (simulated)" if node.simulated else "")),
        ("state", Text.assemble(state(node.state), _why(node))),
        ("labels", labels_text(node.labels.items()) or "none"),
        ("heard", f"{heard(node)} ago" if node.heard_ago_s is not None else "never"),
        ("lease", f"{units.watts(node.lease_w)}, committed {units.watts(node.committed_w)}"),
        ("draw", f"{draw(node)}, minimum {units.watts(node.floor_w)}"),
        ("power inputs", ", ".join(node.inputs)),
        ("cooling zone", f"{node.cooling_zone or 'none'}, inlet {units.celsius(node.inlet_c)}"),
        ("out of band", OUT_OF_BAND[node.out_of_band]),
        ("CPU", f"{node.cpu_pct:.0f} %"),
        ("tasks", "\n".join(node.tasks) or "none"),
    ]
    pairs += [(p.severity, sentence(p)) for p in node.open_problems]
    listed = "\n".join(p.evidence for p in node.open_problems)
    pairs += [("problem", alarm(text)) for text in node.problems if text not in listed]
    return Group(facts(pairs), Text(""), _gpus(node.gpus))


def _gpus(gpus: Sequence[GpuView]) -> Listing:
    return Listing(
        columns=(
            Column("GPU", [str(g.index) for g in gpus], is_right=True),
            Column("MODEL", [g.name for g in gpus], weight=4),
            Column("POWER", [units.watts(g.power_w) for g in gpus], is_right=True),
            Column("CAP", [cap(g) for g in gpus], is_right=True),
            Column("TEMP", [units.celsius(g.temp_c) for g in gpus], is_right=True, weight=1),
            Column("BUSY", [_percent(g.util_pct) for g in gpus], is_right=True, weight=2),
            Column("CLOCK", [_clock(g) for g in gpus], is_right=True, weight=5),
            Column("MEMORY", [memory(g) for g in gpus], is_right=True, weight=6),
            Column("JOB", [g.jobs or units.NOT_KNOWN for g in gpus], is_right=True),
            Column("LIMITED BY", [_reasons(g) for g in gpus], grows=True),
        ),
        empty="No GPUs.",
    )


def cap(gpu: GpuView) -> str:
    """The limit in force; `none` where it cannot be set."""
    return units.watts(gpu.cap_w) if gpu.can_cap else "none"


def memory(gpu: GpuView) -> str:
    """Used of all."""
    if gpu.memory_used_bytes is None:
        return units.NOT_KNOWN
    return f"{gpu.memory_used_bytes / 2**30:.1f}/{gpu.memory_bytes / 2**30:.0f} GiB"


def _percent(value: int | None) -> str:
    return units.NOT_KNOWN if value is None else f"{value} %"


def _clock(gpu: GpuView) -> str:
    """With the ceiling, where the clocks are locked."""
    now = units.NOT_KNOWN if gpu.sm_clock_mhz is None else f"{gpu.sm_clock_mhz} MHz"
    return f"{now} ≤ {gpu.locked_mhz}" if gpu.locked_mhz else now


def _reasons(gpu: GpuView) -> Text:
    if not gpu.healthy:
        return alarm("not healthy")
    return Text(throttle(gpu.reasons))
