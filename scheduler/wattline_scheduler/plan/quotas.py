"""Quotas as a plan sees them: what is left of each, and whether a gang would break one.

GPUs and watts are limits of what is held at a time: the start of a gang takes of them. Energy and
cost are of a day and a month: where one is used up nothing starts, and what runs goes on. A gang
that a quota keeps from starting is passed over: it takes no room from others, none is kept for it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from wattline_protocol.job import WHOLE_GPU
from wattline_protocol.messages import GpuInfo
from wattline_protocol.quantities import format_power
from wattline_protocol.wall import PERMILLE, ceil_div, wall_mw
from wattline_scheduler.plan.asks import Ask
from wattline_scheduler.plan.columns import NO_CLASS, Columns
from wattline_scheduler.plan.snapshot import Placement, QuotaRoom, Shape
from wattline_scheduler.plan.trial import Trial
from wattline_scheduler.power.loads import gpu_admission_mw
from wattline_scheduler.power.matrix import Bools


def task_mw(gpus: Iterable[GpuInfo], shape: Shape, psu_permille: int) -> int:
    """What counts for a task on these GPUs, at the wall: what is found for them at its start."""
    found_mw = sum(gpu_admission_mw(gpu, shape.need) for gpu in gpus)
    return wall_mw(found_mw * shape.gpu_milli // WHOLE_GPU, psu_permille)


def gang_milli(shape: Shape) -> int:
    """Thousandths of GPUs that a gang holds."""
    return shape.nodes * shape.gpus * shape.gpu_milli


ENDS = "free when others of it end"


class Quotas:
    """What is left of each quota while a plan is made or checked."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self.left: list[QuotaRoom] = list(trial.snapshot.quotas)
        self._least_mw: dict[Shape, int] = {}

    def refuses(self, numbers: Sequence[int], shape: Shape) -> str:
        """Which of these keeps a gang of the shape from starting, and why; empty = none does.

        Where it will run is not known yet, so it is asked for the watts of the GPUs that suit it
        and need least.
        """
        return next((why for number in numbers if (why := self._refuses(number, shape))), "")

    def _refuses(self, number: int, shape: Shape) -> str:
        room = self.left[number]
        return room.closed or lacks(room, gang_milli(shape), self._least(shape))

    def barred(self, numbers: Sequence[int], shape: Shape) -> Bools | None:
        """[node] where a task would take more than its equal part of the watts that are left, so
        that the gang stays within them wherever it is placed; None: no node is."""
        rooms = [self.left[number] for number in numbers]
        left = [room.most_mw - room.used_mw for room in rooms if room.most_mw]
        if not left:
            return None
        columns, ask = self._trial.columns, self._trial.ask(shape)
        mixed = columns.one_class == NO_CLASS
        load_mw = np.where(mixed, ask.about_mw, ask.task_mw[columns.one_class])
        load_mw = load_mw * shape.gpu_milli // WHOLE_GPU
        is_more: Bools = -(-load_mw * PERMILLE // columns.psu_permille) > min(left) // shape.nodes
        return is_more if is_more.any() else None

    def waits_for_less(self, numbers: Sequence[int]) -> str:
        """Why a gang waits that fits nowhere else than where it would take too many watts."""
        rooms = [self.left[number] for number in numbers if self.left[number].most_mw]
        room = min(rooms, key=lambda room: room.most_mw - room.used_mw)
        most, used = watts_said(room.most_mw), watts_said(room.used_mw)
        return (
            f"waits for the quota of {room.name}: {most} at a time, {used} booked, and the GPUs "
            "that are free take more than is left"
        )

    def keep(self, numbers: Sequence[int], shape: Shape) -> None:
        """What is left of those that refuse the gang is for nobody behind it, if it ever fits."""
        lacking = [n for n in numbers if self._refuses(n, shape)]
        if not any(self._never(n, shape) for n in lacking):
            self.expect(lacking, shape)

    def _never(self, number: int, shape: Shape) -> bool:
        room = replace(self.left[number], used_milli=0, used_mw=0)
        return bool(lacks(room, gang_milli(shape), self._least(shape)))

    def expect(self, numbers: Sequence[int], shape: Shape) -> None:
        """The gang will start somewhere."""
        if numbers:
            self._add(numbers, gang_milli(shape), self._least(shape))

    def take(self, numbers: Sequence[int], shape: Shape, placement: Placement) -> None:
        """The gang starts there."""
        if numbers:
            self._add(numbers, gang_milli(shape), self._mw(shape, placement))

    def _add(self, numbers: Sequence[int], milli: int, mw: int) -> None:
        for number in numbers:
            room = self.left[number]
            self.left[number] = replace(
                room, used_milli=room.used_milli + milli, used_mw=room.used_mw + mw
            )

    def breaks(self, numbers: Sequence[int], shape: Shape, placement: Placement) -> str:
        """As `refuses`, of a gang whose places are known."""
        milli, mw = gang_milli(shape), self._mw(shape, placement) if numbers else 0
        whys = (self.left[n].closed or lacks(self.left[n], milli, mw) for n in numbers)
        return next((why for why in whys if why), "")

    def _mw(self, shape: Shape, placement: Placement) -> int:
        trial, total_mw = self._trial, 0
        for place in placement.tasks:
            at = trial.snapshot.position[place.node]
            wanted = set(place.gpus)
            gpus = (gpu for gpu in trial.snapshot.nodes[at].gpus if gpu.index in wanted)
            total_mw += task_mw(gpus, shape, int(trial.columns.psu_permille[at]))
        return total_mw

    def _least(self, shape: Shape) -> int:
        known = self._least_mw.get(shape)
        if known is None:
            columns = self._trial.columns
            known = self._least_mw[shape] = least_mw(columns, self._trial.ask(shape), shape)
        return known


def least_mw(columns: Columns, ask: Ask, shape: Shape) -> int:
    """What counts for a gang on the GPUs that suit it and need least; 0 where none is known."""
    suited_mw = ask.draw_mw[ask.is_suited]
    if not len(suited_mw) or not columns.node_count:
        return 0
    each_mw = ask.gpus * int(suited_mw.min()) * shape.gpu_milli // WHOLE_GPU
    return shape.nodes * wall_mw(each_mw, int(columns.psu_permille.max()))


def lacks(room: QuotaRoom, milli: int, mw: int) -> str:
    """What a gang that wants so much would exceed, in words; empty = nothing."""
    if room.most_milli and milli and room.used_milli + milli > room.most_milli:
        most, used = gpus_said(room.most_milli), f"{gpus_said(room.used_milli)} in use"
        return _waits(room, most, used, gpus_said(milli), is_vain=milli > room.most_milli)
    if room.most_mw and mw and room.used_mw + mw > room.most_mw:
        most, used = watts_said(room.most_mw), f"{watts_said(room.used_mw)} booked"
        return _waits(room, most, used, watts_said(mw), is_vain=mw > room.most_mw)
    return ""


def _waits(room: QuotaRoom, most: str, used: str, wanted: str, *, is_vain: bool) -> str:
    ends = "it never starts unless it or the quota is changed" if is_vain else ENDS
    return (
        f"waits for the quota of {room.name}: {most} at a time, {used}, it wants {wanted}; {ends}"
    )


def gpus_said(milli: int) -> str:
    """`8 GPUs`, `1 GPU`, `0.5 GPUs`."""
    count = milli / WHOLE_GPU
    return f"{count:g} GPU{'' if count == 1 else 's'}"


def watts_said(mw: int) -> str:
    """Whole watts, rounded up."""
    return format_power(ceil_div(mw, 1000) * 1000)
