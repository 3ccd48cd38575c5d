"""Re-checks the placements of a plan against the current state when it is applied.

A plan places hundreds of gangs, and nearly always all of them pass: their total demand is computed
in a few array operations, independently of the trial that placed them, and compared with what is
free. A positive result is certain. A negative one is certain for a single gang only, since sums
are rounded up and shares of one GPU are added as if they did not overlap; so after a negative
result both halves are checked, the second with the first taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wattline_protocol.site.wall_power import PERMILLE
from wattline_scheduler.plan.model.columns import NO_CLASS, Columns
from wattline_scheduler.plan.model.node_fit import Available, Wanted, fits_each
from wattline_scheduler.plan.model.shape import Shape, Waiting
from wattline_scheduler.plan.model.snapshot import Placement, TaskPlace
from wattline_scheduler.plan.model.task_request import Ask, are_labelled
from wattline_scheduler.plan.search.quota_headroom import Quotas
from wattline_scheduler.plan.search.trial import Trial
from wattline_scheduler.power.topology.matrix import Bools, Ints

Placed = tuple[Placement, Waiting]
"""A gang's placement and its request."""


def passing(trial: Trial, placed: Sequence[Placed]) -> list[Placed]:
    """Those that can be applied, one after the other. The trial is restored."""
    return _passing(trial, Quotas(trial), placed)


def _passing(trial: Trial, quotas: Quotas, placed: Sequence[Placed]) -> list[Placed]:
    if _keep_quotas(quotas, placed) and _hold_together(trial, placed):
        return [*placed]
    if len(placed) == 1:
        return []
    middle = len(placed) // 2
    first = _passing(trial, quotas, placed[:middle])
    mark, left = trial.checkpoint(), [*quotas.left]
    for one in first:
        _take(trial, quotas, one)
    rest = _passing(trial, quotas, placed[middle:])
    trial.rollback(mark)
    quotas.left = left
    return first + rest


def _take(trial: Trial, quotas: Quotas, placed: Placed) -> None:
    placement, waiting = placed
    quotas.take(waiting.quotas, waiting.shape, placement)
    mark, ask = trial.checkpoint(), trial.ask(waiting.shape)
    for place in placement.tasks:
        at = trial.snapshot.position[place.node]
        slots = np.flatnonzero(
            (trial.columns.gpu_class[at] != NO_CLASS)
            & np.isin(trial.columns.gpu_index[at], place.gpus)
        )
        trial.take(trial.task(at, slots.tolist(), ask))
    trial.open_again(mark)


def _keep_quotas(quotas: Quotas, placed: Sequence[Placed]) -> bool:
    """Whether the quotas allow all of them; they are restored."""
    left = [*quotas.left]
    try:
        for one, each in placed:
            if quotas.breaks(each.quotas, each.shape, one):
                return False
            quotas.take(each.quotas, each.shape, one)
        return True
    finally:
        quotas.left = left


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


def _hold_together(trial: Trial, placed: Sequence[Placed]) -> bool:
    """True: these can be applied one after the other; quotas are not checked."""
    tasks = _tasks(trial, placed)
    if tasks is None:
        return False
    if not len(tasks.at):
        return True
    slot = _slots(trial.columns, tasks)
    return (
        slot is not None
        and _fit(trial.columns, tasks, slot)
        and _have_watts(trial, tasks, _rise_mw(trial.columns, tasks, slot))
    )


def _tasks(trial: Trial, placed: Sequence[Placed]) -> _Tasks | None:
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
    if not shape.nodes <= len(places) <= shape.most_nodes or min(nodes) < 0:
        return False
    if len(set(nodes)) < len(nodes):
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


def _fit(columns: Columns, tasks: _Tasks, slot: Ints) -> bool:
    """Whether each task fits its node, if it requests what all tasks there request together."""
    at, of, owner, slot_count = tasks.at, tasks.of, tasks.owner, columns.slot_count
    node, milli = at[owner], _each(tasks, "milli")[of[owner]]
    taken = _sums(node * slot_count + slot, milli, columns.node_count * slot_count)
    is_free = (taken <= columns.free_milli.ravel())[node * slot_count + slot]
    suited: Bools = np.array([ask.is_suited for ask in tasks.asks])
    labels: Bools = np.array([are_labelled(columns, ask.labels) for ask in tasks.asks])
    suits = suited[of[owner], columns.gpu_class[node, slot]]
    free = Available(
        gpus=_sums(owner, is_free & suits, len(at)),
        cpus=columns.cpus_free[at],
        memory_bytes=columns.memory_free_bytes[at],
        is_open=columns.is_open[at],
        has_labels=labels[of, columns.label_set[at]],
    )
    wanted = Wanted(
        gpus=_each(tasks, "gpus")[of],
        cpus=_sums(at, _each(tasks, "cpus")[of], columns.node_count)[at],
        memory_bytes=_sums(at, _each(tasks, "memory_bytes")[of], columns.node_count)[at],
    )
    return bool(np.all(fits_each(free, wanted)))


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
        if (taken_mw > np.maximum(trial.headroom_for(priority), 0))[asked].any():
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
    # One more milliwatt per further task for rounding up when each is counted separately.
    rounded_mw = -(-wall_mw * shares // PERMILLE) + count[nodes] - 1
    counted_mw = np.where(shares == PERMILLE, wall_mw, rounded_mw)
    return _sums(rows.ravel(), counted_mw.ravel(), len(columns.headroom_mw))


def _each(tasks: _Tasks, name: str) -> Ints:
    """[request] one of its numbers."""
    return np.array([getattr(ask, name) for ask in tasks.asks], np.int64)


def _sums(number: Ints, amount: Ints, count: int) -> Ints:
    """[0 to count] sums by number; whole numbers up to 2**53, so none is rounded."""
    sums: Ints = np.bincount(number, weights=amount, minlength=count).astype(np.int64)
    return sums
