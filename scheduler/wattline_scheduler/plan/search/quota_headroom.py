"""Quotas in the planner: the remainder of each, and whether a gang would exceed one.

GPUs and watts are limits on concurrent allocation: the start of a gang uses them. A share of a GPU
counts as its part, a MIG device by its compute slices. Energy and cost are limits per day and
month: once exhausted nothing starts, and running work continues. A gang blocked by a quota is
passed over, unless preemption frees quota headroom (`preempt_quota`).
"""

from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from wattline_protocol.job.spec import WHOLE_GPU
from wattline_protocol.site.wall_power import PERMILLE, wall_mw
from wattline_protocol.text.wording import counted, power_text
from wattline_protocol.views.account_views import QuotaLimit
from wattline_protocol.wire.agent_messages import GpuInfo
from wattline_scheduler.plan.mix.fragmentation import each_milli
from wattline_scheduler.plan.model.columns import NO_CLASS, Columns
from wattline_scheduler.plan.model.device_classes import size_milli
from wattline_scheduler.plan.model.shape import Shape
from wattline_scheduler.plan.model.snapshot import Placement, QuotaHeadroom, RunningGang
from wattline_scheduler.plan.model.task_request import Ask
from wattline_scheduler.plan.search.trial import Trial
from wattline_scheduler.power.demand.node_load import gpu_admission_mw
from wattline_scheduler.power.topology.matrix import Bools, Ints


class Held(NamedTuple):
    """Amounts that count in a quota."""

    milli: int
    """Thousandths of GPUs."""
    mw: int
    """Admitted watts of these GPUs, at the wall."""


NOTHING = Held(0, 0)


def task_held(gpus: Iterable[GpuInfo], shape: Shape, psu_permille: int) -> Held:
    """Amounts of a task on these GPUs or MIG devices."""
    milli = found_mw = 0
    for gpu in gpus:
        size = size_milli(gpu) * shape.gpu_milli // WHOLE_GPU
        milli += size
        found_mw += gpu_admission_mw(gpu, shape.need) * size // WHOLE_GPU
    return Held(milli, wall_mw(found_mw, psu_permille))


STEPS_PER_SIZE = 20
"""Effort of evaluating one size of a gang."""

ENDS = "available when other jobs of the quota end"


class Quotas:
    """Remaining quotas while a plan is made or checked."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self.left: list[QuotaHeadroom] = list(trial.snapshot.quotas)
        self._least_of = LeastHeld(trial.columns, trial.ask).of

    def refuses(self, numbers: Sequence[int], shape: Shape) -> str:
        """The first of these that blocks a gang of the shape, and why; empty = none does.

        Its nodes are not known yet, so it counts with the watts of the suitable GPUs that need
        least.
        """
        if not numbers:  # the usual case
            return ""
        return next((why for number in numbers if (why := self._refuses(number, shape))), "")

    def _refuses(self, number: int, shape: Shape) -> str:
        quota = self.left[number]
        return quota.closed or lacks(quota, self._least_of(shape))

    def exceeds(self, numbers: Sequence[int], shape: Shape) -> bool:
        """Whether a gang would exceed the concurrent limit of one of these."""
        wants = self._least_of(shape) if numbers else NOTHING
        return any(exceeded(self.left[number], wants) for number in numbers)

    def within(self, numbers: Sequence[int], shape: Shape) -> Shape:
        """The shape with as many nodes at most as these allow on any nodes, or the least."""
        if not numbers or shape.most_nodes == shape.nodes:
            return shape
        sizes = range(shape.nodes + 1, shape.most_nodes + 1)
        fitting = bisect_left(sizes, True, key=lambda size: self._is_too_many(numbers, shape, size))
        return shape.resized(shape.nodes, shape.nodes + fitting)

    def _is_too_many(self, numbers: Sequence[int], shape: Shape, size: int) -> bool:
        """Whether these do not allow a gang of that size; then they allow no larger one."""
        self._trial.effort += STEPS_PER_SIZE
        gang = shape.resized(size, size)
        return bool(self.refuses(numbers, gang)) or self.barred(numbers, gang) is not None

    def barred(self, numbers: Sequence[int], shape: Shape) -> Bools | None:
        """[node] where a task would take more than its equal part of the remaining watts, so that
        the gang stays within them on any other nodes; None: no node."""
        if not numbers:
            return None
        limited = [self.left[number] for number in numbers]
        left = [quota.most_mw - quota.used_mw for quota in limited if quota.most_mw]
        if not left:
            return None
        is_more: Bools = self._task_mw(shape) > min(left) // shape.most_nodes
        return is_more if is_more.any() else None

    def _task_mw(self, shape: Shape) -> Ints:
        """[node] maximum watts that a task counts there."""
        columns, ask = self._trial.columns, self._trial.ask(shape)
        of_class_mw = _found_mw(columns, ask)
        most_mw = of_class_mw.max(where=ask.is_suited, initial=0)
        mixed = columns.one_class == NO_CLASS
        load_mw = np.where(mixed, most_mw, of_class_mw[columns.one_class])
        task_mw: Ints = -(-load_mw * PERMILLE // columns.psu_permille)
        return task_mw

    def wants(self, shape: Shape, nodes: Sequence[int] = ()) -> Held:
        """Amounts required for a gang. On known nodes the watts are per task in equal parts, as
        `barred` requires; elsewhere those of the suitable GPUs that need least."""
        least = self._least_of(shape)
        if not nodes:
            return least
        return Held(least.milli, shape.nodes * int(self._task_mw(shape)[list(nodes)].max()))

    def missing(self, numbers: Sequence[int], wants: Held) -> dict[int, Held]:
        """What each quota with too little left lacks."""
        lacks = ((number, missing(self.left[number], wants)) for number in numbers)
        return {number: lack for number, lack in lacks if lack != NOTHING}

    def may_have_headroom(self, numbers: Sequence[int], shape: Shape) -> bool:
        """Whether the end of other work alone could free headroom in all of these."""
        return not any(self.left[n].closed or self._never(n, shape) for n in numbers)

    @contextmanager
    def without(self, gone: Iterable[RunningGang]) -> Iterator[None]:
        """Evaluate without these gangs."""
        before = list(self.left)
        for one in gone:
            self._add(one.quotas, Held(-one.quota_milli, -one.quota_mw))
        yield
        self.left = before

    def counts_again(self, one: RunningGang, numbers: Sequence[int], wants: Held) -> bool:
        """Count a removed gang again if these quotas then still fit `wants`; returns whether they
        do."""
        before = list(self.left)
        self._add(one.quotas, Held(one.quota_milli, one.quota_mw))
        if not self.missing(numbers, wants):
            return True
        self.left = before
        return False

    def waits_for_less(self, numbers: Sequence[int]) -> str:
        """Why a gang waits if only nodes that would take too many watts fit."""
        limited = [self.left[number] for number in numbers if self.left[number].most_mw]
        quota = min(limited, key=lambda quota: quota.most_mw - quota.used_mw)
        most, booked = quota_watts(quota.most_mw), _booked(quota)
        return (
            f"quota of {quota.name} reached: {most} at a time, {booked}; the free GPUs need "
            "more than is left"
        )

    def keep(self, numbers: Sequence[int], shape: Shape) -> None:
        """Reserve the remainder of the blocking quotas for the gang, if it can ever fit."""
        lacking = self.refusing(numbers, shape)
        if not any(self._never(n, shape) for n in lacking):
            self.expect(lacking, shape)

    def refusing(self, numbers: Sequence[int], shape: Shape) -> tuple[int, ...]:
        """The quotas that block a gang of the shape."""
        wants = self._least_of(shape) if numbers else NOTHING
        return tuple(n for n in numbers if self.left[n].closed or exceeded(self.left[n], wants))

    def _never(self, number: int, shape: Shape) -> bool:
        quota, wants = self.left[number], self._least_of(shape)
        is_too_many = 0 < quota.most_milli < wants.milli
        return is_too_many or 0 < quota.most_mw < wants.mw

    def expect(self, numbers: Sequence[int], shape: Shape, nodes: Sequence[int] = ()) -> None:
        """Reserve for a gang that will start somewhere, or on these nodes."""
        wants = self.wants(shape, nodes) if numbers else NOTHING
        for number in numbers:
            quota = self.left[number]
            self.left[number] = replace(
                quota,
                used_milli=quota.used_milli + wants.milli,
                used_mw=quota.used_mw + wants.mw,
                reserved_milli=quota.reserved_milli + wants.milli,
                reserved_mw=quota.reserved_mw + wants.mw,
            )

    def take(self, numbers: Sequence[int], shape: Shape, placement: Placement) -> None:
        """Count a gang that starts there."""
        if numbers:
            self._add(numbers, self._held(shape, placement))

    def _add(self, numbers: Sequence[int], more: Held) -> None:
        for number in numbers:
            quota = self.left[number]
            self.left[number] = replace(
                quota, used_milli=quota.used_milli + more.milli, used_mw=quota.used_mw + more.mw
            )

    def breaks(self, numbers: Sequence[int], shape: Shape, placement: Placement) -> str:
        """As `refuses`, for a gang with known places."""
        if not numbers:
            return ""
        held = self._held(shape, placement)
        whys = (self.left[n].closed or lacks(self.left[n], held) for n in numbers)
        return next((why for why in whys if why), "")

    def _held(self, shape: Shape, placement: Placement) -> Held:
        trial, total = self._trial, NOTHING
        for place in placement.tasks:
            at = trial.snapshot.position[place.node]
            wanted = set(place.gpus)
            gpus = (gpu for gpu in trial.snapshot.nodes[at].gpus if gpu.index in wanted)
            task = task_held(gpus, shape, int(trial.columns.psu_permille[at]))
            total = Held(total.milli + task.milli, total.mw + task.mw)
        return total


class LeastHeld:
    """Amounts of gangs on the suitable GPUs that need least; computed once for equal demands, of
    which tens of thousands of classes of jobs have few."""

    def __init__(self, columns: Columns, ask: Callable[[Shape], Ask]) -> None:
        self._columns, self._ask = columns, ask
        self._known: dict[tuple[Hashable, int], Held] = {}

    def of(self, shape: Shape) -> Held:
        """Of a gang of the shape."""
        alike = shape.gpu_demand, shape.nodes
        known = self._known.get(alike)
        if known is None:
            known = self._known[alike] = least_held(self._columns, self._ask(shape), shape)
        return known


def least_held(columns: Columns, ask: Ask, shape: Shape) -> Held:
    """Amounts of a gang on the suitable GPUs that need least; no watts if none is known."""
    milli = shape.nodes * ask.gpus * each_milli(ask, columns.classes.sizes_milli)
    suited_mw = _found_mw(columns, ask)[ask.is_suited]
    if not len(suited_mw) or not columns.node_count:
        return Held(milli, 0)
    task_mw = wall_mw(int(suited_mw.min()), int(columns.psu_permille.max()))
    return Held(milli, shape.nodes * task_mw)


def _found_mw(columns: Columns, ask: Ask) -> Ints:
    """[class] watts of a task on such GPUs, before the power supplies."""
    sizes = columns.classes.sizes_milli * ask.milli // WHOLE_GPU
    found_mw: Ints = ask.gpus * (ask.draw_mw * sizes // WHOLE_GPU)
    return found_mw


def missing(quota: QuotaHeadroom, wants: Held) -> Held:
    """By how much a gang with these amounts would exceed the quota."""
    more_milli = quota.used_milli + wants.milli - quota.most_milli
    more_mw = quota.used_mw + wants.mw - quota.most_mw
    return Held(
        max(0, more_milli) if quota.most_milli and wants.milli else 0,
        max(0, more_mw) if quota.most_mw and wants.mw else 0,
    )


def exceeded(quota: QuotaHeadroom, wants: Held) -> QuotaLimit | None:
    """The limit of the quota that a gang with these amounts would exceed."""
    more = missing(quota, wants)
    return "gpus" if more.milli else "power_w" if more.mw else None


def lacks(quota: QuotaHeadroom, wants: Held) -> str:
    """As `exceeded`, as text; empty = none."""
    milli, mw = wants
    limit = exceeded(quota, wants)
    if limit == "gpus":
        held = quota_gpus(quota.used_milli - quota.reserved_milli)
        most, used = quota_gpus(quota.most_milli), f"{held} in use"
        used += _reserved(quota.reserved_milli, quota_gpus)
        return _waits(quota, most, used, quota_gpus(milli), is_vain=milli > quota.most_milli)
    if limit == "power_w":
        most, used = quota_watts(quota.most_mw), _booked(quota)
        return _waits(quota, most, used, quota_watts(mw), is_vain=mw > quota.most_mw)
    return ""


def _booked(quota: QuotaHeadroom) -> str:
    held = quota_watts(quota.used_mw - quota.reserved_mw)
    return f"{held} booked{_reserved(quota.reserved_mw, quota_watts)}"


def _reserved(amount: int, said: Callable[[int], str]) -> str:
    return f", {said(amount)} reserved for others" if amount else ""


def _waits(quota: QuotaHeadroom, most: str, used: str, wanted: str, *, is_vain: bool) -> str:
    ends = "it can never start unless it or the quota is changed" if is_vain else ENDS
    return f"quota of {quota.name} reached: {most} at a time, {used}, it requests {wanted}; {ends}"


def quota_gpus(milli: int) -> str:
    """`8 GPUs`, `1 GPU`, `0.5 GPUs`."""
    return counted(milli / WHOLE_GPU, "GPU")


def quota_watts(mw: int) -> str:
    """Rounded up."""
    return power_text(mw, is_wanted=True)
