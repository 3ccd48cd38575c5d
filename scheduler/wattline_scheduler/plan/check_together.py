"""Joint check of all placements of a plan: the individual checks, in a few array operations.

A plan places hundreds of gangs, and nearly always all of them pass. Their total demand is computed
here independently of the trial that placed them, and compared with the snapshot. A positive result
is certain; a negative one is not: sums are rounded up, and shares of one GPU are added as if they
did not overlap. After a negative result each placement is checked separately (`check`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wattline_protocol.site.wall_power import PERMILLE
from wattline_scheduler.plan.model.columns import NO_CLASS, Columns
from wattline_scheduler.plan.model.shape import Shape, Waiting
from wattline_scheduler.plan.model.snapshot import Placement, TaskPlace
from wattline_scheduler.plan.model.task_request import Ask, are_labelled
from wattline_scheduler.plan.search.trial import Trial
from wattline_scheduler.power.topology.matrix import Bools, Ints


@dataclass(frozen=True, slots=True)
class _Tasks:
    """All tasks of all gangs, in the order of the plan."""

    asks: list[Ask]
    at: Ints
    """[task] position of its node."""
    of: Ints
    """[task] number of its request."""
    priority: Ints
    gpu: Ints
    """[GPU] its index on the node; the GPUs of a task are adjacent."""
    owner: Ints
    """[GPU] the task to which it is allocated."""


def hold_together(trial: Trial, placed: Sequence[tuple[Placement, Waiting]]) -> bool:
    """True: each of these passes `check`, one after the other; quotas are not checked."""
    tasks = _tasks(trial, placed)
    if tasks is None:
        return False
    if not len(tasks.at):
        return True
    columns = trial.columns
    slot = _slots(columns, tasks)
    if slot is None or not _are_free(columns, tasks, slot) or not _suit(columns, tasks, slot):
        return False
    return _have_watts(trial, tasks, _rise_mw(columns, tasks, slot))


def _tasks(trial: Trial, placed: Sequence[tuple[Placement, Waiting]]) -> _Tasks | None:
    """None: a gang's placement differs from its request, or is on nodes where it may not start."""
    position = trial.snapshot.position
    numbers: dict[Shape, int] = {}
    at: list[int] = []
    of: list[int] = []
    priority: list[int] = []
    gpu: list[int] = []
    for placement, waiting in placed:
        shape, places = waiting.shape, placement.tasks
        nodes = [position.get(place.node, -1) for place in places]
        if not _is_whole(trial, waiting, places, nodes):
            return None
        number = numbers.setdefault(shape, len(numbers))
        at += nodes
        of += [number] * len(nodes)
        priority += [shape.priority] * len(nodes)
        for place in places:
            gpu += place.gpus
    asks, ask_of = [trial.ask(shape) for shape in numbers], np.array(of, np.int64)
    counts = np.array([ask.gpus for ask in asks], np.int64)[ask_of]
    return _Tasks(
        asks=asks,
        at=np.array(at, np.int64),
        of=ask_of,
        priority=np.array(priority, np.int64),
        gpu=np.array(gpu, np.int64),
        owner=np.repeat(np.arange(len(at)), counts),
    )


def _is_whole(
    trial: Trial, waiting: Waiting, places: tuple[TaskPlace, ...], nodes: list[int]
) -> bool:
    """Whether nodes and GPUs match the request, and reservations admit it there."""
    shape, barred = waiting.shape, trial.barred(waiting.stay)
    if len(places) != shape.nodes or len(set(nodes)) != shape.nodes or min(nodes) < 0:
        return False
    if any(len(set(place.gpus)) != shape.gpus or len(place.gpus) != shape.gpus for place in places):
        return False
    if barred is not None and barred[nodes].any():
        return False
    return not shape.same_rack or len(set(trial.columns.rack[nodes].tolist())) == 1


def _slots(columns: Columns, tasks: _Tasks) -> Ints | None:
    """[GPU] its slot; None: some do not exist."""
    node = tasks.at[tasks.owner]
    is_it = columns.gpu_index[node] == tasks.gpu[:, np.newaxis]
    is_it &= columns.gpu_class[node] != NO_CLASS
    slot: Ints = is_it.argmax(axis=1)
    return slot if is_it.any(axis=1).all() else None


def _are_free(columns: Columns, tasks: _Tasks, slot: Ints) -> bool:
    """Whether each node is open and has the GPUs, CPUs and memory for all its tasks."""
    at, of, slot_count = tasks.at, tasks.of, columns.slot_count
    milli = _each(tasks, "milli")[of[tasks.owner]]
    taken = _sums(at[tasks.owner] * slot_count + slot, milli, columns.node_count * slot_count)
    cpus = _sums(at, _each(tasks, "cpus")[of], columns.node_count)
    memory_bytes = _sums(at, _each(tasks, "memory_bytes")[of], columns.node_count)
    return bool(
        columns.is_open[at].all()
        and (taken <= columns.free_milli.ravel()).all()
        and (cpus <= columns.cpus_free)[at].all()
        and (memory_bytes <= columns.memory_free_bytes)[at].all()
    )


def _suit(columns: Columns, tasks: _Tasks, slot: Ints) -> bool:
    """Whether every GPU is of a class that its task accepts, and every node has its labels."""
    suited: Bools = np.array([ask.is_suited for ask in tasks.asks])
    labels: Bools = np.array([are_labelled(columns, ask.labels) for ask in tasks.asks])
    number = columns.gpu_class[tasks.at[tasks.owner], slot]
    return bool(
        suited[tasks.of[tasks.owner], number].all()
        and labels[tasks.of, columns.label_set[tasks.at]].all()
    )


def _rise_mw(columns: Columns, tasks: _Tasks, slot: Ints) -> Ints:
    """[task] maximum load that it adds before the power supplies."""
    draw_mw: Ints = np.array([ask.draw_mw for ask in tasks.asks])
    node = tasks.at[tasks.owner]
    wanted_mw = draw_mw[tasks.of[tasks.owner], columns.gpu_class[node, slot]]
    each_mw = np.maximum(wanted_mw - columns.idle_mw[node, slot], 0)
    return _sums(tasks.owner, each_mw, len(tasks.at))


def _have_watts(trial: Trial, tasks: _Tasks, rise_mw: Ints) -> bool:
    """Check the watts of every row. A priority counts on what lower ones release, so all tasks up
    to the last one of each priority must fit in the watts of that priority."""
    for priority in np.unique(tasks.priority).tolist():
        is_its = tasks.priority == priority
        upto = int(is_its.nonzero()[0][-1]) + 1
        taken_mw = _row_sums_mw(trial.columns, tasks.at[:upto], rise_mw[:upto])
        asked = np.zeros(len(taken_mw), np.bool_)
        columns = trial.columns
        asked[columns.group_rows[:, columns.group[tasks.at[is_its & (rise_mw > 0)]]]] = True
        if (taken_mw > np.maximum(trial.room_for(priority), 0))[asked].any():
            return False
    return True


def _row_sums_mw(columns: Columns, at: Ints, rise_mw: Ints) -> Ints:
    """[row] maximum wall milliwatts that tasks on these nodes count there."""
    count = np.bincount(at, minlength=columns.node_count)
    nodes = np.flatnonzero(count)
    load_mw, psu = columns.load_mw[nodes], columns.psu_permille[nodes]
    with_all_mw = load_mw + _sums(at, rise_mw, columns.node_count)[nodes]
    wall_mw = -(-with_all_mw * PERMILLE // psu) + (-load_mw * PERMILLE // psu)
    rows, shares = (
        each[:, columns.group[nodes]] for each in (columns.group_rows, columns.group_share)
    )
    # One milliwatt per task for rounding up when each is counted separately.
    counted_mw = np.where(shares == PERMILLE, wall_mw, wall_mw * shares // PERMILLE + count[nodes])
    return _sums(rows.ravel(), counted_mw.ravel(), len(columns.room_mw))


def _each(tasks: _Tasks, name: str) -> Ints:
    """[request] one of its numbers."""
    return np.array([getattr(ask, name) for ask in tasks.asks], np.int64)


def _sums(number: Ints, amount: Ints, count: int) -> Ints:
    """[0 to count] sums by number; whole numbers up to 2**53, so none is rounded."""
    sums: Ints = np.bincount(number, weights=amount, minlength=count).astype(np.int64)
    return sums
