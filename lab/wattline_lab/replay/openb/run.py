"""One seed: pods arrive one after the other and stay; what does not fit when it comes is lost."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from wattline_lab.replay.openb.arrivals import arrivals
from wattline_lab.replay.openb.fleet import Fleet, Task, Workload, classes_of
from wattline_lab.replay.openb.lists import ListedNode, Pod
from wattline_lab.replay.openb.policies import Policy, best_of
from wattline_lab.replay.openb.power import Watts
from wattline_lab.replay.openb.powermodel import PowerModel
from wattline_scheduler.plan.model.task_request import fits
from wattline_scheduler.power.topology.matrix import Floats, Ints

PERCENT = 100

MANY = 4
"""From this part of all nodes on all are looked at: positions cost more than they save."""


@dataclass(slots=True)
class Curve:
    """Figures by how much has arrived: means over the arrivals at each whole percent."""

    capacity_milli: int
    sums: dict[int, Floats] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)

    def note(self, arrived_milli: int, figures: Floats) -> None:
        """Figures after an arrival, when so much has arrived in all."""
        percent = round(arrived_milli / self.capacity_milli * PERCENT)
        self.sums[percent] = self.sums.get(percent, 0.0) + figures
        self.counts[percent] = self.counts.get(percent, 0) + 1

    def at(self, percent: int) -> Floats:
        """Mean figures there; of the last percent that was reached if it was not."""
        reached = max((p for p in self.sums if p <= percent), default=percent)
        mean: Floats = self.sums[reached] / self.counts[reached]
        return mean


class Scores:
    """Scores of each task on all nodes; only nodes that changed are looked at again."""

    def __init__(self, fleet: Fleet, policy: Policy) -> None:
        self._fleet = fleet
        self._policy = policy
        self._terms: dict[int, Floats] = {}
        self._seen: dict[int, int] = {}
        self._log: list[int] = []

    def touch(self, at: int) -> None:
        """The node changed."""
        self._log.append(at)

    def forget(self) -> None:
        """All are to be made anew."""
        self._terms.clear()
        self._seen.clear()
        self._log.clear()

    def of(self, task: Task) -> Floats:
        """[term, node] minus infinity where the task does not fit."""
        count = self._fleet.columns.node_count
        changed = np.unique(self._log[self._seen.get(task.number, 0) :]).astype(np.int64)
        if task.number not in self._seen or len(changed) * MANY > count:
            changed = np.arange(count)
        if len(changed):
            self._look(task, changed)
        self._seen[task.number] = len(self._log)
        return self._terms[task.number]

    def _look(self, task: Task, at: Ints) -> None:
        can = at[fits(self._fleet.columns, task.ask, at)]
        fresh = self._policy.score(self._fleet, task, can)
        known = self._terms.get(task.number)
        if known is None:
            shape = (len(fresh), self._fleet.columns.node_count)
            known = self._terms[task.number] = np.full(shape, -np.inf)
        known[:, at] = -np.inf
        known[:, can] = fresh


class Run:
    """A fleet that fills up."""

    def __init__(self, fleet: Fleet, policy: Policy) -> None:
        self.fleet = fleet
        self._policy = policy
        self._scores = Scores(fleet, policy)
        self._choose = policy.choose or best_of

    def arrive(self, task: Task) -> int | None:
        """The node that the pod was put on; None = it fits nowhere."""
        are_stale = self._policy.are_stale
        if are_stale is not None and are_stale(self.fleet):
            self._scores.forget()
        terms = self._scores.of(task)
        if not np.isfinite(terms[0]).any():
            return None
        at = self._choose(terms)
        self.fleet.take(at, task, self._policy.slots(self.fleet, task, at))
        self._scores.touch(at)
        return at


PolicyMaker = Callable[[Workload, Fleet, random.Random], Policy]
"""A policy for a list on an empty fleet; the dice are for what it leaves to chance."""


def run_seed(
    pods: Sequence[Pod],
    workload: Workload,
    nodes: Sequence[ListedNode],
    make: PolicyMaker,
    seed: int,
    power_model: PowerModel | None = None,
) -> Curve:
    """Arrived and placed thousandths of GPUs, and watts if there is a model, by percent arrived."""
    dice = random.Random(seed)
    in_order = list(nodes)
    dice.shuffle(in_order)
    fleet = Fleet(in_order, classes_of(nodes), power_model)
    run = Run(fleet, make(workload, fleet, dice))
    watts = Watts(power_model, fleet) if power_model is not None else None
    curve = Curve(fleet.capacity_milli)
    arrived_milli = placed_milli = 0
    for position in arrivals(pods, fleet.capacity_milli, dice):
        task = workload.tasks[position]
        at = run.arrive(task)
        arrived_milli += task.size_milli
        placed_milli += task.size_milli if at is not None else 0
        total_w = watts.after(at) if watts is not None else 0.0
        curve.note(arrived_milli, np.array([arrived_milli, placed_milli, total_w], np.float64))
    return curve
