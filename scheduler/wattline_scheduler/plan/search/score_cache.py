"""What is known of each shape on every node, kept from placement to placement and cycle to cycle.

Looking at a node for a shape costs array operations; most nodes are as they were when the shape was
looked at last. So each shape keeps its columns of costs and needs, and of each node is
known when it was touched last: only nodes touched since are looked at again. It is a memory, not a
state: the same is placed without it, which a property test holds. Beside it stands whose turn it is
where a cycle cannot look for all (`turns`).
"""

import math
from collections.abc import Hashable

import numpy as np

from wattline_scheduler.plan.mix.fragmentation import Growth, Prices
from wattline_scheduler.plan.mix.fragmentation_table import Worths
from wattline_scheduler.plan.model.columns import WHOLE_MILLI, Columns
from wattline_scheduler.plan.model.reserved_nodes import EVERYWHERE
from wattline_scheduler.plan.model.shape import Shape
from wattline_scheduler.plan.model.snapshot import DEFAULT_WEIGHTS, Snapshot
from wattline_scheduler.plan.model.task_request import (
    Ask,
    ask_of,
    fits,
    fitting,
    fullest_slot,
    leanest_slot,
    needed_mw,
)
from wattline_scheduler.plan.search.native_loops import Loops, wanted
from wattline_scheduler.plan.search.native_structs import Wanted
from wattline_scheduler.plan.search.rank import node_cost
from wattline_scheduler.plan.search.search_rotation import Turns
from wattline_scheduler.power.topology.matrix import Floats, Ints

MAX_LOOKS = 1_024
"""Shapes remembered, those not asked for longest are dropped; 0.2 MB each at 12,500 nodes."""

STEPS_PER_LOOK, NODES_PER_STEP, NODES_PER_STEP_OF_ALL = 40, 40, 250
"""Effort of a look: of the array operations, of the nodes that the shape fits on, and of all."""

NEVER = -1


class Look:
    """One task of a shape on all nodes; shapes that ask the same of each node share it."""

    __slots__ = ("ask", "class_count", "cost", "needed_mw", "seen", "slot", "wanted")

    def __init__(self, node_count: int, *, is_share: bool) -> None:
        self.ask: Ask
        self.class_count = 0
        self.cost: Floats = np.full(node_count, np.inf)
        """[node] of the part that lies in the node; infinite = it does not fit there."""
        self.needed_mw: Ints = np.zeros(node_count, np.int64)
        """[node] wall milliwatts at least; of any value where it does not fit."""
        self.slot: Ints | None = np.zeros(node_count, np.int64) if is_share else None
        """[node] for a share: the GPU that it is taken of, if watts suffice; None: whole GPUs."""
        self.seen = NEVER
        """What was touched up to then is in it."""
        self.wanted: Wanted | None = None
        """What loops know of it; None = they cannot look."""


class Tried:
    """One shape: its look, and what was found of it in earlier cycles."""

    __slots__ = (
        "asked_at",
        "look",
        "number",
        "reason",
        "reason_for",
        "reason_turn",
        "vain_at",
        "vain_for",
    )

    def __init__(self, look: Look, number: int) -> None:
        self.look, self.number = look, number
        """How many were known before it."""
        self.asked_at = NEVER
        """The newest cycle in which it was asked for."""
        self.reason, self.reason_turn, self.reason_for = "", NEVER, EVERYWHERE
        """Why it did not fit, in which turn that was found, and for which stays."""
        self.vain_at: float = -math.inf
        self.vain_for: Hashable = None
        """The cycle in which nobody could be sent away for it, for which stays and quotas."""


class Looks:
    """All shapes, and when each node was touched last."""

    def __init__(self) -> None:
        self.cycle = 0
        """Number of the present one."""
        self.turns = Turns()
        self._tried: dict[Shape, Tried] = {}
        self._looks: dict[Hashable, Look] = {}
        """By what one task asks."""
        self._touched: Ints = np.zeros(0, np.int64)
        self._time = 0
        self._weights = DEFAULT_WEIGHTS
        self._worths: Worths | None = None
        """At the prices of the present cycle."""
        self._unfollowed: set[int] = set()
        """Nodes that those do not know as they are."""

    def begin(self, seen: Snapshot) -> int:
        """A cycle, or another trial, begins; see `end`."""
        columns, prices = seen.columns, seen.prices
        if len(self._touched) != columns.node_count:
            self._touched = np.zeros(columns.node_count, np.int64)
        if seen.weights != self._weights or prices is not self._prices:
            self._weights = seen.weights
            for look in self._looks.values():
                look.seen = NEVER
        if prices is None:
            self._worths = None
        elif self._worths is None or not self._worths.is_for(columns, prices):
            self._worths = Worths(columns, prices)
            self._unfollowed = set(range(columns.node_count))
        self.cycle += 1
        return self._time

    @property
    def _prices(self) -> Prices | None:
        return self._worths.of if self._worths is not None else None

    def end(self, began: int) -> None:
        """It is over: nodes touched since it began are as they were before it."""
        self._time += 1
        changed = self._touched > began
        self._touched[changed] = self._time
        if self._worths is not None:
            self._unfollowed.update(np.flatnonzero(changed).tolist())

    def touch(self, at: int) -> None:
        """The node is not as it was."""
        self._time += 1
        if len(self._touched):
            self._touched[at] = self._time
        if self._worths is not None:
            self._unfollowed.add(at)

    def of(self, shape: Shape, columns: Columns, loops: Loops | None) -> tuple[Look, int]:
        """The shape on the nodes as they are now, and the effort of finding out."""
        look = self._look(shape, columns)
        if look.seen == self._time:
            return look, 0
        if loops is not None and look.wanted is not None and self._worths is not None:
            able = self._loop(look, columns, loops, self._worths, look.wanted)
        else:
            able = self._operate(look, columns)
        look.seen = self._time
        all_steps = columns.node_count // NODES_PER_STEP_OF_ALL
        return look, STEPS_PER_LOOK + all_steps + able // NODES_PER_STEP

    def _operate(self, look: Look, columns: Columns) -> int:
        """Look at what was touched, by array operations: on how many of them it fits."""
        changed = self._touched > look.seen
        np.putmask(look.cost, changed, np.inf)
        able = fitting(columns, look.ask, changed)
        if len(able):
            self._look_at(look, columns, able)
        return len(able)

    def _loop(
        self, look: Look, columns: Columns, loops: Loops, worths: Worths, wanted: Wanted
    ) -> int:
        """The same in one call, but for nodes that are left to array operations."""
        self._follow(worths, columns)
        leads = worths.leads(look.ask)
        able, rest = loops.look(wanted, worths, leads, self._touched, look.seen)
        if not len(rest):
            return able
        rest = rest[fits(columns, look.ask, rest)]
        self._look_at(look, columns, rest)
        return able + len(rest)

    def _look_at(self, look: Look, columns: Columns, able: Ints) -> None:
        """Nodes that the shape fits on."""
        ask, grown = look.ask, self._growth(columns, look.ask, able)
        slot = grown.slot if grown is not None else None
        if look.slot is not None:
            look.slot[able] = fullest_slot(columns, ask, able) if slot is None else slot
            slot = leanest_slot(columns, ask, able)
        look.needed_mw[able] = needed_mw(columns, ask, able, slot)
        look.cost[able] = node_cost(columns, ask, able, self._weights, grown)

    def _growth(self, columns: Columns, ask: Ask, able: Ints) -> Growth | None:
        if self._worths is None:
            return None
        self._follow(self._worths, columns)
        return self._worths.growth(columns, ask, able)

    def _follow(self, worths: Worths, columns: Columns) -> None:
        if self._unfollowed:
            worths.follow(columns, list(self._unfollowed))
            self._unfollowed.clear()

    def ask(self, shape: Shape, columns: Columns) -> Ask:
        """The shape in the numbers of the columns."""
        return self._look(shape, columns).ask

    def tried(self, shape: Shape, columns: Columns) -> Tried:
        """What is known of the shape; its look is as old as it is."""
        tried = self._tried.get(shape)
        if tried is None:
            self._make_room()
            look = self._looks.get(shape.task)
            if look is None:
                is_share = shape.gpu_milli < WHOLE_MILLI
                look = self._looks[shape.task] = Look(columns.node_count, is_share=is_share)
            tried = self._tried[shape] = Tried(look, len(self._tried))
        tried.asked_at = self.cycle
        return tried

    def _look(self, shape: Shape, columns: Columns) -> Look:
        look, class_count = self.tried(shape, columns).look, len(columns.classes)
        if look.class_count != class_count:
            look.ask, look.class_count = ask_of(shape, columns.classes), class_count
            look.wanted = wanted(look.ask, columns, look.cost, look.needed_mw)
            look.seen = NEVER
        return look

    def _make_room(self) -> None:
        """Forget the half that was not asked for longest."""
        if len(self._tried) >= MAX_LOOKS:
            newest = sorted(self._tried.items(), key=lambda item: -item[1].asked_at)
            self._tried = dict(newest[: MAX_LOOKS // 2])
            self._looks = {shape.task: tried.look for shape, tried in self._tried.items()}
