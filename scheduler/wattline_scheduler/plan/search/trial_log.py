"""Tasks taken on a copy of the columns, and rolled back: the basis of a trial.

`checkpoint` and `rollback` bracket a gang. Each task logs what it changed, and marks its node and
rows as changed.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from wattline_protocol.site.wall_power import PERMILLE, wall_mw
from wattline_scheduler.plan.model.columns import (
    MOST_IDLE_MW,
    NO_CLASS,
    WHOLE_MILLI,
    Ints32,
)
from wattline_scheduler.plan.model.device_classes import gpu_of
from wattline_scheduler.plan.model.headroom import Headroom
from wattline_scheduler.plan.model.snapshot import Snapshot, TaskAllocation
from wattline_scheduler.plan.model.task_request import Ask
from wattline_scheduler.plan.search.score_cache import ScoreCache
from wattline_scheduler.power.topology.matrix import Ints

STEPS_PER_TASK = 30
"""Effort of entering one task."""


class Task(NamedTuple):
    """A task on certain GPUs of a node."""

    at: int
    slots: list[int]
    ask: Ask
    rise_mw: int
    """Before the power supplies."""
    rows: Ints
    """Above the node."""
    counted_mw: Ints | int
    """In each of them."""
    is_reserved: bool = False
    """Reserved, not running: what its GPU counts for others does not change."""


class _Before(NamedTuple):
    """Changes of one task."""

    at: int
    is_open: bool
    free_milli: list[int]
    cpus: int
    memory_bytes: int
    load_mw: int
    idle_mw: Ints32 | None
    """Idle draw before, if changed."""
    rows: Ints
    counted_mw: Ints | int


class TrialLog:
    """A snapshot on which tasks are entered. Columns are by position in the snapshot."""

    def __init__(self, snapshot: Snapshot, cache: ScoreCache) -> None:
        self.snapshot = snapshot
        self.columns = snapshot.columns.copy()
        self.effort = 0
        """Work done so far, in steps of about a microsecond; the same on every machine."""
        self._cache = cache
        self._began = cache.begin(snapshot)
        self._log: list[_Before] = []
        self._headroom = Headroom(self.columns)

    def close(self) -> None:
        """Discard the copy: cached values of its nodes become invalid."""
        self._cache.end(self._began)

    def checkpoint(self) -> int:
        """A point to roll back to."""
        return len(self._log)

    def rollback(self, mark: int) -> None:
        """Undo everything since `mark`."""
        columns = self.columns
        while len(self._log) > mark:
            before = self._log.pop()
            at = before.at
            columns.free_milli[at], columns.load_mw[at] = before.free_milli, before.load_mw
            columns.cpus_free[at] += before.cpus
            columns.memory_free_bytes[at] += before.memory_bytes
            if before.idle_mw is not None:
                columns.idle_mw[at] = before.idle_mw
            columns.note_slots(at)
            columns.is_open[at] = before.is_open
            self._cache.touch(at)
            self._headroom.add(before.rows, before.counted_mw)

    def finish_gang(self, mark: int) -> None:
        """Commit what was placed since `mark`: the next gang may use the nodes."""
        self.open_again(mark)
        del self._log[mark:]

    def open_again(self, mark: int) -> None:
        """As `finish_gang`, but it can still be rolled back."""
        for before in self._log[mark:]:
            self.columns.is_open[before.at] = before.is_open
            self._cache.touch(before.at)

    def hold(self, task: Task) -> None:
        """Reserve the resources of a task that cannot start yet."""
        self.take(task._replace(is_reserved=True))
        self.finish_gang(len(self._log) - 1)

    def give_back(self, task: Task) -> None:
        """Undo `hold`, whatever was placed since."""
        columns, at = self.columns, task.at
        columns.free_milli[at, task.slots] += task.ask.milli
        columns.load_mw[at] -= task.rise_mw
        columns.cpus_free[at] += task.ask.cpus
        columns.memory_free_bytes[at] += task.ask.memory_bytes
        columns.note_slots(at)
        self._cache.touch(at)
        self._headroom.add(task.rows, task.counted_mw)

    def task(self, at: int, slots: list[int], ask: Ask, later: Sequence[int] = ()) -> Task:
        """The resources that a task on these free GPUs would take.

        `later`: GPUs that it gets once they are free; watts beyond those counted there apply now.
        """
        columns = self.columns
        number, idle_mw = columns.gpu_class[at].tolist(), columns.idle_mw[at].tolist()
        rise_mw = 0
        for slot in (*slots, *later):
            rise_mw += max(0, ask.draws_mw[number[slot]] - idle_mw[slot])
        load_mw, psu = columns.load_mw.item(at), columns.psu_permille.item(at)
        taken_mw = wall_mw(load_mw + rise_mw, psu) - wall_mw(load_mw, psu)
        group = columns.group[at]
        counted: Ints | int = taken_mw
        if not columns.are_whole_shares:
            counted = -(-taken_mw * columns.group_share[:, group] // PERMILLE)
        return Task(at, slots, ask, rise_mw, columns.group_rows[:, group], counted)

    def has_watts(self, task: Task, priority: int) -> bool:
        """Whether the rows of its node have headroom."""
        headroom_mw = (
            self.columns.headroom_mw[task.rows] + self._headroom.given_back_mw(priority)[task.rows]
        )
        return bool(np.logical_and.reduce(np.maximum(headroom_mw, 0) >= task.counted_mw))

    def take(self, task: Task) -> None:
        """Enter a task."""
        columns, ask, at = self.columns, task.ask, task.at
        self._log.append(
            _Before(
                at=at,
                is_open=bool(columns.is_open[at]),
                free_milli=columns.free_milli[at].tolist(),
                cpus=ask.cpus,
                memory_bytes=ask.memory_bytes,
                load_mw=columns.load_mw.item(at),
                idle_mw=columns.idle_mw[at].copy() if ask.is_part else None,
                rows=task.rows,
                counted_mw=task.counted_mw,
            )
        )
        columns.is_open[at] = False
        self._enter(task)

    def _enter(self, task: Task) -> None:
        columns, ask, at = self.columns, task.ask, task.at
        columns.load_mw[at] += task.rise_mw
        free_milli = columns.free_milli[at]
        for slot in task.slots:
            free_milli[slot] -= ask.milli
        if ask.is_part and not task.is_reserved:
            self._note_part(task)
        columns.note_slots(at)
        columns.cpus_free[at] -= ask.cpus
        columns.memory_free_bytes[at] -= ask.memory_bytes
        self._headroom.add(task.rows, -task.counted_mw)
        self._entered(at)

    def _entered(self, at: int) -> None:
        self.effort += STEPS_PER_TASK
        self._cache.touch(at)

    def take_away(self, used: TaskAllocation) -> None:
        """Remove a running task. Headroom is unchanged: it already includes its watts."""
        columns, at = self.columns, used.at
        self.effort += STEPS_PER_TASK
        free_milli, idle_mw = columns.free_milli[at].tolist(), columns.idle_mw[at].copy()
        load_mw, rows = int(columns.load_mw[at]), columns.group_rows[:, columns.group[at]]
        self._log.append(
            _Before(
                at=at,
                is_open=bool(columns.is_open[at]),
                free_milli=free_milli,
                cpus=-used.cpus,
                memory_bytes=-used.memory_bytes,
                load_mw=load_mw,
                idle_mw=idle_mw,
                rows=rows,
                counted_mw=0,
            )
        )
        self._give_back(at, (used,))

    def end(self, at: int, used: Sequence[TaskAllocation], priority: int) -> None:
        """Remove tasks of a node that have ended, for good. Their watts are headroom for all, not
        only for those that might preempt them."""
        columns, psu = self.columns, self.columns.psu_permille.item(at)
        if columns.yields_mw is self.snapshot.columns.yields_mw:
            columns.yields_mw = columns.yields_mw.copy()
        freed_mw = wall_mw(columns.load_mw.item(at), psu)
        self._give_back(at, used)
        freed_mw -= wall_mw(columns.load_mw.item(at), psu)
        if self.snapshot.nodes[at].booking.is_controlled:
            rows, shares = (
                of[:, columns.group[at]] for of in (columns.group_rows, columns.group_share)
            )
            counted_mw = freed_mw * shares // PERMILLE
            columns.yields_mw[rows, priority] -= counted_mw
            self._headroom.add(rows, counted_mw)

    def _give_back(self, at: int, tasks: Sequence[TaskAllocation]) -> None:
        columns = self.columns
        idle_of = {gpu.index: gpu.idle_mw for gpu in self.snapshot.nodes[at].gpus}
        index = enumerate(columns.gpu_index[at].tolist())
        numbers = columns.gpu_class[at].tolist()
        slot_of = {gpu: slot for slot, gpu in index if numbers[slot] != NO_CLASS}
        for used in tasks:
            columns.cpus_free[at] += used.cpus
            columns.memory_free_bytes[at] += used.memory_bytes
            for gpu, counts_mw in zip(used.gpus, used.counts_mw, strict=True):
                if gpu in idle_of:
                    columns.free_milli[at, slot_of[gpu]] += used.milli
                    of_gpu = self._slots_of(at, gpu)
                    if (columns.free_milli[at, of_gpu] == WHOLE_MILLI).all():
                        columns.idle_mw[at, of_gpu] = min(idle_of[gpu], MOST_IDLE_MW)
                        columns.load_mw[at] -= counts_mw
        columns.note_slots(at)
        self._cache.touch(at)

    def _note_part(self, task: Task) -> None:
        """A shared GPU counts the highest requirement of its holders."""
        columns, at, draws_mw = self.columns, task.at, task.ask.draws_mw
        for slot in task.slots:
            counts_mw = max(int(columns.idle_mw[at, slot]), draws_mw[columns.gpu_class[at, slot]])
            of_gpu = self._slots_of(at, int(columns.gpu_index[at, slot]))
            columns.idle_mw[at, of_gpu] = min(counts_mw, MOST_IDLE_MW)

    def _slots_of(self, at: int, device: int) -> list[int]:
        """Slots of the GPU that a device belongs to: more than one in MIG mode."""
        indices = self.columns.gpu_index[at].tolist()
        numbers = self.columns.gpu_class[at].tolist()
        return [
            slot
            for slot, (index, number) in enumerate(zip(indices, numbers, strict=True))
            if number != NO_CLASS and gpu_of(index) == gpu_of(device)
        ]
