"""Copy of the site state for one explain query that is answered in parts, between other requests.

The copy includes all that the parts of one answer must agree on: nodes and their offers,
allocations, headroom of domains and quotas, reservations, claims and promised starts. It takes a
few microseconds a node. Observations of running work stay live: runtime, progress, measured draw.
"""

from copy import copy
from dataclasses import replace
from typing import TypeVar

import numpy as np

from wattline_protocol.ids import Now
from wattline_scheduler.core.admission.planner_view import current_fleet_view
from wattline_scheduler.core.model.state import State

T = TypeVar("T")


def frozen(state: State, now: Now) -> State:
    """Returns a copy of the current state, for reads only."""
    books, fleet_view = _own(state.books), current_fleet_view(state, now)
    fleet_view = fleet_view if fleet_view is not state.fleet_view else fleet_view.copy_all()
    books.domains = _own(state.domains)
    return replace(
        state,
        books=books,
        domains=books.domains,
        nodes={name: node.copy() for name, node in state.nodes.items()},
        work=state.work.frozen(),
        fleet_view=fleet_view,
        outdated={},
        reservations=dict(state.reservations),
        claims=dict(state.claims),
        verdicts=dict(state.verdicts),
        verdicts_inside=dict(state.verdicts_inside),
    )


def _own(of: T) -> T:
    """Returns a copy with its own containers; their elements are shared."""
    other = copy(of)
    for name, value in vars(of).items():
        if isinstance(value, dict | list | set | np.ndarray):
            setattr(other, name, value.copy())
    return other
