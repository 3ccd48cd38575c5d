"""Trial placements: where tasks fit, the best place, and the remaining resources."""

import numpy as np

from wattline_protocol.ids import GpuIndex
from wattline_protocol.site.model import DomainKind, Weights
from wattline_scheduler.plan.model.columns import ENDLESS_MW
from wattline_scheduler.plan.model.headroom import most_mw
from wattline_scheduler.plan.model.reserved_nodes import EVERYWHERE, Key, Stay
from wattline_scheduler.plan.model.shape import Shape
from wattline_scheduler.plan.model.snapshot import Snapshot, TaskPlace
from wattline_scheduler.plan.model.task_request import (
    ALL,
    Ask,
    fits,
    leanest_slot,
    needed_mw,
    slots_for,
)
from wattline_scheduler.plan.search import native_loops
from wattline_scheduler.plan.search.native_loops import Loops
from wattline_scheduler.plan.search.rank import rows_cost
from wattline_scheduler.plan.search.score_cache import ScoreCache, ShapeScores
from wattline_scheduler.plan.search.trial_log import Task, TrialLog
from wattline_scheduler.power.topology.matrix import Bools, Floats, Ints

STEPS_PER_CHOICE, NODES_PER_CHOICE_STEP = 30, 250
"""Effort of choosing the best of the evaluated nodes, and of the nodes."""


class Trial(TrialLog):
    """A snapshot on which placements can be tried."""

    def __init__(self, snapshot: Snapshot, cache: ScoreCache | None = None) -> None:
        super().__init__(snapshot, cache if cache is not None else ScoreCache())
        self._loops: Loops | None = None
        if native_loops.LIBRARY is not None:
            budget_mw = self._headroom.budget_mw
            self._loops = Loops(native_loops.LIBRARY, self.columns, budget_mw, snapshot.weights)
        self._other_rows: dict[DomainKind, list[int]] = {}
        self._usable: dict[tuple[bool, ...], Ints] = {}
        """By suitable classes."""
        self._barred: dict[Key, Bools | None] = {}
        """Nodes barred by reservations, or for lack of data, per key."""

    @property
    def weights(self) -> Weights:
        """Weight of each cost term."""
        return self.snapshot.weights

    def key(self, stay: Stay) -> Key:
        """Stays with the same key have the same `barred`."""
        reservations = self.snapshot.reservations
        if reservations is None:
            return EVERYWHERE._replace(data=stay.data) if stay.data else EVERYWHERE
        return reservations.key(stay)

    def barred(self, stay: Stay) -> Bools | None:
        """[node] where reservations bar it from starting now, or its data lacks; None: on no
        node."""
        reservations = self.snapshot.reservations
        if reservations is None and not stay.data:
            return None
        key = self.key(stay)
        if key not in self._barred:
            by_data = None if not stay.data else self.lacks_data(stay)
            by_time = None if reservations is None else reservations.barred(stay)
            self._barred[key] = by_time if by_data is None else _either(by_time, by_data)
        return self._barred[key]

    def lacks_data(self, stay: Stay) -> Bools:
        """[node] does not have all versions that it reads."""
        lacks = np.zeros(self.columns.node_count, np.bool_)
        for version in stay.data:
            has_it = self.snapshot.data.get(version)
            lacks |= True if has_it is None else ~has_it
        return lacks

    def scores(self, shape: Shape) -> ShapeScores:
        """The shape on all nodes in their present state."""
        scores, effort = self._cache.of(shape, self.columns, self._loops)
        self.effort += effort
        return scores

    def ask(self, shape: Shape) -> Ask:
        """The shape in the numbers of the columns."""
        return self._cache.ask(shape, self.columns)

    def usable(self, shape: Shape) -> Ints:
        """[node] GPUs that suit and work, free or not."""
        ask = self.ask(shape)
        known = self._usable.get(ask.suited)
        if known is None:
            known = ask.is_suited[self.columns.gpu_class].sum(axis=1)
            self._usable[ask.suited] = known
        return known

    def headroom_for(self, priority: int) -> Ints:
        """[row] headroom including what lower priorities there would release."""
        return self._headroom.headroom_mw(priority)

    def most_mw(self, priority: int, kind: DomainKind) -> Ints:
        """[group] the largest task that fits below all rows of one kind above."""
        headroom_mw = self.headroom_for(priority)
        headroom_mw[self._others(kind)] = ENDLESS_MW
        return most_mw(self.columns, headroom_mw)

    def _others(self, kind: DomainKind) -> list[int]:
        known = self._other_rows.get(kind)
        if known is None:
            rows = enumerate(self.snapshot.rows)
            known = self._other_rows[kind] = [row for row, name in rows if name.kind != kind]
        return known

    def costs(self, shape: Shape) -> Floats:
        """[node] the whole cost of a task there; infinite where it does not fit."""
        scores = self.scores(shape)
        self.effort += STEPS_PER_CHOICE + self.columns.node_count // NODES_PER_CHOICE_STEP
        costs = scores.cost + rows_cost(self._headroom, scores.ask, ALL, self.weights)
        costs[scores.needed_mw > self._headroom.most_mw(shape.priority, ALL)] = np.inf
        return costs

    def place_best(self, shape: Shape, barred: Bools | None = None) -> TaskPlace | None:
        """Place a one-node gang on the first node with the lowest of `costs`, except those that are
        `barred`; None = it fits on none. It cannot be rolled back.
        """
        scores, priority = self.scores(shape), shape.priority
        self.effort += STEPS_PER_CHOICE + self.columns.node_count // NODES_PER_CHOICE_STEP
        if self._loops is not None and scores.wanted is not None:
            given_back_mw = self._headroom.given_back_mw(priority)
            found = self._loops.place(scores.wanted, given_back_mw, barred)
            if found is None:
                return None
            at, gpus = found
            self._entered(at)
            self._headroom.forget()
            return TaskPlace(self.snapshot.nodes[at].node, tuple(map(GpuIndex, gpus)))
        best = self._best(scores, priority, barred)
        if best is None:
            return None
        task = self._best_task(best, shape, scores.ask)
        self._enter(task)
        return self._place_of(task)

    def _best(self, scores: ShapeScores, priority: int, barred: Bools | None) -> int | None:
        """Only nodes that fit have their rows checked; if the best one has the watts, no others: on
        a full site they are few."""
        fits_on = scores.cost < np.inf
        able = (fits_on if barred is None else fits_on & ~barred).nonzero()[0]
        if not len(able):
            return None
        costs = scores.cost[able] + rows_cost(self._headroom, scores.ask, able, self.weights)
        first = able.item(costs.argmin())
        if self._headroom.allow(scores.needed_mw.item(first), priority, first):
            return first
        costs[scores.needed_mw[able] > self._headroom.most_mw(priority, able)] = np.inf
        best = costs.argmin()
        return able.item(best) if costs[best] < np.inf else None

    def place(self, at: int, shape: Shape) -> TaskPlace:
        """Place one task of `shape` on the node at `at`, on the GPUs that suit it best."""
        task = self._best_task(at, shape, self.ask(shape))
        self.take(task)
        return self._place_of(task)

    def _best_task(self, at: int, shape: Shape, ask: Ask) -> Task:
        slots = self._share_slot(at, shape) if ask.is_share else slots_for(self.columns, ask, at)
        return self.task(at, slots, ask)

    def _place_of(self, task: Task) -> TaskPlace:
        index = self.columns.gpu_index[task.at].tolist()
        indices = sorted(index[slot] for slot in task.slots)
        return TaskPlace(self.snapshot.nodes[task.at].node, tuple(indices))

    def _share_slot(self, at: int, shape: Shape) -> list[int]:
        """The GPU on which it costs least; if its watts lack, the one that needs fewest."""
        scores = self.scores(shape)
        if scores.slot is None or scores.cost[at] == np.inf:
            return slots_for(self.columns, scores.ask, at)
        best = [int(scores.slot[at])]
        if self.has_watts(self.task(at, best, scores.ask), shape.priority):
            return best
        return [int(leanest_slot(self.columns, scores.ask, np.array([at]))[0])]

    def fits_node(self, at: int, shape: Shape) -> bool:
        """Whether the node itself fits a task; watts are not checked."""
        return bool(fits(self.columns, self.ask(shape), np.array([at]))[0])

    def fits_now(self, at: int, shape: Shape) -> bool:
        """Whether the node fits a task with the headroom of its rows: its cost is finite."""
        columns, ask, one = self.columns, self.ask(shape), np.array([at])
        if not fits(columns, ask, one)[0]:
            return False
        slot = leanest_slot(columns, ask, one) if ask.is_share else None
        most_mw = self._headroom.most_mw(shape.priority, one)
        return bool(needed_mw(columns, ask, one, slot)[0] <= most_mw[0])


def _either(one: Bools | None, other: Bools) -> Bools:
    return other if one is None else one | other
