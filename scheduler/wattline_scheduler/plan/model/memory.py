"""What one planning cycle passes to the next: plain data, and the planner's only state.

A cycle takes the memory of the cycle before and returns its own (`Plan.memory`); it changes
neither. The same snapshot and memory always give the same plan.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from wattline_scheduler.plan.model.reserved_nodes import EVERYWHERE, Key
from wattline_scheduler.plan.model.shape import Shape

Request = tuple[Shape, Key]
"""The shape, and the nodes on which reservations let it start."""

JobClass = tuple[Request, float | None, tuple[int, ...]]
"""Jobs that are passed over for the same reason: request, maximum run time, quotas."""

PreemptionKey = tuple[Key, tuple[int, ...]]
"""Gangs of one shape with the same preemption result: key of reservations, and quotas."""

NEVER = -1
"""No cycle."""


@dataclass(frozen=True, slots=True)
class Blocked:
    """Results of earlier cycles for a shape that did not fit."""

    number: int
    """Number of shapes remembered before it: spreads recomputation over cycles."""
    reason: str = ""
    """Why it did not fit; empty = not computed."""
    reason_key: Key = EVERYWHERE
    reason_turn: int = NEVER
    """The turn in which the reason was computed; see `cycle.AGAIN_CYCLES`."""
    vain_in: int | None = None
    """The last cycle in which preemption did not help; None = it has not been tried."""
    vain_key: PreemptionKey | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of a cycle. The rotation of searches is explained in `search_rotation`."""

    cycle: int = 0
    """Number of the cycle."""
    reserved: frozenset[Request] = frozenset()
    """Requests with a reservation in it."""
    failed: frozenset[tuple[Request, bool]] = frozenset()
    """Failed searches of this rotation, and whether a date was required."""
    passed: Mapping[JobClass, str] = field(default_factory=dict)
    """Classes passed over since a cycle last reached the end of the queue, and why."""
    blocked: Mapping[Shape, Blocked] = field(default_factory=dict)
    """By shape; those not read or written for longest come first."""


EMPTY = Memory()
"""Memory of the first cycle."""
