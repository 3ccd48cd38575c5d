"""Preemption for a gang that is blocked by quotas, or by quotas and resources.

Only work that counts in a quota frees quota headroom, and its end frees nodes as well; work
preempted on nodes may count in a quota. So both orders are tried: victims sufficient for the
quotas, then further ones for the nodes; and victims sufficient for the nodes (from the quotas only,
or from all), then further ones for the quotas. The choice with the least loss is taken, without
unneeded victims. If no order leads to a start, no gang is preempted.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from wattline_scheduler.plan.model.shape import GangKey, Shape
from wattline_scheduler.plan.model.snapshot import RunningGang
from wattline_scheduler.plan.policies.preempt import Choice, choose, needed
from wattline_scheduler.plan.policies.quota_cover import cover
from wattline_scheduler.plan.policies.running_work import RunningWork
from wattline_scheduler.plan.search.gang import either
from wattline_scheduler.plan.search.quota_headroom import Held, Quotas
from wattline_scheduler.plan.search.trial import Trial
from wattline_scheduler.power.topology.matrix import Bools
from wattline_scheduler.time_slices import Parts

STEPS_PER_MEMBER = 5
"""Effort of evaluating one gang in a quota."""


class Wanted(NamedTuple):
    """A gang, the quotas that count it, and the nodes barred by reservations."""

    shape: Shape
    quotas: Sequence[int]
    barred: Bools | None


def choose_with_quotas(
    trial: Trial,
    quotas: Quotas,
    wanted: Wanted,
    runs: RunningWork,
    gone: Mapping[GangKey, RunningGang],
) -> Parts[Choice | None]:
    """Select the gangs to preempt so that quotas and nodes fit one gang; None = it does not help.

    `gone`: gangs already ending; removed from `trial`, still counted in `quotas`. Both are
    restored.
    """
    with quotas.without(gone.values()):
        if not quotas.may_have_headroom(wanted.quotas, wanted.shape):
            return None
        lacks = quotas.missing(wanted.quotas, quotas.wants(wanted.shape))
        if not lacks and quotas.barred(wanted.quotas, wanted.shape) is None:
            return (yield from choose(trial, wanted.shape, runs.on, gone, wanted.barred))
        found = yield from _Search(trial, quotas, wanted, runs, gone).found(lacks)
    return min(found, key=lambda choice: choice.loss, default=None)


def _none(at: int) -> Sequence[RunningGang]:
    del at
    return ()


class _Search:
    """Search for one gang, over the lower-priority work in its quotas."""

    def __init__(
        self,
        trial: Trial,
        quotas: Quotas,
        wanted: Wanted,
        runs: RunningWork,
        gone: Mapping[GangKey, RunningGang],
    ) -> None:
        self._trial, self._quotas, self._wanted, self._runs = trial, quotas, wanted, runs
        self._gone = gone
        within = (one for number in wanted.quotas for one in runs.within(number))
        lower = (one for one in within if one.priority < wanted.shape.priority)
        self._members = {one.key: one for one in lower if one.key not in gone}
        trial.effort += STEPS_PER_MEMBER * len(self._members)

    def found(self, lacks: Mapping[int, Held]) -> Parts[list[Choice]]:
        """Sufficient choices of each order, until one needs no more than the quotas alone."""
        members, found = cover(lacks, tuple(self._members.values())), list[Choice]()
        if members is None:
            return found  # nor where it needs more watts
        priority, count, _ = Choice(members, ()).loss
        for way in self._ways(members):
            choice = yield from way
            if choice is not None:
                found.append(self._without_needless(choice))
                if found[-1].loss[:2] <= (priority, count):
                    break
        return found

    def _ways(self, members: Sequence[RunningGang]) -> Iterator[Parts[Choice | None]]:
        yield self._quotas_first(members)
        yield self._nodes_first(self._members_on)
        yield self._nodes_first(self._runs.on)

    def _members_on(self, at: int) -> Sequence[RunningGang]:
        return [one for one in self._runs.on(at) if one.key in self._members]

    def _quotas_first(self, members: Sequence[RunningGang]) -> Parts[Choice | None]:
        trial, wanted, quotas = self._trial, self._wanted, self._quotas
        with quotas.without(members):
            barred = either(quotas.barred(wanted.quotas, wanted.shape), wanted.barred)
        mark = trial.checkpoint()
        for task in (task for one in members for task in one.tasks):
            trial.take_away(task)
        spared = {*self._gone, *(one.key for one in members)}
        elsewhere = np.ones(trial.columns.node_count, np.bool_)
        elsewhere[[task.at for one in members for task in one.tasks]] = False
        # On these nodes nothing must stay idle until the victims have ended.
        choice = yield from choose(trial, wanted.shape, _none, spared, either(elsewhere, barred))
        if choice is None:
            choice = yield from choose(trial, wanted.shape, self._runs.on, spared, barred)
        trial.rollback(mark)
        return choice and Choice((*members, *choice.victims), choice.nodes)

    def _nodes_first(self, on: Callable[[int], Sequence[RunningGang]]) -> Parts[Choice | None]:
        wanted, quotas = self._wanted, self._quotas
        choice = yield from choose(self._trial, wanted.shape, on, self._gone, wanted.barred)
        if choice is None:
            return None
        keys = {one.key for one in choice.victims}
        with quotas.without(choice.victims):
            wants = quotas.wants(wanted.shape, choice.nodes)
            lacks = quotas.missing(wanted.quotas, wants)
        others = cover(lacks, [one for one in self._members.values() if one.key not in keys])
        return None if others is None else Choice((*choice.victims, *others), choice.nodes)

    def _without_needless(self, choice: Choice) -> Choice:
        """The choice without unneeded victims."""
        wanted, quotas = self._wanted, self._quotas
        with quotas.without(choice.victims):
            wants = quotas.wants(wanted.shape, choice.nodes)
            kept = needed(
                self._trial,
                wanted.shape,
                choice.nodes,
                choice.victims,
                lambda one: quotas.counts_again(one, wanted.quotas, wants),
            )
        return Choice(kept, choice.nodes)
