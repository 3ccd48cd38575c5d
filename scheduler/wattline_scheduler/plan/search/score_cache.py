"""Per-shape cache of node feasibility and cost, across placements and cycles.

Evaluating nodes for a shape costs array operations; most nodes have not changed since the shape was
last evaluated. So each shape has cached columns of costs and needs, and each node a time of its
last change: only nodes changed since are re-evaluated. It is a cache, not state: placement is the
same without it, as a property test checks.
"""

from collections.abc import Hashable

import numpy as np

from wattline_protocol.site.labels import Labels
from wattline_scheduler.plan.mix.fragmentation import Growth, Prices
from wattline_scheduler.plan.mix.fragmentation_table import Worths
from wattline_scheduler.plan.model.columns import WHOLE_MILLI, Columns
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
from wattline_scheduler.power.topology.matrix import Floats, Ints

MAX_SHAPES = 1_024
"""Cached shapes, least recently used dropped first; 0.2 MB each at 12,500 nodes."""

STEPS_PER_EVALUATION, NODES_PER_STEP = 40, 250
"""Effort of an evaluation: the array operations, and all nodes. What is cached does not count less:
the plan must not depend on the cache."""

NEVER = -1


class ShapeScores:
    """One task of a shape on all nodes; shared by shapes with equal requests per node."""

    __slots__ = ("ask", "class_count", "cost", "label_sets", "needed_mw", "seen", "slot", "wanted")

    def __init__(self, node_count: int, *, is_share: bool) -> None:
        self.ask: Ask
        self.class_count = 0
        self.label_sets: tuple[Labels, ...] | None = None
        """Those of the columns that `wanted` was made for."""
        self.cost: Floats = np.full(node_count, np.inf)
        """[node] cost terms of the node itself; infinite = it does not fit there."""
        self.needed_mw: Ints = np.zeros(node_count, np.int64)
        """[node] minimum wall milliwatts; undefined where it does not fit."""
        self.slot: Ints | None = np.zeros(node_count, np.int64) if is_share else None
        """[node] for a share: its GPU, if watts suffice; None: whole GPUs."""
        self.seen = NEVER
        """Changes up to this time are included."""
        self.wanted: Wanted | None = None
        """Input of the native loops; None = not supported by them."""


class _Entry:
    """The evaluation of one shape, and the newest trial that requested it."""

    __slots__ = ("scores", "used_in")

    def __init__(self, scores: ShapeScores) -> None:
        self.scores, self.used_in = scores, NEVER


class ScoreCache:
    """All shapes, and the time of each node's last change."""

    def __init__(self) -> None:
        self._trial_count = 0
        self._entries: dict[Shape, _Entry] = {}
        self._scores: dict[Hashable, ShapeScores] = {}
        """By the request of one task."""
        self._touched: Ints = np.zeros(0, np.int64)
        self._time = 0
        self._weights = DEFAULT_WEIGHTS
        self._worths: Worths | None = None
        """At the prices of the present cycle."""
        self._unfollowed: set[int] = set()
        """Nodes whose worth is out of date."""

    def begin(self, seen: Snapshot) -> int:
        """Begin a cycle, or another trial; see `end`."""
        columns, prices = seen.columns, seen.prices
        if len(self._touched) != columns.node_count:
            self._touched = np.zeros(columns.node_count, np.int64)
        if seen.weights != self._weights or prices is not self._prices:
            self._weights = seen.weights
            for scores in self._scores.values():
                scores.seen = NEVER
        if prices is None:
            self._worths = None
        elif self._worths is None or not self._worths.is_for(columns, prices):
            self._worths = Worths(columns, prices)
            self._unfollowed = set(range(columns.node_count))
        self._trial_count += 1
        return self._time

    @property
    def _prices(self) -> Prices | None:
        return self._worths.of if self._worths is not None else None

    def end(self, began: int) -> None:
        """End it: nodes touched since it began are as they were before it."""
        self._time += 1
        changed = self._touched > began
        self._touched[changed] = self._time
        if self._worths is not None:
            self._unfollowed.update(np.flatnonzero(changed).tolist())

    def touch(self, at: int) -> None:
        """Mark the node as changed."""
        self._time += 1
        if len(self._touched):
            self._touched[at] = self._time
        if self._worths is not None:
            self._unfollowed.add(at)

    def of(self, shape: Shape, columns: Columns, loops: Loops | None) -> tuple[ShapeScores, int]:
        """The shape on the present nodes, and the effort of evaluating it."""
        scores = self._scores_of(shape, columns)
        if scores.seen == self._time:
            return scores, 0
        if loops is not None and scores.wanted is not None and self._worths is not None:
            self._loop(scores, columns, loops, self._worths, scores.wanted)
        else:
            self._operate(scores, columns)
        scores.seen = self._time
        return scores, STEPS_PER_EVALUATION + columns.node_count // NODES_PER_STEP

    def _operate(self, scores: ShapeScores, columns: Columns) -> None:
        """Re-evaluate touched nodes by array operations."""
        changed = self._touched > scores.seen
        np.putmask(scores.cost, changed, np.inf)
        able = fitting(columns, scores.ask, changed)
        if len(able):
            self._evaluate(scores, columns, able)

    def _loop(
        self, scores: ShapeScores, columns: Columns, loops: Loops, worths: Worths, wanted: Wanted
    ) -> None:
        """As `_operate`, in one native call, except for nodes left to array operations."""
        self._follow(worths, columns)
        leads = worths.leads(scores.ask)
        rest = loops.evaluate(wanted, worths, leads, self._touched, scores.seen)
        if len(rest):
            self._evaluate(scores, columns, rest[fits(columns, scores.ask, rest)])

    def _evaluate(self, scores: ShapeScores, columns: Columns, able: Ints) -> None:
        """Evaluate nodes that the shape fits on."""
        ask, grown = scores.ask, self._growth(columns, scores.ask, able)
        slot = grown.slot if grown is not None else None
        if scores.slot is not None:
            scores.slot[able] = fullest_slot(columns, ask, able) if slot is None else slot
            slot = leanest_slot(columns, ask, able)
        scores.needed_mw[able] = needed_mw(columns, ask, able, slot)
        scores.cost[able] = node_cost(columns, ask, able, self._weights, grown)

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
        return self._scores_of(shape, columns).ask

    def _scores_of(self, shape: Shape, columns: Columns) -> ShapeScores:
        """The evaluation of the shape; it may be out of date."""
        entry = self._entries.get(shape)
        if entry is None:
            self._drop_oldest()
            scores = self._scores.get(shape.task)
            if scores is None:
                is_share = shape.gpu_milli < WHOLE_MILLI
                scores = self._scores[shape.task] = ShapeScores(
                    columns.node_count, is_share=is_share
                )
            entry = self._entries[shape] = _Entry(scores)
        entry.used_in = self._trial_count
        scores, class_count = entry.scores, len(columns.classes)
        if scores.class_count != class_count:
            scores.ask, scores.class_count = ask_of(shape, columns.classes), class_count
            scores.label_sets = None
            scores.seen = NEVER
        if scores.label_sets is not columns.label_sets:
            scores.label_sets = columns.label_sets
            scores.wanted = wanted(scores.ask, columns, scores.cost, scores.needed_mw)
        return scores

    def _drop_oldest(self) -> None:
        """Drop the least recently used half, if full."""
        if len(self._entries) >= MAX_SHAPES:
            newest = sorted(self._entries.items(), key=lambda item: -item[1].used_in)
            self._entries = dict(newest[: MAX_SHAPES // 2])
            self._scores = {shape.task: entry.scores for shape, entry in self._entries.items()}
