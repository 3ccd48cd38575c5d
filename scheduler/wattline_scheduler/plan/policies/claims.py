"""Reservations within a plan for gangs that wait for preempted work to end."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from wattline_protocol.ids import Instant
from wattline_scheduler.plan.model.shape import GangKey, Waiting
from wattline_scheduler.plan.model.snapshot import ENDING_PRIORITY, RunningGang
from wattline_scheduler.plan.policies.backfill import Promise, lifted
from wattline_scheduler.plan.policies.preempt import Choice
from wattline_scheduler.plan.policies.running_work import RunningWork
from wattline_scheduler.plan.search.trial import Trial

NEVER = Instant(math.inf)


class Claims:
    """Reserved nodes by position, and the victims that each gang waits for."""

    def __init__(self, trial: Trial, running: RunningWork) -> None:
        self._trial = trial
        self._running = running
        self._all: list[tuple[Promise, tuple[RunningGang, ...]]] = []

    def hold(
        self, waiting: Waiting, nodes: Sequence[int], victims: tuple[RunningGang, ...] | None = None
    ) -> None:
        """Withhold the free resources there from all gangs behind. `victims`: gangs to preempt;
        None: already notified."""
        made = Promise(waiting.job, waiting.shape, list(nodes), NEVER, [])
        made.hold(self._trial)
        self._all.append((made, self._leaving(nodes) if victims is None else victims))

    @property
    def newest(self) -> Promise:
        """The newest reservation."""
        return self._all[-1][0]

    def _leaving(self, nodes: Sequence[int]) -> tuple[RunningGang, ...]:
        ending = (
            one for at in nodes for one in self._running.on(at) if one.priority == ENDING_PRIORITY
        )
        return tuple({one.key: one for one in ending}.values())

    @contextmanager
    def settled(self) -> Iterator[Mapping[GangKey, RunningGang]]:
        """State after all victims have ended and their preemptors have started: the remaining
        resources are free for the next gang. Yields the ended gangs."""
        gone = {one.key: one for _, victims in self._all for one in victims}
        trial, kept = self._trial, [made for made, _ in self._all]
        with lifted(trial, kept):
            mark = trial.checkpoint()
            for task in (task for one in gone.values() for task in one.tasks):
                trial.take_away(task)
            for made in kept:
                made.redeem(trial)
                trial.open_again(mark)
            yield gone
            trial.rollback(mark)


def awaited(
    choice: Choice, gone: Mapping[GangKey, RunningGang], quotas: Collection[int]
) -> tuple[RunningGang, ...]:
    """Gangs whose end a gang waits for: its victims, and other victims on its nodes or in `quotas`,
    the quotas that lack headroom for it."""
    others = (one for one in gone.values() if one.is_on(choice.nodes) or one.counts_in(quotas))
    return *choice.victims, *others
