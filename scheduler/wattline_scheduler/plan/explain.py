"""Why a job waits, as data: per filter, how many nodes it refused and what was missing."""

import numpy as np

from wattline_protocol.ids import JobId
from wattline_protocol.views import ExplainView, FilterRefusal, JobState
from wattline_scheduler.plan.feasible import (
    Filter,
    filters_of,
    furthest,
    may_fit_once,
    refusing,
)
from wattline_scheduler.plan.gang import place_gang
from wattline_scheduler.plan.reservations import ANY_STAY, Stay
from wattline_scheduler.plan.snapshot import Shape, Snapshot
from wattline_scheduler.plan.trial import Trial
from wattline_scheduler.power.matrix import Ints

SHOWN = 3
"""Nodes named in one explanation; the number says how many there are."""


def refusals(
    trial: Trial, shape: Shape, stay: Stay = ANY_STAY
) -> tuple[int, tuple[FilterRefusal, ...]]:
    """How many nodes fit, and for each filter that refused any: how many, and what they lack."""
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

    Of those that will never do something is said only where there are no others: that a node is
    drained is worth more than that the others are of another type. The line is told of all jobs of
    the shape that may start on the same nodes, so it says nothing of this one alone.
    """
    number, filters = furthest(trial, shape, stay), filters_of(stay, is_alike=True)
    refused = number < len(filters)
    fits = len(number) - int(refused.sum())
    if fits >= shape.nodes:
        return _gang_reason(shape)
    if not refused.any():
        return f"needs {shape.nodes} nodes, the site has {fits}"
    able = refused & may_fit_once(trial, shape)
    told = able if able.any() else refused
    last = int(number[told].max())
    lacking = _lacking(trial, shape, np.flatnonzero(told & (number == last)), filters[last])
    where = f"{fits} of {shape.nodes} nodes found; " if shape.nodes > 1 else ""
    return f"{where}waits for {filters[last].name}: {lacking}"


def _gang_reason(shape: Shape) -> str:
    if shape.same_rack:
        return f"no rack has {shape.nodes} such nodes with watts for all of them"
    return f"{shape.nodes} nodes would do one by one, but their domains lack watts for all"


def explain(
    snapshot: Snapshot,
    job: JobId,
    state: JobState,
    reason: str,
    shape: Shape,
    stay: Stay = ANY_STAY,
) -> ExplainView:
    """The whole answer to "why does it wait?". `reason` is shown when nothing else stops it."""
    trial = Trial(snapshot)
    fits, rows = refusals(trial, shape, stay)
    is_placed = fits >= shape.nodes and place_gang(trial, shape, (), trial.barred(stay)) is not None
    if fits >= shape.nodes and not is_placed:
        rows = (*rows, FilterRefusal("rack", fits, _gang_reason(shape)))
    return ExplainView(
        job=job,
        state=state,
        reason=reason,
        nodes_total=len(snapshot.nodes),
        nodes_feasible=fits,
        nodes_needed=shape.nodes,
        refusals=rows,
    )
