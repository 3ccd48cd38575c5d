"""Wait reasons as data: per filter, the number of refused nodes and what they lacked."""

import numpy as np

from wattline_protocol.ids import JobId
from wattline_protocol.site.labels import labels_text
from wattline_protocol.text.wording import counted
from wattline_protocol.views.site_views import ExplainView, FilterRefusal, JobState
from wattline_scheduler.plan.model.reserved_nodes import ANY_STAY, Stay
from wattline_scheduler.plan.model.shape import Shape
from wattline_scheduler.plan.model.snapshot import FilterName, Snapshot
from wattline_scheduler.plan.model.task_request import labels_of_any
from wattline_scheduler.plan.search.feasible import (
    Filter,
    filters_of,
    furthest,
    may_fit_once,
    refusing,
)
from wattline_scheduler.plan.search.gang import place_gang, place_most, racks_for
from wattline_scheduler.plan.search.trial import Trial
from wattline_scheduler.power.topology.matrix import Bools, Ints

SHOWN = 3
"""Nodes named in one explanation, beside their total number."""


def refusals(
    trial: Trial, shape: Shape, stay: Stay = ANY_STAY
) -> tuple[int, tuple[FilterRefusal, ...]]:
    """Number of nodes that fit, and per refusing filter: the number refused, and what they lack."""
    number, filters = refusing(trial, shape, stay), filters_of(stay)
    counts = np.bincount(number, minlength=len(filters) + 1).tolist()
    rows = tuple(
        FilterRefusal(
            one.name, counts[at], _lacking(trial, shape, np.flatnonzero(number == at), one)
        )
        for at, one in enumerate(filters)
        if counts[at]
    )
    return counts[-1], rows


def _lacking(trial: Trial, shape: Shape, nodes: Ints, refused: Filter) -> str:
    named = (
        f"{trial.snapshot.nodes[at].node}: {refused.missing(trial, at, shape)}"
        for at in nodes[:SHOWN].tolist()
    )
    more = f"; and {len(nodes) - SHOWN} more" if len(nodes) > SHOWN else ""
    return "; ".join(named) + more


def wait_reason(trial: Trial, shape: Shape, stay: Stay = ANY_STAY) -> str:
    """Why a gang did not fit, in a line: what the nodes that got furthest lack.

    Nodes that can never fit are reported only if there are no others: that a node is drained is
    more useful than that others have the wrong type. The line applies to all jobs of the shape that
    may start on the same nodes, so it contains nothing specific to one job.
    """
    number, filters = furthest(trial, shape, stay), filters_of(stay, is_alike=True)
    refused = number < len(filters)
    fits = len(number) - int(refused.sum())
    if fits >= shape.nodes:
        return gang_reason(trial, shape, fits, stay)
    if not refused.any():
        return f"needs {counted(shape.nodes, 'node')}, the site has {fits}"
    able = refused & may_fit_once(trial, shape)
    where = f"{fits} of {shape.nodes} nodes found; " if shape.nodes > 1 else ""
    return where + _waits_for(trial, shape, stay, number, able if able.any() else refused)


def _waits_for(trial: Trial, shape: Shape, stay: Stay, number: Ints, considered: Bools) -> str:
    """What those of these nodes lack that got furthest."""
    last = int(number[considered].max())
    refused = filters_of(stay, is_alike=True)[last]
    if refused.name == "labels" and (absent := shape.labels - labels_of_any(trial.columns)):
        return f"no node has {labels_text(absent)}"
    lacking = _lacking(trial, shape, np.flatnonzero(considered & (number == last)), refused)
    what = "an available node" if refused.name == "state" else refused.name
    return f"waits for {what}: {lacking}"


def gang_reason(
    trial: Trial,
    shape: Shape,
    fits: int,
    stay: Stay = ANY_STAY,
    elsewhere: Bools | None = None,
) -> str:
    """Why enough single nodes fit but not the gang: what others lack after placing part of it.

    `elsewhere`: [node] excluded.
    """
    barred, mark = _either(trial.barred(stay), elsewhere), trial.checkpoint()
    if shape.same_rack:
        racks = racks_for(trial, shape, barred)
        if not racks:
            return f"{counted(fits, 'node')} suitable, but no rack has {shape.nodes} of them"
        elsewhere = _either(trial.columns.rack != racks[-1], elsewhere)
    found = len(place_most(trial, shape, (), elsewhere, barred))
    number = furthest(trial, shape, stay)
    considered = number < len(filters_of(stay))
    considered = considered if elsewhere is None else considered & ~elsewhere
    text = "queued, not yet evaluated"
    if found < shape.nodes:
        text = _waits_for(trial, shape, stay, number, considered)
    trial.rollback(mark)
    where = " in one rack" if shape.same_rack else ""
    return f"{found} of {shape.nodes} nodes found{where}; {text}"


def _either(one: Bools | None, other: Bools | None) -> Bools | None:
    if one is None or other is None:
        return other if one is None else one
    return one | other


def explain(
    snapshot: Snapshot,
    job: JobId,
    state: JobState,
    reason: str,
    shape: Shape,
    stay: Stay = ANY_STAY,
) -> ExplainView:
    """The complete answer to "why does it wait?". `reason` is shown when nothing else stops it."""
    trial = Trial(snapshot)
    fits, rows = refusals(trial, shape, stay)
    is_placed = fits >= shape.nodes and place_gang(trial, shape, (), trial.barred(stay)) is not None
    if fits >= shape.nodes and not is_placed:
        name: FilterName = "rack" if shape.same_rack else "gang"
        rows = (*rows, FilterRefusal(name, fits, gang_reason(trial, shape, fits, stay)))
    return ExplainView(
        job=job,
        state=state,
        reason=reason,
        nodes_total=len(snapshot.nodes),
        nodes_feasible=fits,
        nodes_needed=shape.nodes,
        refusals=rows,
    )
