"""Why a job waits, as data: per filter, how many nodes it refused and what was missing."""

from wattline_protocol.ids import JobId
from wattline_protocol.views import ExplainView, FilterRefusal, JobState
from wattline_scheduler.plan.feasible import FILTERS, refusal
from wattline_scheduler.plan.gang import place_gang
from wattline_scheduler.plan.snapshot import FilterName, Shape, Snapshot
from wattline_scheduler.plan.trial import Trial


def refusals(trial: Trial, shape: Shape) -> tuple[list[int], tuple[FilterRefusal, ...]]:
    """Feasible positions, and for each filter that refused nodes: how many and the least lack."""
    fits: list[int] = []
    refused: dict[FilterName, list[str]] = {}
    for at in range(len(trial.offers)):
        one = refusal(trial, at, shape)
        if one is None:
            fits.append(at)
        else:
            refused.setdefault(one.name, []).append(
                f"{trial.offers[at].node}: {one.missing(trial, at, shape)}"
            )
    order = [one.name for one in FILTERS]
    rows = tuple(
        FilterRefusal(name, len(refused[name]), _some(refused[name]))
        for name in sorted(refused, key=order.index)
    )
    return fits, rows


SHOWN = 3
"""Nodes named in one explanation; the number says how many there are."""


def _some(lines: list[str]) -> str:
    more = f"; and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return "; ".join(lines[:SHOWN]) + more


def wait_reason(trial: Trial, shape: Shape) -> str:
    """Why a gang did not fit, in a line: what the nodes that got furthest lack."""
    fits, rows = refusals(trial, shape)
    if len(fits) >= shape.nodes:
        return _gang_reason(shape)
    if not rows:
        return f"needs {shape.nodes} nodes, the site has {len(fits)}"
    nearest = rows[-1]
    where = f"{len(fits)} of {shape.nodes} nodes found; " if shape.nodes > 1 else ""
    return f"{where}waits for {nearest.filter}: {nearest.missing}"


def _gang_reason(shape: Shape) -> str:
    if shape.same_rack:
        return f"no rack has {shape.nodes} such nodes with watts for all of them"
    return f"{shape.nodes} nodes would do one by one, but their domains lack watts for all"


def explain(
    snapshot: Snapshot, job: JobId, state: JobState, reason: str, shape: Shape
) -> ExplainView:
    """The whole answer to "why does it wait?". `reason` is shown when nothing else stops it."""
    trial = Trial(snapshot)
    fits, rows = refusals(trial, shape)
    if len(fits) >= shape.nodes and place_gang(trial, shape) is None:
        rows = (*rows, FilterRefusal("rack", len(fits), _gang_reason(shape)))
    return ExplainView(
        job=job,
        state=state,
        reason=reason,
        nodes_total=len(snapshot.nodes),
        nodes_feasible=len(fits),
        nodes_needed=shape.nodes,
        refusals=rows,
    )
