"""The site held still, for a question that is answered in parts: others have their turn in between.

Held still is all that parts of one answer must agree on: nodes and what they offer, who holds what,
what domains and quotas leave, promises, claims and reservations. It is a copy of what changes of
them, a few microseconds a node. What work says of itself is as new as it can be: how long it has
run, how far it is, how much it was found to draw.
"""

from copy import copy
from dataclasses import replace
from typing import TypeVar

import numpy as np

from wattline_protocol.ids import Now
from wattline_scheduler.core.admission.planner_view import snapshot
from wattline_scheduler.core.model.state import State

T = TypeVar("T")


def held_still(state: State, now: Now) -> State:
    """As it is now, to be asked and never to be changed."""
    snapshot(state, now)  # what nodes offer is written
    books, picture = _own(state.books), state.picture.as_if()
    books.domains, picture.recent = _own(state.domains), _own(picture.recent)
    return replace(
        state,
        books=books,
        domains=books.domains,
        nodes={name: node.copy() for name, node in state.nodes.items()},
        work=state.work.held_still(),
        picture=picture,
        outdated={},
        reservations=dict(state.reservations),
        claims=dict(state.claims),
    )


def _own(of: T) -> T:
    """A copy with tables of its own; what stands in them is shared."""
    other = copy(of)
    for name, value in vars(of).items():
        if isinstance(value, dict | list | set | np.ndarray):
            setattr(other, name, value.copy())
    return other
