"""What is kept for gangs that others are about to make room for, while a plan is made."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from wattline_protocol.ids import Instant
from wattline_scheduler.plan.model.shape import GangKey, Waiting
from wattline_scheduler.plan.model.snapshot import ENDING_PRIORITY, RunningGang
from wattline_scheduler.plan.policies.backfill import Promise, lifted
from wattline_scheduler.plan.policies.preempt import Choice
from wattline_scheduler.plan.search.trial import Trial

NEVER = Instant(math.inf)


class Claims:
    """Nodes by position, and whose end each gang waits for."""

    def __init__(self, trial: Trial, busy_on: Callable[[int], Sequence[RunningGang]]) -> None:
        self._trial = trial
        self._busy_on = busy_on
        self._all: list[tuple[Promise, tuple[RunningGang, ...]]] = []

    def hold(
        self, waiting: Waiting, nodes: Sequence[int], victims: tuple[RunningGang, ...] | None = None
    ) -> None:
        """What is free there is kept from everybody behind. `victims`: who is to end for it; None:
        who was told so already."""
        made = Promise(waiting.job, waiting.shape, list(nodes), NEVER, [])
        made.hold(self._trial)
        self._all.append((made, self._leaving(nodes) if victims is None else victims))

    @property
    def newest(self) -> Promise:
        """What was held last."""
        return self._all[-1][0]

    def _leaving(self, nodes: Sequence[int]) -> tuple[RunningGang, ...]:
        busy = (one for at in nodes for one in self._busy_on(at) if one.priority == ENDING_PRIORITY)
        return tuple({one.key: one for one in busy}.values())

    @contextmanager
    def settled(self) -> Iterator[Mapping[GangKey, RunningGang]]:
        """As it will be when those who make room for others have, and these have started: what
        they leave over is for the next, and what they take is not. Yields who is gone then."""
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
    """Whose end a gang waits for: those who go for it, or for others on its nodes, or in `quotas`,
    those in which it has no room yet."""
    others = (one for one in gone.values() if one.is_on(choice.nodes) or one.counts_in(quotas))
    return *choice.victims, *others
