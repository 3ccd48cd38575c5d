"""One planning cycle: the queue in order, each gang placed whole or passed over.

Policy (chosen, see docs/scheduler.md): strict order by priority, then age. A gang that does not fit
is passed over by later ones, until it has waited `PATIENCE_S`; then the first such gang gets a
reservation (`backfill`). So small jobs fill holes, and a big gang is not starved.
"""

import math
from dataclasses import dataclass

from wattline_protocol.ids import Instant, JobId, NodeId
from wattline_scheduler.plan.backfill import Reservation, reserve
from wattline_scheduler.plan.explain import refusals, wait_reason
from wattline_scheduler.plan.gang import Places, place_gang
from wattline_scheduler.plan.looks import Looks
from wattline_scheduler.plan.preempt import choose
from wattline_scheduler.plan.snapshot import (
    Busy,
    Placement,
    Plan,
    Preemption,
    Shape,
    Snapshot,
    Waiting,
)
from wattline_scheduler.plan.trial import Trial

MAX_PLACEMENTS = 256
"""Gangs placed in one cycle: keeps a burst of submissions from delaying beats."""

MAX_EFFORT = 100_000
"""Steps in one cycle, about a tenth of a second: beats wait no longer than that."""


MAX_PREEMPTIONS = 8
"""Gangs for which others are sent away in one cycle: looking for whom takes milliseconds."""

NEVER = Instant(math.inf)


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a cycle stops early. The core reads no clock, so work is counted, not time."""

    placements: int = MAX_PLACEMENTS
    effort: int = MAX_EFFORT


INTERACTIVE = Limits()

LARGE_SITE_NODES, REASON_CYCLES = 256, 16
"""On larger sites the words why a shape waits are found anew in one cycle of so many."""

REASON_STEPS = 100
"""Effort of finding them."""

PATIENCE_S = 60.0
"""Waiting time after which a gang that could fit gets room reserved."""


def plan(
    snapshot: Snapshot,
    looks: Looks | None = None,
    limits: Limits = INTERACTIVE,
) -> Plan:
    """Place what fits; pure and deterministic. `looks` only saves looking at nodes again."""
    cycle = _Cycle(snapshot, looks, limits)
    result = cycle.run()
    cycle.trial.close()
    return result


class _Cycle:
    def __init__(self, snapshot: Snapshot, looks: Looks | None, limits: Limits) -> None:
        self.snapshot = snapshot
        self.limits = limits
        self.trial = Trial(snapshot, looks)
        self.placements: list[Placement] = []
        self.waits: dict[JobId, str] = {}
        self.hopeless: dict[Shape, str] = {}
        """Room only shrinks within a cycle: what did not fit once does not fit later."""
        self.hopeless_short: set[Shape] = set()
        """What did not even fit with the room that is reserved."""
        self.reservation: Reservation | None = None
        self.preemptions: list[Preemption] = []
        self.busy: list[Busy] | None = None
        """Who may still be sent away; None = was not asked yet."""

    def run(self) -> Plan:
        is_cut = any(self._is_cut_short_at(waiting) for waiting in self.snapshot.waiting)
        kept = self.reservation
        return Plan(
            placements=tuple(self.placements),
            waits=self.waits,
            reserved_for=kept.job if kept is not None else None,
            is_cut=is_cut,
            effort=self.trial.effort,
            preemptions=tuple(self.preemptions),
            reserved_from=kept.start if kept is not None else None,
        )

    def _is_at_limit(self) -> bool:
        is_full = len(self.placements) >= self.limits.placements
        return is_full or self.trial.effort >= self.limits.effort

    def _is_cut_short_at(self, waiting: Waiting) -> bool:
        """Place what fits of a job; True = the limit was reached before all of it was tried."""
        shape, is_short = waiting.shape, self._is_short(waiting)
        replicas = [self.snapshot.position[node] for node in waiting.replicas or ()]
        for gang in waiting.gangs:
            if self._is_at_limit():
                return True
            claimed = self.snapshot.claims.get((waiting.job, gang))
            if claimed is None and self._is_hopeless(shape, is_short=is_short):
                self.waits[waiting.job] = self.hopeless[shape]
                return False
            places = self._places(shape, replicas, is_short=is_short, is_claimed=bool(claimed))
            if places is not None:
                self.placements.append(Placement(waiting.job, gang, places))
                if waiting.replicas is not None:
                    replicas += [self.snapshot.position[place.node] for place in places]
            elif claimed is not None:
                self._wait_on(waiting, claimed)
            elif not self._sends_away(waiting, gang):
                self._pass_over(waiting)
                return False
        return False

    def _is_hopeless(self, shape: Shape, *, is_short: bool) -> bool:
        return shape in self.hopeless and (not is_short or shape in self.hopeless_short)

    def _sends_away(self, waiting: Waiting, gang: int) -> bool:
        """Whether work of lower priority can make room for the gang; if so, it is to go."""
        snapshot = self.snapshot
        is_full = len(self.preemptions) >= MAX_PREEMPTIONS
        if is_full or waiting.priority <= snapshot.least_priority:
            return False
        if self.busy is None:
            self.busy = list(snapshot.busy())
        choice = choose(self.trial, waiting.shape, self.busy)
        if choice is None:
            return False
        self.busy = [one for one in self.busy if one not in choice.victims]
        nodes = tuple(snapshot.nodes[at].node for at in choice.nodes)
        victims = tuple(one.key for one in choice.victims)
        self.preemptions.append(Preemption((waiting.job, gang), victims, nodes))
        self._wait_on(waiting, nodes)
        return True

    def _wait_on(self, waiting: Waiting, nodes: tuple[NodeId, ...]) -> None:
        """What is free on nodes where others are about to end is kept from everybody behind."""
        at = [self.snapshot.position[node] for node in nodes]
        Reservation(waiting.job, waiting.shape, at, NEVER, []).hold(self.trial)
        self.waits[waiting.job] = f"waits for work of lower priority to end on {', '.join(nodes)}"

    def _is_short(self, waiting: Waiting) -> bool:
        """Whether it may use what is reserved."""
        kept = self.reservation
        return kept is not None and kept.ends_before(waiting, self.snapshot.now)

    def _places(
        self, shape: Shape, replicas: list[int], *, is_short: bool, is_claimed: bool
    ) -> Places | None:
        places = None
        if is_claimed or shape not in self.hopeless:
            places = place_gang(self.trial, shape, replicas)
        if places is not None or not is_short or self.reservation is None:
            return places
        self.reservation.lift(self.trial)
        places = place_gang(self.trial, shape, replicas)
        self.reservation.hold(self.trial)
        return places

    def _pass_over(self, waiting: Waiting) -> None:
        shape, now = waiting.shape, self.snapshot.now
        if self._is_short(waiting):
            self.hopeless_short.add(shape)
        if shape not in self.hopeless:
            self.hopeless[shape] = self._reason(shape)
        self.waits[waiting.job] = self.hopeless[shape]
        is_patient = waiting.is_late or now - waiting.since < PATIENCE_S
        if self.reservation is None and not is_patient:
            self.reservation = reserve(self.trial, waiting, now)

    def _reason(self, shape: Shape) -> str:
        """Why the shape does not fit; on a large site that is asked only now and then."""
        look, cycle = self.trial.look(shape), self.trial.cycle
        is_large = self.trial.columns.node_count > LARGE_SITE_NODES
        if not look.reason or cycle - look.reason_at >= (REASON_CYCLES if is_large else 1):
            look.reason, look.reason_at = self._kept_reason(shape), cycle
            self.trial.effort += REASON_STEPS
        return look.reason

    def _kept_reason(self, shape: Shape) -> str:
        """What the nodes lack, or that they lack nothing but are kept for somebody."""
        kept = self.reservation
        if kept is None:
            return wait_reason(self.trial, shape)
        kept.lift(self.trial)
        has_room = refusals(self.trial, shape)[0] >= shape.nodes
        kept.hold(self.trial)
        if not has_room:
            return wait_reason(self.trial, shape)
        how = "; who ends before that job can start may use it (--time)" if kept.is_dated else ""
        return f"there is room, but it is kept for job {kept.job}, which has waited longer{how}"
