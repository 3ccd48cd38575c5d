"""Totals below a list."""

from collections import Counter
from collections.abc import Iterable, Sequence

from wattline_protocol.lists.node_table import draw_w, free
from wattline_protocol.text.wording import listed, watts
from wattline_protocol.views.site_views import ENDED_STATES, JobView, NodeView

LOST = frozenset({"silent", "never heard", "quarantined"})


def node_totals(nodes: Sequence[NodeView]) -> str:
    """`12 in use, 3 idle, 1 draining · free: 14 H100, 2 A100 · 81.2 kW`."""
    uses = Counter(map(_use, nodes))
    order = ("in use", "idle", "draining", "off", "lost")
    parts = [", ".join(f"{uses[use]:,} {use}" for use in order if uses[use])]
    open_nodes = [node for node in nodes if _use(node) in ("in use", "idle")]
    by_model: Counter[str] = Counter()
    for node in open_nodes:
        by_model[_model(node)] += free(node)
    models = [f"{count:,} {model}" for model, count in by_model.most_common() if count]
    parts.append(f"free GPUs: {listed(models, 4) or 'none'}")
    parts.append(watts(sum(map(draw_w, nodes))))
    return " · ".join(part for part in parts if part)


def _use(node: NodeView) -> str:
    if node.state in LOST:
        return "lost"
    if node.state in ("draining", "drained"):
        return "draining"
    if node.state == "off":
        return "off"
    return "in use" if node.gpus_busy or node.tasks else "idle"


def _model(node: NodeView) -> str:
    """Short: `H100`."""
    names = [name.removeprefix("NVIDIA ").partition(" ")[0] for name in node.gpu_models]
    return "/".join(names) or "GPU"


def open_totals(jobs: Iterable[JobView]) -> str:
    """`412 running · 96 waiting · 3 held`."""
    states = Counter(job.state for job in jobs if job.state not in ENDED_STATES)
    running = states["RUNNING"] + states["STARTING"] + states["PAUSED"]
    held = states["HELD"]
    waiting = states.total() - running - held
    counts = ((running, "running"), (waiting, "waiting"), (held, "held"))
    return " · ".join(f"{count:,} {word}" for count, word in counts if count or word != "held")


def job_totals(jobs: Sequence[JobView]) -> str:
    """The same, with those that have ended."""
    ended = sum(job.state in ENDED_STATES for job in jobs)
    return f"{open_totals(jobs)} · {ended:,} ended"
