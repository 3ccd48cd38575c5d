"""Try before you commit: placements on a copy of the columns that can be taken back.

`checkpoint` and `rollback` bracket a gang; the same copy answers "would it fit?".
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from wattline_protocol.site import DomainKind, Weights
from wattline_protocol.wall import PERMILLE, wall_mw
from wattline_scheduler.plan import loops
from wattline_scheduler.plan.asks import ALL, Ask, fits, leanest_slot, needed_mw, slots_for
from wattline_scheduler.plan.columns import ENDLESS_MW, NO_CLASS, WHOLE_MILLI, Ints32
from wattline_scheduler.plan.devices import gpu_of
from wattline_scheduler.plan.looks import Look, Looks, Tried
from wattline_scheduler.plan.loops import Loops
from wattline_scheduler.plan.rank import rows_cost
from wattline_scheduler.plan.reservations import EVERYWHERE, Key, Stay
from wattline_scheduler.plan.rooms import Rooms, most_mw
from wattline_scheduler.plan.snapshot import Shape, Snapshot, TaskPlace, Used
from wattline_scheduler.plan.turns import Turns
from wattline_scheduler.power.matrix import Bools, Floats, Ints

STEPS_PER_CHOICE, NODES_PER_CHOICE_STEP = 30, 250
"""The same of choosing the best of nodes that were looked at."""

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
    is_kept: bool = False
    """Nobody runs it yet: what its GPU counts for others does not change."""


class _Before(NamedTuple):
    """What one task changed, and by how much."""

    at: int
    is_open: bool
    free_milli: list[int]
    cpus: int
    memory_bytes: int
    load_mw: int
    idle_mw: Ints32 | None
    """Where it changed."""
    rows: Ints
    counted_mw: Ints | int


class Trial:
    """A snapshot on which placements can be tried. Columns are by position in the snapshot."""

    def __init__(self, snapshot: Snapshot, looks: Looks | None = None) -> None:
        self.snapshot = snapshot
        self.columns = snapshot.columns.copy()
        self.effort = 0
        """What was done so far, in steps of about a microsecond; the same on every machine."""
        self._looks = looks if looks is not None else Looks()
        self._began = self._looks.begin(snapshot)
        self._log: list[_Before] = []
        self._rooms = Rooms(self.columns)
        self._loops: Loops | None = None
        if loops.LIBRARY is not None:
            budget_mw = self._rooms.budget_mw
            self._loops = Loops(loops.LIBRARY, self.columns, budget_mw, snapshot.weights)
        self._other_rows: dict[DomainKind, list[int]] = {}
        self._usable: dict[tuple[bool, ...], Ints] = {}
        """By the classes that suit."""
        self._barred: dict[Key, Bools | None] = {}
        """Where reservations let nobody of that key start."""

    def close(self) -> None:
        """The copy goes away: what was kept of its nodes is no longer true."""
        self._looks.end(self._began)

    @property
    def cycle(self) -> int:
        """A number that grows from trial to trial with the same memory."""
        return self._looks.cycle

    @property
    def turns(self) -> Turns:
        """Who may have room looked for, kept by the same memory."""
        return self._looks.turns

    @property
    def weights(self) -> Weights:
        """What each term of the cost counts for."""
        return self.snapshot.weights

    def checkpoint(self) -> int:
        """A point to roll back to."""
        return len(self._log)

    def rollback(self, mark: int) -> None:
        """Take back everything since `mark`."""
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
            self._looks.touch(at)
            self._rooms.add(before.rows, before.counted_mw)

    def finish_gang(self, mark: int) -> None:
        """Commit what was placed since `mark`: the nodes may be used by the next gang."""
        self.open_again(mark)
        del self._log[mark:]

    def open_again(self, mark: int) -> None:
        """The same, but it can still be rolled back."""
        for before in self._log[mark:]:
            self.columns.is_open[before.at] = before.is_open
            self._looks.touch(before.at)

    def key(self, stay: Stay) -> Key:
        """Of stays with the same key `barred` is the same."""
        reservations = self.snapshot.reservations
        return EVERYWHERE if reservations is None else reservations.key(stay)

    def barred(self, stay: Stay) -> Bools | None:
        """[node] where reservations do not let it start now; None: they let it everywhere."""
        reservations = self.snapshot.reservations
        if reservations is None:
            return None
        key = reservations.key(stay)
        if key not in self._barred:
            self._barred[key] = reservations.barred(stay)
        return self._barred[key]

    def look(self, shape: Shape) -> Look:
        """The shape on all nodes, as they are now."""
        look, effort = self._looks.of(shape, self.columns, self._loops)
        self.effort += effort
        return look

    def tried(self, shape: Shape) -> Tried:
        """What earlier cycles found of the shape."""
        return self._looks.tried(shape, self.columns)

    def ask(self, shape: Shape) -> Ask:
        """The shape in the numbers of the columns."""
        return self._looks.ask(shape, self.columns)

    def usable(self, shape: Shape) -> Ints:
        """[node] GPUs that suit and work, free or not."""
        ask = self.ask(shape)
        known = self._usable.get(ask.suited)
        if known is None:
            known = ask.is_suited[self.columns.gpu_class].sum(axis=1)
            self._usable[ask.suited] = known
        return known

    def room_for(self, priority: int) -> Ints:
        """[row] what is left, and what lower priorities there would give back."""
        return self._rooms.room_mw(priority)

    def most_mw(self, priority: int, kind: DomainKind) -> Ints:
        """[group] the largest task that all rows of one kind above have room for."""
        room_mw = self.room_for(priority)
        room_mw[self._others(kind)] = ENDLESS_MW
        return most_mw(self.columns, room_mw)

    def _others(self, kind: DomainKind) -> list[int]:
        known = self._other_rows.get(kind)
        if known is None:
            rows = enumerate(self.snapshot.rows)
            known = self._other_rows[kind] = [row for row, name in rows if name.kind != kind]
        return known

    def costs(self, shape: Shape) -> Floats:
        """[node] the whole cost of a task there; infinite where it does not fit."""
        look = self.look(shape)
        self.effort += STEPS_PER_CHOICE + self.columns.node_count // NODES_PER_CHOICE_STEP
        costs = look.cost + rows_cost(self._rooms, look.ask, ALL, self.weights)
        costs[look.needed_mw > self._rooms.most_mw(shape.priority, ALL)] = np.inf
        return costs

    def place_best(self, shape: Shape, barred: Bools | None = None) -> TaskPlace | None:
        """Put a gang of one node on the first of the nodes with the least of `costs`, without those
        that are `barred`; None = it fits on none. It cannot be rolled back.
        """
        look = self.look(shape)
        at = self._best(look, shape.priority, barred)
        return self._settle(self._best_task(at, shape, look.ask)) if at is not None else None

    def _best(self, look: Look, priority: int, barred: Bools | None) -> int | None:
        """Only nodes that it fits on are asked what their rows allow, and if the best of them has
        the watts, no others: on a full site they are few."""
        self.effort += STEPS_PER_CHOICE + self.columns.node_count // NODES_PER_CHOICE_STEP
        if self._loops is not None and look.wanted is not None:
            return self._loops.best(look.wanted, self._rooms.given_back_mw(priority), barred)
        fits_on = look.cost < np.inf
        able = (fits_on if barred is None else fits_on & ~barred).nonzero()[0]
        if not len(able):
            return None
        costs = look.cost[able] + rows_cost(self._rooms, look.ask, able, self.weights)
        first = able.item(costs.argmin())
        if self._rooms.allow(look.needed_mw.item(first), priority, first):
            return first
        costs[look.needed_mw[able] > self._rooms.most_mw(priority, able)] = np.inf
        best = costs.argmin()
        return able.item(best) if costs[best] < np.inf else None

    def place(self, at: int, shape: Shape) -> TaskPlace:
        """Put one task of `shape` on the node at `at`, on the GPUs that suit it best."""
        task = self._best_task(at, shape, self.ask(shape))
        self.take(task)
        return self._place_of(task)

    def _settle(self, task: Task) -> TaskPlace:
        self._enter(task)
        return self._place_of(task)

    def _best_task(self, at: int, shape: Shape, ask: Ask) -> Task:
        slots = self._share_slot(at, shape) if ask.is_share else slots_for(self.columns, ask, at)
        return self.task(at, slots, ask)

    def _place_of(self, task: Task) -> TaskPlace:
        index = self.columns.gpu_index[task.at].tolist()
        indices = sorted(index[slot] for slot in task.slots)
        return TaskPlace(self.snapshot.nodes[task.at].node, tuple(indices))

    def _share_slot(self, at: int, shape: Shape) -> list[int]:
        """The GPU on which it costs least; where its watts lack, that which needs the fewest."""
        look = self.look(shape)
        if look.slot is None or look.cost[at] == np.inf:
            return slots_for(self.columns, look.ask, at)
        best = [int(look.slot[at])]
        if self.has_watts(self.task(at, best, look.ask), shape.priority):
            return best
        return [int(leanest_slot(self.columns, look.ask, np.array([at]))[0])]

    def hold(self, task: Task) -> None:
        """Keep from everybody else what a task takes that cannot start yet."""
        self.take(task._replace(is_kept=True))
        self.finish_gang(len(self._log) - 1)

    def give_back(self, task: Task) -> None:
        """Undo `hold`, whatever was placed since."""
        columns, at = self.columns, task.at
        columns.free_milli[at, task.slots] += task.ask.milli
        columns.load_mw[at] -= task.rise_mw
        columns.cpus_free[at] += task.ask.cpus
        columns.memory_free_bytes[at] += task.ask.memory_bytes
        columns.note_slots(at)
        self._looks.touch(at)
        self._rooms.add(task.rows, task.counted_mw)

    def task(self, at: int, slots: list[int], ask: Ask, later: Sequence[int] = ()) -> Task:
        """What a task on these GPUs, which are free, would take.

        `later`: others that it gets once they are free; watts beyond those held there count now.
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
        """Whether there is room below the rows of its node."""
        room_mw = self.columns.room_mw[task.rows] + self._rooms.given_back_mw(priority)[task.rows]
        return bool(np.logical_and.reduce(np.maximum(room_mw, 0) >= task.counted_mw))

    def fits(self, task: Task, priority: int) -> bool:
        """Whether there is room on the node and below its rows."""
        columns, at = self.columns, task.at
        return bool(
            columns.is_open[at]
            and task.ask.labels <= columns.label_sets[columns.label_set[at]]
            and columns.cpus_free[at] >= task.ask.cpus
            and columns.memory_free_bytes[at] >= task.ask.memory_bytes
            and self.has_watts(task, priority)
        )

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
        self.effort += STEPS_PER_TASK
        columns.load_mw[at] += task.rise_mw
        free_milli = columns.free_milli[at]
        for slot in task.slots:
            free_milli[slot] -= ask.milli
        if ask.is_part and not task.is_kept:
            self._note_part(task)
        columns.note_slots(at)
        columns.cpus_free[at] -= ask.cpus
        columns.memory_free_bytes[at] -= ask.memory_bytes
        self._looks.touch(at)
        self._rooms.add(task.rows, -task.counted_mw)

    def take_away(self, used: Used) -> None:
        """As if a task that runs was not there. Rooms stay: they count on its watts already."""
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
        idle_of = {gpu.index: gpu.idle_mw for gpu in self.snapshot.nodes[at].gpus}
        index = enumerate(columns.gpu_index[at].tolist())
        numbers = columns.gpu_class[at].tolist()
        slot_of = {gpu: slot for slot, gpu in index if numbers[slot] != NO_CLASS}
        for gpu, counts_mw in zip(used.gpus, used.counts_mw, strict=True):
            if gpu in idle_of:
                slot = slot_of[gpu]
                columns.free_milli[at, slot] += used.milli
                of_gpu = self._slots_of(at, gpu)
                if (columns.free_milli[at, of_gpu] == WHOLE_MILLI).all():
                    columns.idle_mw[at, of_gpu] = idle_of[gpu]
                    columns.load_mw[at] -= counts_mw
        columns.note_slots(at)
        columns.cpus_free[at] += used.cpus
        columns.memory_free_bytes[at] += used.memory_bytes
        self._looks.touch(at)

    def fits_node(self, at: int, shape: Shape) -> bool:
        """Whether the node alone could take a task; watts are not looked at."""
        return bool(fits(self.columns, self.ask(shape), np.array([at]))[0])

    def fits_now(self, at: int, shape: Shape) -> bool:
        """Whether the node could take a task, with what its rows leave: its cost is finite."""
        columns, ask, one = self.columns, self.ask(shape), np.array([at])
        if not fits(columns, ask, one)[0]:
            return False
        slot = leanest_slot(columns, ask, one) if ask.is_share else None
        most_mw = self._rooms.most_mw(shape.priority, one)
        return bool(needed_mw(columns, ask, one, slot)[0] <= most_mw[0])

    def _note_part(self, task: Task) -> None:
        """What a shared GPU counts is what its most demanding holder needs."""
        columns, at, draws_mw = self.columns, task.at, task.ask.draws_mw
        for slot in task.slots:
            counts_mw = max(int(columns.idle_mw[at, slot]), draws_mw[columns.gpu_class[at, slot]])
            columns.idle_mw[at, self._slots_of(at, int(columns.gpu_index[at, slot]))] = counts_mw

    def _slots_of(self, at: int, device: int) -> list[int]:
        """Slots of the GPU that a device belongs to: more than one where it is in MIG mode."""
        indices = self.columns.gpu_index[at].tolist()
        numbers = self.columns.gpu_class[at].tolist()
        return [
            slot
            for slot, (index, number) in enumerate(zip(indices, numbers, strict=True))
            if number != NO_CLASS and gpu_of(index) == gpu_of(device)
        ]
