"""Would it fit if some of the work that runs had gone? The planner's own view of that.

Each look costs a walk over the nodes; how many are taken for one question is bounded, so that
beats and leases do not wait for it.
"""

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import replace
from functools import partial

from wattline_protocol.ids import NodeId, Now
from wattline_scheduler.core.jobs import Gang
from wattline_scheduler.core.nodes import NodeNow
from wattline_scheduler.core.offering import offer_of, snapshot, snapshot_as_if
from wattline_scheduler.core.preempting import busy_on
from wattline_scheduler.core.reservations import reserved
from wattline_scheduler.core.sharing import let_go
from wattline_scheduler.core.state import State
from wattline_scheduler.plan.backfill import promise
from wattline_scheduler.plan.explain import wait_reason
from wattline_scheduler.plan.gang import place_gang
from wattline_scheduler.plan.preempt import choose
from wattline_scheduler.plan.reservations import ANY_STAY, Reservations, Stay
from wattline_scheduler.plan.snapshot import Shape, Snapshot, Waiting
from wattline_scheduler.plan.trial import Trial

MAX_NODES_LOOKED_AT = 20_000
"""In all looks of one question together: about a third of a second."""

MAX_AHEAD = 64
"""Gangs before it in the queue that are placed first; those behind them hardly matter."""


class TooManyLooks(Exception):
    """The site is too large for one more look; what was found before still holds."""


class AsIf:
    """Looks at the site as if some gangs had gone, with those ahead in the queue placed first."""

    def __init__(
        self, state: State, ahead: Sequence[Waiting], now: Now, stay: Stay = ANY_STAY
    ) -> None:
        self._state, self._now, self.stay = state, now, stay
        self._ahead = [each for each in ahead for _ in each.gangs][:MAX_AHEAD]
        self._left = MAX_NODES_LOOKED_AT

    def fits(
        self,
        shape: Shape,
        gone: Iterable[Gang] = (),
        *,
        is_first: bool = False,
        later_s: float = 0.0,
        stay: Stay | None = None,
    ) -> bool:
        """Whether a gang would be placed. Raises TooManyLooks.

        `is_first`: before all others. `later_s`: by the reservations of so much later. `stay`: if
        it used nodes so.
        """
        trial = self._trial(gone, later_s)
        if not is_first:
            self._place_ahead(trial)
        return place_gang(trial, shape, (), trial.barred(stay or self.stay)) is not None

    @property
    def reservations(self) -> Reservations | None:
        """Of the site now."""
        return reserved(self._state, self._now)

    def _place_ahead(self, trial: Trial) -> None:
        """Those before it; for those that room is kept for, what is kept."""
        taken: set[int] = set()
        for each in self._ahead:
            is_placed = place_gang(trial, each.shape, (), trial.barred(each.stay)) is not None
            if not is_placed and each.job in self._state.promised:
                kept = promise(trial, each, self._now.mono_s, taken)
                taken |= set(kept.nodes) if kept is not None else set()

    def choose(self, shape: Shape) -> list[Gang]:
        """The fewest of lower priority that would have to go; none: that does not help.

        Raises TooManyLooks.
        """
        trial, busy = self._trial(()), partial(busy_on, self._state, with_young=True)
        choice = choose(trial, shape, busy, (), trial.barred(self.stay))
        keys = (one.key for one in choice.victims) if choice is not None else ()
        return [self._state.work.jobs[job].gangs[number] for job, number in keys]

    def lacks(self, shape: Shape, gone: Iterable[Gang] = ()) -> str:
        """Why it would not be placed. Raises TooManyLooks."""
        return wait_reason(self._trial(gone), shape, self.stay)

    def _trial(self, gone: Iterable[Gang], later_s: float = 0.0) -> Trial:
        self._left -= len(self._state.nodes)
        if self._left < 0:
            raise TooManyLooks
        seen = as_if(self._state, gone, self._now)
        if later_s and seen.reservations is not None:
            seen = replace(seen, reservations=seen.reservations.later(later_s))
        return Trial(seen)


def as_if(state: State, gone: Iterable[Gang], now: Now) -> Snapshot:
    """What the planner would see if these gangs had gone."""
    emptied: dict[NodeId, NodeNow] = {}
    for gang in gone:
        for attempt in gang.live:
            node = emptied.get(attempt.node) or _copied(state.nodes[attempt.node])
            emptied[node.id] = node
            let_go(node, attempt)
            node.cpus_used -= gang.job.shape.cpus
            node.memory_used_bytes -= gang.job.shape.memory_bytes
    if not emptied:
        return snapshot(state, now)
    return snapshot_as_if(state, [offer_of(state, node) for node in emptied.values()], now)


def _copied(node: NodeNow) -> NodeNow:
    """To take work away from; nothing but its holders and sums is touched."""
    other = copy(node)
    other.holders = dict(node.holders)
    return other
