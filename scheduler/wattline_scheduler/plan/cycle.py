"""One planning cycle: evaluates the queue in order; each gang is placed whole or passed over.

Policy (chosen, see docs/scheduling.md): in queue order. Later gangs may overtake one that does not
fit, until it has waited `PATIENCE_S`; then the first such gang gets a promise (`backfill`), and so
do the next ones whose start can be dated. So small jobs fill holes, and a large gang is not
starved.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from wattline_protocol.ids import JobId, NodeId
from wattline_scheduler.plan.model.memory import EMPTY, JobClass, Memory, Request
from wattline_scheduler.plan.model.shape import Shape, Waiting
from wattline_scheduler.plan.model.snapshot import Placement, Plan, Snapshot
from wattline_scheduler.plan.policies.backfill import Promise, lifted, promise
from wattline_scheduler.plan.policies.preemption_pass import PreemptionPass
from wattline_scheduler.plan.search.blocked_shapes import BlockedShapes
from wattline_scheduler.plan.search.feasible import fitting_count
from wattline_scheduler.plan.search.gang import Places, either, place_gang
from wattline_scheduler.plan.search.quota_headroom import Quotas
from wattline_scheduler.plan.search.score_cache import ScoreCache
from wattline_scheduler.plan.search.search_rotation import SearchRotation
from wattline_scheduler.plan.search.trial import Trial
from wattline_scheduler.plan.wait_reasons import wait_reason
from wattline_scheduler.power.topology.matrix import Bools
from wattline_scheduler.time_slices import Parts, at_once

MAX_PLACEMENTS = 256
"""Gangs placed in one cycle: a burst of submissions must not delay beats."""

MAX_EFFORT = 100_000
"""Steps in one cycle, about a tenth of a second: the maximum delay of beats."""


MAX_PROMISES = 8
"""Gangs with a promise. For the limit on fruitless searches see `search_rotation`."""

Reserved = tuple[Promise, str]
"""Resources reserved for a job, and why."""

Opened = tuple[int, ...]
"""Positions of the promises that a job may backfill, since it ends before they start."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a cycle. The core reads no clock, so work is counted, not time."""

    placements: int = MAX_PLACEMENTS
    effort: int = MAX_EFFORT


INTERACTIVE = Limits()


class Cycle(NamedTuple):
    """Input and output of one cycle."""

    snapshot: Snapshot
    memory: Memory
    limits: Limits
    plan: Plan


WHY_CLAIMED = "(preemption in progress)"

REASON_STEPS = 100
"""Effort of computing a reason."""

PATIENCE_S = 60.0
"""Waiting time after which a gang that could fit gets a promise."""


def plan(
    snapshot: Snapshot,
    memory: Memory = EMPTY,
    limits: Limits = INTERACTIVE,
    cache: ScoreCache | None = None,
) -> Plan:
    """Place what fits: a pure function of snapshot, memory and limits.

    `memory`: of the cycle before. `cache`: evaluations of nodes; the plan is the same without it.
    """
    return at_once(plan_in_parts(snapshot, memory, limits, cache))


def plan_in_parts(
    snapshot: Snapshot,
    memory: Memory = EMPTY,
    limits: Limits = INTERACTIVE,
    cache: ScoreCache | None = None,
) -> Parts[Plan]:
    """As `plan`. The search for preemptions for a gang takes more than one part."""
    cycle = _Cycle(snapshot, memory, limits, cache)
    result = yield from cycle.run()
    cycle.trial.close()
    return result


class _Cycle:
    def __init__(
        self, snapshot: Snapshot, memory: Memory, limits: Limits, cache: ScoreCache | None
    ) -> None:
        self.snapshot = snapshot
        self.limits = limits
        self.trial = Trial(snapshot, cache)
        self.number = memory.cycle + 1
        self.rotation = SearchRotation(memory)
        self.blocked = BlockedShapes(memory, self.trial.columns.node_count)
        self.quotas = Quotas(self.trial)
        self.placements: list[Placement] = []
        self.waits: dict[JobId, str] = {}
        self.passed_over: list[Waiting] = []
        """Evaluated in full, and still pending. Only a cycle that stops early derives more from it:
        the objects of ten thousand jobs trigger a full garbage collection."""
        self.hopeless: dict[Request, str] = {}
        """Resources only shrink within a cycle: what did not fit once does not fit later."""
        self.refused: dict[Hashable, list[Shape]] = {}
        """Tasks that fit no node, by GPU request: a task that requests no less fits nowhere."""
        self.hopeless_short: set[tuple[Request, Opened]] = set()
        """Requests that did not fit even with promised resources, and with which promises."""
        self.reserved: list[Reserved] = []
        """Reservations for promised or preempting gangs, in the order in which they were made."""
        self.promises: list[Promise] = []
        self.promised_nodes: set[int] = set()
        self.preempting = PreemptionPass(snapshot, self.trial, self.quotas, self.blocked)

    def run(self) -> Parts[Plan]:
        is_cut = yield from self._is_cut_short()
        return Plan(
            placements=tuple(self.placements),
            waits=self.waits,
            promised={one.job: one.start for one in self.promises},
            is_cut=is_cut,
            effort=self.trial.effort,
            preemptions=tuple(self.preempting.preemptions),
            memory=self._memory(is_cut=is_cut),
        )

    def _memory(self, *, is_cut: bool) -> Memory:
        passed = {self._class(each): self.waits[each.job] for each in self.passed_over if is_cut}
        rotation = self.rotation.end(passed if is_cut else None)
        return Memory(self.number, *rotation, blocked=self.blocked.end())

    def _is_at_limit(self) -> bool:
        is_full = len(self.placements) >= self.limits.placements
        return is_full or self.trial.effort >= self.limits.effort

    def _is_half_done(self) -> bool:
        """Whether jobs passed over by an earlier cycle yield the remaining effort to others."""
        return self.trial.effort >= self.limits.effort // 2

    def _wait(self, waiting: Waiting, why: str) -> None:
        self.waits[waiting.job] = why
        self.passed_over.append(waiting)

    def _class(self, waiting: Waiting) -> JobClass:
        return self._asked(waiting), waiting.runs_s, waiting.quotas

    def _is_cut_short(self) -> Parts[bool]:
        """Place what fits; True = the limit was reached before the whole queue was evaluated."""
        for waiting in self.snapshot.waiting:
            asked, opened = self._asked(waiting), self._opened_to(waiting)
            is_free = not waiting.quotas and not self.snapshot.claims
            if not (is_free and self._is_hopeless(asked, opened)):
                if (yield from self._is_cut_short_in(waiting, asked, opened)):
                    return True
            elif self._is_at_limit():
                return True
            else:  # most of a long queue: no other outcome is possible
                self._pass_over(waiting, asked, opened)
        return False

    def _is_cut_short_in(self, waiting: Waiting, asked: Request, opened: Opened) -> Parts[bool]:
        """As `_is_cut_short`, for one job."""
        reserved = self.trial.barred(waiting.stay)
        replicas = [self.snapshot.position[node] for node in waiting.replicas or ()]
        for gang in waiting.gangs:
            if self._is_at_limit():
                return True
            claimed = self.snapshot.claims.get((waiting.job, gang))
            why = self.quotas.refuses(waiting.quotas, waiting.shape)
            if why:
                if (yield from self._preempts(waiting, gang, claimed)):
                    continue
                self._wait_for_quota(waiting, why)
                return False
            if claimed is None and self._is_hopeless(asked, opened):
                self._pass_over(waiting, asked, opened)
                return False
            shape = self.quotas.within(waiting.quotas, waiting.shape)
            too_many_mw = self.quotas.barred(waiting.quotas, shape)
            barred = either(too_many_mw, reserved)
            passed = "" if claimed else self.rotation.passed(self._class(waiting))
            is_vain = claimed is None and (asked in self.hopeless or self._asks_no_less(shape))
            is_vain = is_vain or (bool(passed) and self._is_half_done())
            places = None if is_vain else self._places(shape, replicas, barred)
            if places is None and passed:
                self._wait(waiting, passed)
                return False
            if places is None and opened:
                places = self._promised_places(shape, replicas, opened, barred)
            if places is not None:
                self.placements.append(Placement(waiting.job, gang, places))
                self.quotas.take(waiting.quotas, shape, self.placements[-1])
                if waiting.replicas is not None:
                    replicas += [self.snapshot.position[place.node] for place in places]
            elif (yield from self._preempts(waiting, gang, claimed)):
                continue
            elif too_many_mw is not None and self._fits_somewhere(shape, reserved):
                self._wait(waiting, self.quotas.waits_for_less(waiting.quotas))
                return False
            else:
                self._pass_over(waiting, asked, opened)
                return False
        return False

    def _preempts(
        self, waiting: Waiting, gang: int, claimed: tuple[NodeId, ...] | None
    ) -> Parts[bool]:
        """Whether preemption, already in progress or decided now, frees resources for the gang."""
        if not self.quotas.may_have_headroom(waiting.quotas, waiting.shape):
            return False
        if claimed is not None:
            waits = self.preempting.wait_on(waiting, claimed)
        else:
            waits = yield from self.preempting.preempt_for(waiting, gang)
        if waits:
            self.waits[waiting.job] = waits
            self.reserved.append((self.preempting.newest, WHY_CLAIMED))
        return bool(waits)

    def _wait_for_quota(self, waiting: Waiting, why: str) -> None:
        """After `PATIENCE_S`, reserve the remainder of the quotas that block the job, or a stream
        of smaller jobs would exhaust them forever."""
        self.waits[waiting.job] = why
        if self.snapshot.now - waiting.since >= PATIENCE_S:
            self.quotas.keep(waiting.quotas, waiting.shape)

    def _fits_somewhere(self, shape: Shape, reserved: Bools | None) -> bool:
        """Whether it fits when quota watts are ignored."""
        fits_on = np.isfinite(self.trial.costs(shape))
        return int((fits_on if reserved is None else fits_on & ~reserved).sum()) >= shape.nodes

    def _asked(self, waiting: Waiting) -> Request:
        return waiting.shape, self.trial.key(waiting.stay)

    def _is_hopeless(self, asked: Request, opened: Opened) -> bool:
        return asked in self.hopeless and (not opened or (asked, opened) in self.hopeless_short)

    def _opened_to(self, waiting: Waiting) -> Opened:
        """Promises that the job may backfill."""
        if not self.promises:
            return ()
        now, promises = self.snapshot.now, enumerate(self.promises)
        return tuple(at for at, one in promises if one.ends_before(waiting, now))

    def _places(self, shape: Shape, replicas: list[int], barred: Bools | None) -> Places | None:
        places = place_gang(self.trial, shape, replicas, barred)
        if places is None and shape.nodes == 1 and barred is None:
            self.refused.setdefault(shape.gpu_demand, []).append(shape)
        return places

    def _promised_places(
        self, shape: Shape, replicas: list[int], opened: Opened, barred: Bools | None
    ) -> Places | None:
        with lifted(self.trial, (self.promises[at] for at in opened)):
            return place_gang(self.trial, shape, replicas, barred)

    def _asks_no_less(self, shape: Shape) -> bool:
        """Whether a task that fits no node requested no more than this shape."""
        return any(
            one.cpus <= shape.cpus
            and one.memory_bytes <= shape.memory_bytes
            and one.priority >= shape.priority
            for one in self.refused.get(shape.gpu_demand, ())
        )

    def _pass_over(self, waiting: Waiting, asked: Request, opened: Opened) -> None:
        if opened:
            self.hopeless_short.add((asked, opened))
        if asked not in self.hopeless:
            self.hopeless[asked] = self._reason(waiting)
        self._wait(waiting, self.hopeless[asked])
        if not waiting.is_late and self.snapshot.now - waiting.since >= PATIENCE_S:
            self._promise(waiting, asked)

    def _promise(self, waiting: Waiting, asked: Request) -> None:
        """Reserve resources: always for the first gang, for others if the start can be dated."""
        is_later = bool(self.promises)
        if len(self.promises) >= MAX_PROMISES or not self.rotation.may_search(
            asked, is_dated=is_later
        ):
            return
        now, before = self.snapshot.now, self.trial.effort
        found = promise(self.trial, waiting, now, self.promised_nodes, is_dated=is_later)
        if found is not None:
            self.promises.append(found)
            self.reserved.append((found, _why_promised(found)))
            self.promised_nodes |= set(found.nodes)
            self.rotation.found(asked)
        else:
            self.rotation.failed(asked, self.trial.effort - before, is_dated=is_later)

    def _reason(self, waiting: Waiting) -> str:
        """Why the shape does not fit; on a large site recomputed only in some cycles, staggered by
        shape."""
        shape, key = waiting.shape, self.trial.key(waiting.stay)
        reason = self.blocked.reason(shape, key)
        if not reason:
            reason = self._reserved_reason(waiting)
            self.blocked.note_reason(shape, key, reason)
            self.trial.effort += REASON_STEPS
        return reason

    def _reserved_reason(self, waiting: Waiting) -> str:
        """What the nodes lack, or the job for which their resources are reserved."""
        if self._fits_without(self.reserved, waiting):
            for count, (promised, why) in enumerate(self.reserved, 1):
                if self._fits_without(self.reserved[:count], waiting):
                    return f"resources are reserved for job {promised.job} {why}"
        return wait_reason(self.trial, waiting.shape, waiting.stay)

    def _fits_without(self, reserved: Sequence[Reserved], waiting: Waiting) -> bool:
        """Whether its tasks would fit, one by one, without these reservations."""
        if not reserved:
            return False
        with lifted(self.trial, (promise for promise, _ in reserved)):
            return fitting_count(self.trial, waiting.shape, waiting.stay) >= waiting.shape.nodes


def _why_promised(promised: Promise) -> str:
    how = "; a job whose time limit ends earlier can backfill (--time)" if promised.is_dated else ""
    return f"(queued longer){how}"
