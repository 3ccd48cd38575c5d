"""Backfill: resources are reserved for a waiting gang; jobs that end before its start may use them.

A gang that waited long gets a promise: the nodes with the earliest expected availability, and the
time of it. Their free resources are withheld from all gangs behind it (Lifka's EASY backfill,
1995), except for jobs that certainly end before that time. So holes are filled, and the gang starts
no later. Gangs behind it get promises on other nodes if their time is known (as in conservative
backfill; Mu'alem & Feitelson, IEEE TPDS 2001), so that none of them is delayed again and again.
"""

import math
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from wattline_protocol.ids import Instant, JobId
from wattline_protocol.job.spec import WHOLE_GPU
from wattline_scheduler.plan.model.columns import NO_CLASS
from wattline_scheduler.plan.model.node_fit import covers
from wattline_scheduler.plan.model.reserved_nodes import MARGIN_S
from wattline_scheduler.plan.model.shape import Shape, Waiting
from wattline_scheduler.plan.model.task_request import Ask, slots_for
from wattline_scheduler.plan.search.feasible import fits_when_empty
from wattline_scheduler.plan.search.trial import Trial
from wattline_scheduler.plan.search.trial_log import Task
from wattline_scheduler.power.topology.matrix import Bools, Floats, Ints

MAX_TRIES = 8
"""Node sets tried for a gang, each without the nodes of the previous one that are reserved too
early."""


STEPS_PER_EVALUATION, NODES_PER_LOOK_STEP = 20, 50
"""Effort of finding the nodes that would fit if empty."""

STEPS_PER_WALK, NODES_PER_WALK_STEP = 80, 10
"""Effort of finding when each of them is free."""

STEPS_PER_NODE = 15
"""Effort of computing a task's allocation there."""


@dataclass(slots=True)
class Promise:
    """Backfill reservation of nodes for a gang. Lifted and renewed around each try to backfill."""

    job: JobId
    shape: Shape
    nodes: list[int]
    start: Instant
    """When the last of them will be free; infinite = unknown."""
    held: list[Task]

    @property
    def is_dated(self) -> bool:
        """Whether its start is known."""
        return math.isfinite(self.start)

    def hold(self, trial: Trial) -> None:
        """Reserve the gang's free resources, and the watts of all its tasks.

        If the end of the work there is unknown, reserve only the watts of what is free.
        """
        for at in self.nodes:
            task = _task(trial, at, self.shape, is_whole=self.is_dated)
            trial.hold(task)
            self.held.append(task)

    def lift(self, trial: Trial) -> None:
        """Release the reservation temporarily."""
        while self.held:
            trial.give_back(self.held.pop())

    def redeem(self, trial: Trial) -> None:
        """Place its tasks, as far as they fit; call while nothing is reserved."""
        for at in self.nodes:
            if trial.fits_node(at, self.shape):
                trial.place(at, self.shape)

    def ends_before(self, waiting: Waiting, now: Instant) -> bool:
        """Whether a gang of the job that starts now ends before the promised start."""
        if waiting.runs_s is None or not self.is_dated:
            return False
        return now + waiting.runs_s + MARGIN_S <= self.start


@contextmanager
def lifted(trial: Trial, promises: Iterable[Promise]) -> Iterator[None]:
    """Evaluate without these promises' reservations."""
    taken = list(promises)
    for one in taken:
        one.lift(trial)
    yield
    for one in taken:
        one.hold(trial)


def promise(
    trial: Trial,
    waiting: Waiting,
    now: Instant,
    taken: Collection[int] = (),
    *,
    is_dated: bool = False,
) -> Promise | None:
    """Reserve the earliest available nodes for the gang; None if no nodes would ever fit.

    `taken`: nodes reserved for others. `is_dated`: also None if the time is unknown.
    """
    shape = waiting.shape
    can = fits_when_empty(trial, shape) & _may_end(trial, shape)
    trial.effort += STEPS_PER_EVALUATION + len(can) // NODES_PER_LOOK_STEP
    can[list(taken)] = False
    able = np.flatnonzero(can)
    if len(able) < shape.nodes:
        return None
    trial.effort += STEPS_PER_WALK + len(able) // NODES_PER_WALK_STEP
    free_at = np.full(len(can), np.inf)
    free_at[able] = free_at_s(trial, shape, able, now)
    if is_dated:
        can &= np.isfinite(free_at)
        if int(can.sum()) < shape.nodes:
            return None
    nodes = _in_time(trial, shape, can, free_at, _latest_s(trial, waiting, now))
    if nodes is None:
        return None
    start = float(free_at[nodes].max())
    if not _has_watts(trial, nodes.tolist(), shape):
        start = math.inf
    if is_dated and not math.isfinite(start):
        return None
    made = Promise(waiting.job, shape, nodes.tolist(), Instant(start), [])
    made.hold(trial)
    return made


def _may_end(trial: Trial, shape: Shape) -> Bools:
    """[node] would have GPUs for a task once all finite work there has ended.

    Resources reserved beside a service would stay idle as long as the service runs.
    """
    columns, ask = trial.columns, trial.ask(shape)
    if shape.gpu_milli < WHOLE_GPU or not columns.is_endless.any():
        return np.ones(columns.node_count, np.bool_)
    suited = ask.is_suited[columns.gpu_class] & ~columns.is_endless
    enough: Bools = suited.sum(axis=1) >= ask.gpus
    return enough


def _latest_s(trial: Trial, waiting: Waiting, now: Instant) -> Floats:
    """[node] latest start there because of reservations; infinite = none. Without its data it
    starts on no node."""
    reservations, stay = trial.snapshot.reservations, waiting.stay
    latest_s = np.full(trial.columns.node_count, np.inf)
    if reservations is not None:
        latest_s = now + reservations.latest_s(stay)
    if stay.data:
        latest_s[trial.lacks_data(stay)] = -np.inf
    return latest_s


def _in_time(
    trial: Trial, shape: Shape, can: Bools, free_at: Floats, latest: Floats
) -> Ints | None:
    """The earliest available nodes, all of them before they are reserved; None: not found.

    If their availability is unknown, nodes are used on which the gang may start now.
    """
    now = trial.snapshot.now
    can = can & (latest >= np.where(np.isfinite(free_at), free_at, now))
    for _ in range(MAX_TRIES):
        nodes = _all_soonest(trial, shape, np.flatnonzero(can), free_at)
        start = np.inf if nodes is None else free_at[nodes].max()
        if nodes is None or np.isinf(start) or (latest[nodes] >= start).all():
            return nodes
        can[nodes[latest[nodes] < start]] = False
    return None


def _all_soonest(trial: Trial, shape: Shape, able: Ints, free_at: Floats) -> Ints | None:
    """The earliest nodes for the gang, in one rack if required."""
    whole, racks = trial.columns.whole, trial.columns.rack[able]
    sets = [able[racks == rack] for rack in np.unique(racks)] if shape.same_rack else [able]
    choices = [
        _soonest(trial, free_at, nodes, shape.nodes) for nodes in sets if len(nodes) >= shape.nodes
    ]
    if not choices:
        return None
    return min(choices, key=lambda at: (float(free_at[at].max()), -int(whole[at].sum())))


def free_at_s(trial: Trial, shape: Shape, nodes: Ints, now: Instant) -> Floats:
    """[of these nodes] when a task's GPUs will be free; infinite if unknown.

    Where CPUs or memory are short, only after all work there has ended: its individual use of them
    is not known here.
    """
    columns, ask = trial.columns, trial.ask(shape)
    gpu_class, each_s = columns.gpu_class[nodes], _each_free_at_s(trial, ask, nodes, now)
    suited_s = np.where(ask.is_suited[gpu_class], each_s, np.inf)
    suited_s.sort(axis=1)
    free_at = (
        suited_s[:, min(ask.gpus, columns.slot_count) - 1]
        if ask.gpus
        else np.full(len(nodes), float(now))
    )
    has_cpus = covers(columns.cpus_free[nodes], ask.cpus)
    has_memory = covers(columns.memory_free_bytes[nodes], ask.memory_bytes)
    short = np.flatnonzero(np.logical_not(has_cpus & has_memory))
    free_at[short] = np.where(gpu_class[short] != NO_CLASS, each_s[short], now).max(axis=1)
    return free_at


def _each_free_at_s(trial: Trial, ask: Ask, nodes: Ints, now: Instant) -> Floats:
    columns = trial.columns
    is_free = columns.free_milli[nodes] >= ask.milli
    return np.where(is_free, now, np.maximum(columns.ends_s[nodes], now))


def _soonest(trial: Trial, free_at: Floats, nodes: Ints, count: int) -> Ints:
    order = np.lexsort((-trial.columns.whole[nodes], free_at[nodes]))
    return nodes[order[:count]]


def _task(trial: Trial, at: int, shape: Shape, *, is_whole: bool) -> Task:
    columns, ask = trial.columns, trial.ask(shape)
    free = slots_for(columns, ask, at)
    if not is_whole:
        return trial.task(at, free, ask)
    suited = np.flatnonzero(ask.is_suited[columns.gpu_class[at]]).tolist()
    others = sorted((slot for slot in suited if slot not in free), key=columns.ends_s[at].item)
    return trial.task(at, free, ask, others[: ask.gpus - len(free)])


def _has_watts(trial: Trial, nodes: list[int], shape: Shape) -> bool:
    """Whether the rows above have headroom for all tasks once the work there has ended.

    A row over its budget has none, even if the gang would draw no more than the work that ends.
    """
    trial.effort += STEPS_PER_NODE * len(nodes)
    left_mw = trial.headroom_for(shape.priority)
    asked = np.zeros(len(left_mw), np.bool_)
    for at in nodes:
        task = _task(trial, at, shape, is_whole=True)
        left_mw[task.rows] -= task.counted_mw
        asked[task.rows] = task.ask.about_mw > 0
    return bool((left_mw[asked] >= 0).all())
