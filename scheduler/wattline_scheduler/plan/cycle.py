"""One planning cycle: the queue in order, each gang placed whole or passed over.

Policy (chosen, see docs/scheduling.md): in the order of the queue. A gang that does not fit
is passed over by later ones, until it has waited `PATIENCE_S`; then the first such gang gets a
promise (`backfill`), and the next ones where it is known when they can start. So small jobs
fill holes, and a big gang is not starved.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cache

import numpy as np

from wattline_protocol.ids import JobId, NodeId
from wattline_scheduler.plan.backfill import Promise, lifted, promise
from wattline_scheduler.plan.claims import Claims, awaited
from wattline_scheduler.plan.explain import refusals, wait_reason
from wattline_scheduler.plan.gang import Places, place_gang
from wattline_scheduler.plan.looks import Looks
from wattline_scheduler.plan.preempt import choose
from wattline_scheduler.plan.quotas import Quotas
from wattline_scheduler.plan.reservations import Key
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
from wattline_scheduler.power.matrix import Bools

MAX_PLACEMENTS = 256
"""Gangs placed in one cycle: keeps a burst of submissions from delaying beats."""

MAX_EFFORT = 100_000
"""Steps in one cycle, about a tenth of a second: beats wait no longer than that."""


MAX_PROMISES = 8
"""Gangs for which room is looked for in one cycle: that takes a walk over all nodes."""

MAX_PREEMPTIONS = 8
"""Gangs for which others are sent away in one cycle: looking for whom takes milliseconds."""

MAX_VAIN_TRIES = 8
"""Shapes for which that is in vain in one cycle of a larger site. They are looked at again
some cycles later, so that all have their turn."""

Asked = tuple[Shape, Key]
"""What is wanted, and on which nodes reservations let it start."""

Opened = tuple[int, ...]
"""Positions of the promises whose room a job may use, since it ends before."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a cycle stops early. The core reads no clock, so work is counted, not time."""

    placements: int = MAX_PLACEMENTS
    effort: int = MAX_EFFORT


INTERACTIVE = Limits()

LARGE_SITE_NODES, AGAIN_CYCLES = 256, 16
"""On larger sites the words why a shape waits are found anew in one cycle of so many, and whether
others may be sent away for it where they could not."""

REASON_STEPS = 100
"""Effort of finding them."""

PATIENCE_S = 60.0
"""Waiting time after which a gang that could fit is promised room."""


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
        self.is_large = self.trial.columns.node_count > LARGE_SITE_NODES
        self.quotas = Quotas(self.trial)
        self.placements: list[Placement] = []
        self.waits: dict[JobId, str] = {}
        self.hopeless: dict[Asked, str] = {}
        """Room only shrinks within a cycle: what did not fit once does not fit later."""
        self.refused: dict[Hashable, list[Shape]] = {}
        """Tasks that no node took, by what they ask of GPUs: who asks for no less fits nowhere."""
        self.hopeless_short: set[tuple[Asked, Opened]] = set()
        """What did not even fit with room that is promised, and which."""
        self.promises: list[Promise] = []
        self.promised_nodes: set[int] = set()
        self.promise_tries = 0
        self.preemptions: list[Preemption] = []
        self.vain_tries = 0
        self.busy_on = cache(snapshot.busy_on)
        self.claims = Claims(self.trial, self.busy_on)

    def run(self) -> Plan:
        is_cut = any(self._is_cut_short_at(waiting) for waiting in self.snapshot.waiting)
        return Plan(
            placements=tuple(self.placements),
            waits=self.waits,
            promised={kept.job: kept.start for kept in self.promises},
            is_cut=is_cut,
            effort=self.trial.effort,
            preemptions=tuple(self.preemptions),
        )

    def _is_at_limit(self) -> bool:
        is_full = len(self.placements) >= self.limits.placements
        return is_full or self.trial.effort >= self.limits.effort

    def _is_cut_short_at(self, waiting: Waiting) -> bool:
        """Place what fits of a job; True = the limit was reached before all of it was tried."""
        shape, opened = waiting.shape, self._opened_to(waiting)
        reserved = self.trial.barred(waiting.stay)
        replicas = [self.snapshot.position[node] for node in waiting.replicas or ()]
        for gang in waiting.gangs:
            if self._is_at_limit():
                return True
            if self._waits_for_quota(waiting):
                return False
            claimed = self.snapshot.claims.get((waiting.job, gang))
            if claimed is None and self._is_hopeless(self._asked(waiting), opened):
                self._pass_over(waiting, opened)
                return False
            too_many_mw = self.quotas.barred(waiting.quotas, shape)
            barred = _either(too_many_mw, reserved)
            places = self._places(waiting, replicas, opened, barred, is_claimed=bool(claimed))
            if places is not None:
                self.placements.append(Placement(waiting.job, gang, places))
                self.quotas.take(waiting.quotas, shape, self.placements[-1])
                if waiting.replicas is not None:
                    replicas += [self.snapshot.position[place.node] for place in places]
            elif too_many_mw is not None and self._fits_somewhere(shape, reserved):
                self.waits[waiting.job] = self.quotas.waits_for_less(waiting.quotas)
                return False
            elif claimed is not None:
                self._wait_on(waiting, claimed)
            elif too_many_mw is not None or not self._sends_away(waiting, gang):
                self._pass_over(waiting, opened)
                return False
        return False

    def _waits_for_quota(self, waiting: Waiting) -> bool:
        """Whether a quota keeps it from starting. If it waited long, what is left of that quota is
        kept for it, or a stream of smaller ones would use it up for ever."""
        if not waiting.quotas:
            return False
        refused = self.quotas.refuses(waiting.quotas, waiting.shape)
        if refused:
            self.waits[waiting.job] = refused
            if self.snapshot.now - waiting.since >= PATIENCE_S:
                self.quotas.keep(waiting.quotas, waiting.shape)
        return bool(refused)

    def _fits_somewhere(self, shape: Shape, reserved: Bools | None) -> bool:
        """Whether room is not what it lacks."""
        fits_on = np.isfinite(self.trial.costs(shape))
        return int((fits_on if reserved is None else fits_on & ~reserved).sum()) >= shape.nodes

    def _asked(self, waiting: Waiting) -> Asked:
        return waiting.shape, self.trial.key(waiting.stay)

    def _is_hopeless(self, asked: Asked, opened: Opened) -> bool:
        return asked in self.hopeless and (not opened or (asked, opened) in self.hopeless_short)

    def _sends_away(self, waiting: Waiting, gang: int) -> bool:
        """Whether work of lower priority can make room for the gang; if so, it is to go."""
        snapshot = self.snapshot
        is_full = len(self.preemptions) >= MAX_PREEMPTIONS
        if is_full or waiting.priority <= snapshot.least_priority:
            return False
        tried, cycle = self.trial.tried(waiting.shape), self.trial.cycle
        key = self.trial.key(waiting.stay)
        is_recent = tried.vain_for == key and cycle - tried.vain_at < AGAIN_CYCLES
        if self.is_large and (is_recent or self.vain_tries >= MAX_VAIN_TRIES):
            return False
        barred = self.trial.barred(waiting.stay)
        with self.claims.settled() as gone:
            choice = choose(self.trial, waiting.shape, self.busy_on, gone, barred)
        victims = awaited(choice, gone) if choice is not None else ()
        if choice is None or not victims:
            self.vain_tries += 1
            tried.vain_at, tried.vain_for = cycle, key
            return False
        nodes = tuple(snapshot.nodes[at].node for at in choice.nodes)
        keys = tuple(one.key for one in victims)
        self.preemptions.append(Preemption((waiting.job, gang), keys, nodes))
        self._wait_on(waiting, nodes, victims)
        return True

    def _wait_on(
        self,
        waiting: Waiting,
        nodes: tuple[NodeId, ...],
        victims: tuple[Busy, ...] | None = None,
    ) -> None:
        """Nobody behind gets what is free on nodes where others are about to end for it."""
        self.quotas.expect(waiting.quotas, waiting.shape)
        self.claims.hold(waiting, [self.snapshot.position[node] for node in nodes], victims)
        self.waits[waiting.job] = f"waits for work of lower priority to end on {', '.join(nodes)}"

    def _opened_to(self, waiting: Waiting) -> Opened:
        """Which promised room it may use."""
        if not self.promises:
            return ()
        now, kept = self.snapshot.now, enumerate(self.promises)
        return tuple(at for at, one in kept if one.ends_before(waiting, now))

    def _places(
        self,
        waiting: Waiting,
        replicas: list[int],
        opened: Opened,
        barred: Bools | None,
        *,
        is_claimed: bool,
    ) -> Places | None:
        shape, places = waiting.shape, None
        is_vain = self._asked(waiting) in self.hopeless or self._asks_no_less(shape)
        if is_claimed or not is_vain:
            places = place_gang(self.trial, shape, replicas, barred)
            if places is None and shape.nodes == 1 and barred is None:
                self.refused.setdefault(shape.gpu_demand, []).append(shape)
        if places is None and opened:
            with lifted(self.trial, (self.promises[at] for at in opened)):
                places = place_gang(self.trial, shape, replicas, barred)
        return places

    def _asks_no_less(self, shape: Shape) -> bool:
        """Whether a task that no node took asked for no more than one of these."""
        return any(
            one.cpus <= shape.cpus
            and one.memory_bytes <= shape.memory_bytes
            and one.priority >= shape.priority
            for one in self.refused.get(shape.gpu_demand, ())
        )

    def _pass_over(self, waiting: Waiting, opened: Opened) -> None:
        asked = self._asked(waiting)
        if opened:
            self.hopeless_short.add((asked, opened))
        if asked not in self.hopeless:
            self.hopeless[asked] = self._reason(waiting)
        self.waits[waiting.job] = self.hopeless[asked]
        if not waiting.is_late and self.snapshot.now - waiting.since >= PATIENCE_S:
            self._promise(waiting)

    def _promise(self, waiting: Waiting) -> None:
        """Keep room: for the first at any rate, then on other nodes where its start is known."""
        if self.promise_tries >= MAX_PROMISES:
            return
        self.promise_tries += 1
        now, is_later = self.snapshot.now, bool(self.promises)
        found = promise(self.trial, waiting, now, self.promised_nodes, is_dated=is_later)
        if found is not None:
            self.promises.append(found)
            self.promised_nodes |= set(found.nodes)

    def _reason(self, waiting: Waiting) -> str:
        """Why the shape does not fit; on a large site that is asked only now and then."""
        tried, cycle = self.trial.tried(waiting.shape), self.trial.cycle
        key = self.trial.key(waiting.stay)
        is_known = bool(tried.reason) and tried.reason_for == key
        if not is_known or cycle - tried.reason_at >= (AGAIN_CYCLES if self.is_large else 1):
            tried.reason, tried.reason_at, tried.reason_for = self._kept_reason(waiting), cycle, key
            self.trial.effort += REASON_STEPS
        return tried.reason

    def _kept_reason(self, waiting: Waiting) -> str:
        """What the nodes lack, or that they lack nothing but are kept for somebody."""
        shape, stay = waiting.shape, waiting.stay
        for at, kept in enumerate(self.promises):
            with lifted(self.trial, self.promises[: at + 1]):
                has_room = refusals(self.trial, shape, stay)[0] >= shape.nodes
            if has_room:
                return _kept_for(kept)
        return wait_reason(self.trial, shape, stay)


def _either(one: Bools | None, other: Bools | None) -> Bools | None:
    """[node] in any of them; None: in none."""
    if one is None or other is None:
        return one if other is None else other
    return one | other


def _kept_for(kept: Promise) -> str:
    how = "; who ends before that job can start may use it (--time)" if kept.is_dated else ""
    return f"there is room, but it is kept for job {kept.job}, which has waited longer{how}"
