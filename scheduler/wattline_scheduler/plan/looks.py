"""What is known of each shape on every node, kept from placement to placement and cycle to cycle.

Looking at a node for a shape costs array operations; most nodes are as they were when the shape was
looked at last. So each shape keeps its columns of costs and needs, and of each node is
known when it was touched last: only nodes touched since are looked at again. It is a memory, not a
state: the same is placed without it, which a property test holds.
"""

import math

import numpy as np

from wattline_scheduler.plan.asks import ALL, Ask, At, ask_of, fits, needed_mw
from wattline_scheduler.plan.columns import Columns
from wattline_scheduler.plan.rank import DEFAULT_WEIGHTS, Weights, node_cost
from wattline_scheduler.plan.snapshot import Shape
from wattline_scheduler.power.matrix import Floats, Ints

MAX_LOOKS = 1_024
"""Shapes remembered, those not asked for longest are dropped; 0.2 MB each at 12,500 nodes."""

NEVER = -1

MANY = 4
"""From this part of all nodes on all are looked at: positions cost more than they save."""


class Look:
    """One shape on all nodes."""

    __slots__ = (
        "ask",
        "class_count",
        "cost",
        "needed_mw",
        "reason",
        "reason_at",
        "seen",
        "vain_at",
    )

    def __init__(self, node_count: int) -> None:
        self.ask: Ask
        self.class_count = 0
        self.cost: Floats = np.full(node_count, np.inf)
        """[node] of the part that lies in the node; infinite = it does not fit there."""
        self.needed_mw: Ints = np.zeros(node_count, np.int64)
        """[node] wall milliwatts; of any value where it does not fit."""
        self.seen = NEVER
        """What was touched up to then is in it."""
        self.reason, self.reason_at = "", NEVER
        """Why it did not fit, and in which cycle that was found."""
        self.vain_at = -math.inf
        """The cycle in which nobody could be sent away for it."""


class Looks:
    """All shapes, and when each node was touched last."""

    def __init__(self, weights: Weights = DEFAULT_WEIGHTS) -> None:
        self.weights = weights
        self.cycle = 0
        """Number of the present one."""
        self._looks: dict[Shape, Look] = {}
        self._touched: Ints = np.zeros(0, np.int64)
        self._time = 0

    def begin(self, node_count: int) -> int:
        """A cycle, or another trial, begins; see `end`."""
        if len(self._touched) != node_count:
            self._touched = np.zeros(node_count, np.int64)
        self.cycle += 1
        return self._time

    def end(self, began: int) -> None:
        """It is over: nodes touched since it began are as they were before it."""
        self._time += 1
        self._touched[self._touched > began] = self._time

    def touch(self, at: int) -> None:
        """The node is not as it was."""
        self._time += 1
        if len(self._touched):
            self._touched[at] = self._time

    def of(self, shape: Shape, columns: Columns) -> tuple[Look, int]:
        """The shape on the nodes as they are now, and how many were looked at for it."""
        look = self._look(shape, columns)
        if look.seen == self._time:
            return look, 0
        at, count = self._changed_for(look, columns)
        can = fits(columns, look.ask, at)
        look.needed_mw[at] = needed_mw(columns, look.ask, at)
        look.cost[at] = np.where(can, node_cost(columns, look.ask, at, self.weights), np.inf)
        look.seen = self._time
        return look, count

    def ask(self, shape: Shape, columns: Columns) -> Ask:
        """The shape in the numbers of the columns."""
        return self._look(shape, columns).ask

    def _look(self, shape: Shape, columns: Columns) -> Look:
        look = self._looks.get(shape)
        if look is None:
            self._make_room()
            look = self._looks[shape] = Look(columns.node_count)
        if look.class_count != len(columns.classes):
            look.ask, look.class_count = ask_of(shape, columns.classes), len(columns.classes)
            look.seen = NEVER
        return look

    def _make_room(self) -> None:
        """Forget the half that was not asked for longest."""
        if len(self._looks) >= MAX_LOOKS:
            newest = sorted(self._looks.items(), key=lambda item: -item[1].seen)
            self._looks = dict(newest[: MAX_LOOKS // 2])

    def _changed_for(self, look: Look, columns: Columns) -> tuple[At, int]:
        if look.seen == NEVER:
            return ALL, columns.node_count
        changed = np.flatnonzero(self._touched > look.seen)
        is_most = len(changed) * MANY > columns.node_count
        return ALL if is_most else changed, len(changed)
