"""Nodes as a listing, and one in full."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from wattline.lists.list_of import ListOf
from wattline.show import units
from wattline.show.problems import sentence
from wattline.show.styles import alarm, state
from wattline.show.tables import Cell, Column, Listing, facts
from wattline_protocol.lists.node_table import drained, draw, heard, node_table
from wattline_protocol.site.labels import labels_text
from wattline_protocol.text.clock_reasons import clock_reasons
from wattline_protocol.text.wording import about_size, counted
from wattline_protocol.views.cache_view import CacheView
from wattline_protocol.views.site_views import GpuView, NodeView, OutOfBandView

LIST = ListOf[Sequence[NodeView], NodeView](node_table)


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
        *_host(node),
        *([("data cache", _cache(node.cache))] if node.cache is not None else []),
        ("tasks", "\n".join(node.tasks) or "none"),
        *([("cordoned", "\n".join(one.text for one in node.cordons))] if node.cordons else []),
    ]
    pairs += [(p.severity, sentence(p)) for p in node.open_problems]
    listed = "\n".join(p.evidence for p in node.open_problems)
    pairs += [("problem", alarm(text)) for text in node.problems if text not in listed]
    return Group(facts(pairs), Text(""), _gpus(node.gpus))


def _host(node: NodeView) -> list[tuple[str, Cell]]:
    host = node.host
    if host is None:
        return [("CPU", f"{node.cpu_pct:.0f} %")]
    measured = (("disk", host.disk_text), ("network", host.link_text))
    known = [("CPU", host.cpu_text), ("memory", host.memory_text)]
    return [*known, *((name, text) for name, text in measured if text)]


def _cache(cache: CacheView) -> Cell:
    """Its size, and what it has and fetches."""
    if cache.error:
        return alarm(cache.error)
    size = f"{about_size(cache.used_bytes)} of {about_size(cache.limit_bytes)}"
    texts = [size, counted(cache.versions, "version")]
    if cache.fetching:
        share = 100 * cache.fetched_bytes // max(1, cache.fetches_bytes)
        texts.append(f"{counted(cache.fetching, 'fetch', 'fetches')}: {share} %")
    if cache.waiting:
        texts.append(f"{cache.waiting} waiting")
    if cache.failed:
        texts.append(f"{cache.failed} failed")
    if cache.copying:
        texts.append(f"stores checkpoints of {counted(cache.copying, 'job')}")
    return ", ".join(texts)


def _gpus(gpus: Sequence[GpuView]) -> Listing:
    return Listing(
        columns=(
            Column("GPU", [str(g.index) for g in gpus], is_right=True),
            Column("MODEL", [g.name for g in gpus], weight=4),
            Column("POWER", [units.watts(g.power_w) for g in gpus], is_right=True),
            Column("CAP", [cap(g) for g in gpus], is_right=True),
            Column("TEMP", [temperature(g) for g in gpus], is_right=True, weight=1),
            Column("BUSY", [_percent(g.util_pct) for g in gpus], is_right=True, weight=2),
            Column("CLOCK", [_clock(g) for g in gpus], is_right=True, weight=5),
            Column("MEMORY", [memory(g) for g in gpus], is_right=True, weight=6),
            Column("JOB", [_jobs(g) for g in gpus], is_right=True),
            Column("LIMITED BY", [_reasons(g) for g in gpus], grows=True),
        ),
        empty="No GPUs.",
    )


def cap(gpu: GpuView) -> str:
    """The limit in force; `none` where it cannot be set."""
    return units.watts(gpu.cap_w) if gpu.can_cap else "none"


def temperature(gpu: GpuView) -> str:
    """`60 °C, 27 below`: how far it is from where the hardware slows it down."""
    margin_c = gpu.margin_c
    if margin_c is None:
        return units.celsius(gpu.temp_c)
    side = "below" if margin_c >= 0 else "above"
    return f"{units.celsius(gpu.temp_c)}, {abs(margin_c)} {side}"


def memory(gpu: GpuView) -> str:
    """Used of all."""
    if gpu.memory_used_bytes is None:
        return units.NOT_KNOWN
    return f"{gpu.memory_used_bytes / 2**30:.1f}/{gpu.memory_bytes / 2**30:.0f} GiB"


def _jobs(gpu: GpuView) -> str:
    """Its jobs; `cordoned` where none may start on it."""
    if not gpu.is_cordoned:
        return gpu.jobs or units.NOT_KNOWN
    return f"{gpu.jobs}, cordoned" if gpu.jobs else "cordoned"


def _percent(value: int | None) -> str:
    return units.NOT_KNOWN if value is None else f"{value} %"


def _clock(gpu: GpuView) -> str:
    """With the ceiling, where the clocks are locked."""
    now = units.NOT_KNOWN if gpu.sm_clock_mhz is None else f"{gpu.sm_clock_mhz} MHz"
    return f"{now} ≤ {gpu.locked_mhz}" if gpu.locked_mhz else now


def _reasons(gpu: GpuView) -> Text:
    if not gpu.healthy:
        return alarm("not healthy")
    return Text(clock_reasons(gpu.reasons))
