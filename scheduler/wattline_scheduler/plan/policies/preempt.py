"""Preemption: selects the fewest gangs of lower priority to requeue for one of higher priority.

Work of lower priority is removed in a trial, the least valuable first, until the gang fits; then
each victim that is not needed is spared. Gangs are preempted whole, and never for watts: the draw
of lower priorities already counts as headroom, so only GPUs, CPUs and memory are gained.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wattline_scheduler.plan.model.shape import GangKey, Shape
from wattline_scheduler.plan.model.snapshot import ENDING_PRIORITY, RunningGang
from wattline_scheduler.plan.policies.node_release import NodeRelease
from wattline_scheduler.plan.search.feasible import fits_when_empty
from wattline_scheduler.plan.search.trial import Trial
from wattline_scheduler.power.topology.matrix import Bools
from wattline_scheduler.time_slices import Parts

MAX_NODES_TRIED, MAX_NODES_ASKED = 64, 256
"""Nodes tried for each task of a gang, by lowest priority, then by smallest shortage; and the
number of nodes searched for them, as some may run protected work only."""

MAX_RACKS_TRIED = 32
"""Maximum number of racks tried, if all of a gang must be in one."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Gangs to preempt, and the nodes on which the gang then fits, by position."""

    victims: tuple[RunningGang, ...]
    nodes: tuple[int, ...]

    @property
    def loss(self) -> tuple[int, int, float]:
        """Loss: the highest priority, number of gangs, GPU-seconds of work."""
        return _loss(self.victims)


def choose(
    trial: Trial,
    shape: Shape,
    busy_on: Callable[[int], Sequence[RunningGang]],
    spared: Collection[GangKey] = (),
    barred: Bools | None = None,
) -> Parts[Choice | None]:
    """Select gangs to preempt so that one gang of `shape` fits; None = it does not help.

    `busy_on`: preemptible gangs, by a node on which they run. `spared`: gangs to exclude. `barred`:
    [node] excluded. The trial is restored. Among choices with an equal highest priority the one
    with the fewest gangs, then the least work, wins.
    """
    search, found = _Search(trial, shape, busy_on, spared), list[Choice]()
    for among in _sets(trial, shape, barred):
        choice = yield from search.run(among)
        if choice is not None:
            found.append(choice)
    return min(found, key=lambda choice: (choice.loss, choice.nodes), default=None)


def _sets(trial: Trial, shape: Shape, barred: Bools | None) -> list[Bools]:
    """[node] may be used; one set per rack if all tasks must be in one."""
    able = fits_when_empty(trial, shape)
    if barred is not None:
        able &= ~barred
    if not shape.same_rack or shape.nodes == 1:
        return [able]
    return [able & (trial.columns.rack == rack) for rack in _racks(trial, shape, able)]


def _racks(trial: Trial, shape: Shape, able: Bools) -> list[int]:
    """Large enough racks, ordered by the last node that the gang needs: lowest priority of its
    work, then most free GPUs."""
    columns, nodes = trial.columns, np.flatnonzero(able)
    least, free, rack = columns.least_priority, -columns.whole, columns.rack
    nodes = nodes[np.lexsort((free[nodes], least[nodes], rack[nodes]))]
    racks, first, count = np.unique(rack[nodes], return_index=True, return_counts=True)
    is_large = count >= shape.nodes
    last, racks = nodes[first[is_large] + shape.nodes - 1], racks[is_large]
    order = np.lexsort((racks, free[last], least[last]))
    found: list[int] = racks[order[:MAX_RACKS_TRIED]].tolist()
    return found


class _Search:
    """Search for one gang, over the lower-priority work of each evaluated node."""

    def __init__(
        self,
        trial: Trial,
        shape: Shape,
        busy_on: Callable[[int], Sequence[RunningGang]],
        spared: Collection[GangKey],
    ) -> None:
        self._trial, self._shape = trial, shape
        self._start = trial.checkpoint()
        self._busy_on, self._spared = busy_on, spared
        self._on: dict[int, list[RunningGang]] = {}
        self._found: dict[int, tuple[RunningGang, ...] | None] = {}
        """Cached results of `_enough` for unchanged nodes."""

    def _lower(self, at: int) -> list[RunningGang]:
        """Preemptible gangs of the node, the least loss first."""
        known = self._on.get(at)
        if known is None:
            priority, spared = self._shape.priority, self._spared
            lower = (one for one in self._busy_on(at) if one.priority < priority)
            known = [one for one in lower if one.key not in spared]
            known.sort(key=lambda busy: (_loss((busy,)), busy.key))
            self._on[at] = known
        return known

    def run(self, among: Bools) -> Parts[Choice | None]:
        """Place each task where it causes the least loss."""
        trial, allowed = self._trial, among.copy()
        self._found.clear()
        victims: dict[GangKey, RunningGang] = {}
        nodes: list[int] = []
        while len(nodes) < self._shape.nodes:
            found = yield from self._next(allowed, victims)
            if found is None:
                trial.rollback(self._start)
                return None
            at, more = found
            mark = trial.checkpoint()
            self._remove(more)
            allowed[at] = False
            if not self._trial.fits_now(at, self._shape):  # its watts are not available
                trial.rollback(mark)
                continue
            trial.place(at, self._shape)
            nodes.append(at)
            victims |= {one.key: one for one in more}
        trial.rollback(self._start)
        kept = needed(trial, self._shape, nodes, tuple(victims.values()))
        return Choice(kept, tuple(nodes))

    def _next(
        self, allowed: Bools, victims: dict[GangKey, RunningGang]
    ) -> Parts[tuple[int, tuple[RunningGang, ...]] | None]:
        """The cheapest node for the next task, and the gangs to preempt for it."""
        yield
        costs = self._trial.costs(self._shape)
        costs[~allowed] = np.inf
        at = int(costs.argmin())
        if np.isfinite(costs[at]):
            return at, ()
        enough = list[tuple[int, tuple[RunningGang, ...]]]()
        for node in (yield from self._nearest(allowed)):
            yield
            more = self._enough(node, victims)
            if more is not None:
                enough.append((node, more))
        return min(enough, key=lambda found: (_loss(found[1]), found[0]), default=None)

    def _nearest(self, allowed: Bools) -> Parts[list[int]]:
        columns = self._trial.columns
        nodes = np.flatnonzero(allowed & (columns.least_priority < self._shape.priority))
        order = np.lexsort((-columns.whole[nodes], columns.least_priority[nodes]))
        found = list[int]()
        for at in nodes[order[:MAX_NODES_ASKED]].tolist():
            if len(found) == MAX_NODES_TRIED:
                break
            yield
            if self._lower(at):
                found.append(at)
        return found

    def _enough(
        self, at: int, victims: dict[GangKey, RunningGang]
    ) -> tuple[RunningGang, ...] | None:
        """The first sufficient gangs on the node, without unneeded ones."""
        if at not in self._found:
            self._found[at] = self._look_for(at, victims)
        return self._found[at]

    def _look_for(
        self, at: int, victims: dict[GangKey, RunningGang]
    ) -> tuple[RunningGang, ...] | None:
        node = NodeRelease(self._trial, at, self._shape)
        chosen: list[RunningGang] = []
        for one in self._lower(at):
            if one.key not in victims:
                node.remove(one)
                chosen.append(one)
                if node.fits:
                    return _needed_on(node, chosen)
        return None

    def _remove(self, victims: Sequence[RunningGang]) -> None:
        for one in victims:
            for task in one.tasks:
                self._trial.take_away(task)
                self._found.pop(task.at, None)


def _needed_on(node: NodeRelease, gone: list[RunningGang]) -> tuple[RunningGang, ...]:
    """The gangs, ordered by least loss, without which a task would not fit."""
    needed = gone[-1:]
    for one in gone[-2::-1]:
        node.restore(one)
        if not node.fits:
            node.remove(one)
            needed.append(one)
    return tuple(reversed(needed))


def _anyhow(one: RunningGang) -> bool:
    del one
    return True


def needed(
    trial: Trial,
    shape: Shape,
    nodes: Sequence[int],
    victims: Sequence[RunningGang],
    may_stay: Callable[[RunningGang], bool] = _anyhow,
) -> tuple[RunningGang, ...]:
    """The victims without which a gang would not fit on its nodes; the most valuable are spared
    first. The trial contains all victims.

    `may_stay`: further condition for sparing a gang, given those spared before.
    """
    freeing = {at: NodeRelease(trial, at, shape) for at in nodes}
    going = {one.key: one for one in victims}
    for one in victims:
        for node in _its(freeing, one):
            node.remove(one)
    for one in sorted(victims, key=lambda busy: _loss((busy,)), reverse=True):
        its = _its(freeing, one)
        for node in its:
            node.restore(one)
        if all(node.fits for node in its) and may_stay(one):
            del going[one.key]
        else:
            for node in its:
                node.remove(one)
    kept = tuple(going.values())
    # With other GPUs of a node, milliwatts may be missing that all victims together free.
    return kept if suffices(trial, shape, nodes, kept) else tuple(victims)


def _its(freeing: Mapping[int, NodeRelease], one: RunningGang) -> list[NodeRelease]:
    nodes = dict.fromkeys(used.at for used in one.tasks)
    return [freeing[at] for at in nodes if at in freeing]


def suffices(
    trial: Trial, shape: Shape, nodes: Sequence[int], victims: Iterable[RunningGang]
) -> bool:
    """Whether a gang fits on these nodes after removing the victims. The trial is restored."""
    mark = trial.checkpoint()
    for task in (task for one in victims for task in one.tasks):
        trial.take_away(task)
    is_enough = all(_placed(trial, at, shape) for at in nodes)
    trial.rollback(mark)
    return is_enough


def _placed(trial: Trial, at: int, shape: Shape) -> bool:
    fits = trial.fits_now(at, shape)
    if fits:
        trial.place(at, shape)
    return fits


def _loss(victims: Sequence[RunningGang]) -> tuple[int, int, float]:
    return (
        max((one.priority for one in victims), default=ENDING_PRIORITY),
        sum(one.priority != ENDING_PRIORITY for one in victims),
        sum(one.lost_gpu_s for one in victims),
    )
