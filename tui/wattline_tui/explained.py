"""Why a job is pending, as text: the same value that `wattline explain` shows."""

from wattline_protocol.text.moments import when
from wattline_protocol.text.wording import counted, listed
from wattline_protocol.views.site_views import ExplainView


def explained(view: ExplainView, now_unix_s: float) -> str:
    """The reason, the start time, its position, what is missing where, and remedies."""
    lines = [f"Job {view.job} is {view.state}" + (f": {view.reason}" if view.reason else "")]
    if view.nodes_needed:  # none: it has its nodes
        feasible = f"{view.nodes_feasible} of {counted(view.nodes_total, 'node')} could take it now"
        lines += [f"{feasible}, {view.nodes_needed} needed", _start(view, now_unix_s)]
    lines += _where(view)
    if view.place is not None:
        lines += view.place.lines
    if view.refusals:
        lines += ["", "Missing"]
        lines += [
            f"  {r.filter}, {counted(r.nodes_refused, 'node')}: {r.missing}" for r in view.refusals
        ]
    if view.remedies:
        lines += ["", "What would let it start now", *(f"  {r.text}" for r in view.remedies)]
    return "\n".join(lines)


def _where(view: ExplainView) -> list[str]:
    """The nodes, where it would start now."""
    return [f"It would start on {listed(view.start_nodes)}"] if view.start_nodes else []


def _start(view: ExplainView, now_unix_s: float) -> str:
    if view.start_unix_s is None:
        return f"Start: {view.start_why}"
    return f"Start: about {when(view.start_unix_s, now_unix_s)}, {view.start_why}"
