"""The planner's placement trial with some of the running gangs removed.

Each trial walks over all nodes, so that the number of trials in one explain query is bounded and
other requests do not wait long. All trials of a query start from one snapshot.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, closing
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice

from wattline_protocol.ids import JobId, NodeId, Now, UnixTime
from wattline_scheduler.core.admission.planner_view import snapshot
from wattline_scheduler.core.admission.reservations import reserved
from wattline_scheduler.core.lifecycle.preemption import claimed, running_gangs
from wattline_scheduler.core.model.devices import returned_devices
from wattline_scheduler.core.model.jobs.job import Attempt, Gang
from wattline_scheduler.core.model.state import State
from wattline_scheduler.plan.cycle import PATIENCE_S, plan_in_parts
from wattline_scheduler.plan.model.device_classes import gpu_of
from wattline_scheduler.plan.model.reserved_nodes import ANY_STAY, MARGIN_S, Reservations, Stay
from wattline_scheduler.plan.model.shape import Shape, Waiting
from wattline_scheduler.plan.model.snapshot import (
    Placement,
    QuotaHeadroom,
    Snapshot,
    TaskAllocation,
)
from wattline_scheduler.plan.policies.backfill import Promise, promise
from wattline_scheduler.plan.policies.claims import NEVER
from wattline_scheduler.plan.policies.preempt_quota import Wanted, choose_with_quotas
from wattline_scheduler.plan.policies.preemption_pass import MAX_PREEMPTIONS
from wattline_scheduler.plan.policies.running_work import RunningWork
from wattline_scheduler.plan.search.feasible import fits_when_empty
from wattline_scheduler.plan.search.gang import Places, either, place_gang
from wattline_scheduler.plan.search.quota_headroom import Quotas
from wattline_scheduler.plan.search.score_cache import ScoreCache
from wattline_scheduler.plan.search.trial import Trial
from wattline_scheduler.plan.wait_reasons import wait_reason
from wattline_scheduler.time_slices import Parts

MAX_NODES_EVALUATED = 20_000
"""In all trials of one query together: usually less than a tenth of a second."""

NODES_PER_TRIAL, STEPS_PER_NODE = 20, 17
"""Fixed cost of a trial in nodes, and planner steps per node of cost: on a small site with a long
queue, placing the gangs ahead is nearly all of the cost."""

MAX_AHEAD = 64
"""Gangs ahead in the queue that are placed first; later ones hardly matter."""

ASKED = JobId(0)
"""Placeholder for the job of the query, also if not submitted yet; no job has that number."""


class TrialBudgetExceeded(Exception):
    """The query has used up its trial budget; results found before remain valid."""


@dataclass(slots=True)
class _Before:
    """A gang ahead in the queue."""

    waiting: Waiting
    gang: int
    over_s: float = math.inf
    """Time from now until its end; infinite = unknown."""


@dataclass(slots=True)
class _Budget:
    nodes: int
    """Remaining budget, in nodes evaluated."""


class Case:
    """Runs placement trials with some gangs removed and the gangs ahead in the queue placed first.

    A gang ahead that waits for a quota uses no resources. A gang ahead with a promised start has a
    known end; the ends of others can be estimated (`estimate`).
    """

    def __init__(
        self,
        state: State,
        ahead: Sequence[Waiting],
        now: Now,
        stay: Stay = ANY_STAY,
        quotas: Sequence[int] = (),
    ) -> None:
        self._state, self._now, self.stay, self.quotas = state, now, stay, quotas
        ahead_of_it = (_Before(each, gang) for each in ahead for gang in each.gangs)
        self.ahead = [*islice(ahead_of_it, MAX_AHEAD)]
        self._budget = _Budget(MAX_NODES_EVALUATED)
        self._cache = ScoreCache()
        self._held: dict[Gang, list[TaskAllocation]] = {}
        self.uncounted = _uncounted(sum(len(each.gangs) for each in ahead))
        self.is_too_much = bool(self.uncounted)
        """Not all gangs ahead can be followed to their ends."""
        self._to_preempt: dict[Shape, list[Gang]] = {}
        dated = set[JobId]()
        for before in self.ahead:
            if before.waiting.job not in dated:  # the promise is to the first of its gangs
                before.over_s = self._date_s(before.waiting) + _runs_s(before.waiting)
                dated.add(before.waiting.job)

    def fits(
        self,
        shape: Shape,
        removed: Sequence[Gang] = (),
        *,
        is_first: bool = False,
        at_s: float = 0.0,
        later_s: float = 0.0,
        stay: Stay | None = None,
    ) -> Parts[bool]:
        """Whether a gang would be placed; see `places`. Raises TrialBudgetExceeded."""
        places = yield from self.places(
            shape, removed, is_first=is_first, at_s=at_s, later_s=later_s, stay=stay
        )
        return places is not None

    def places(
        self,
        shape: Shape,
        removed: Sequence[Gang] = (),
        *,
        is_first: bool = False,
        at_s: float = 0.0,
        later_s: float = 0.0,
        stay: Stay | None = None,
    ) -> Parts[Places | None]:
        """Places that a gang would get; None = none. Raises TrialBudgetExceeded.

        `is_first`: ahead of the whole queue. `at_s`: gangs ahead that end by then are removed.
        `later_s`: reservations as of that much later. `stay`: how it would use nodes.
        """
        stay = stay or self.stay
        with (yield from self._trial(removed, at_s, later_s)) as trial:
            quotas = Quotas(trial)
            if not is_first:
                yield from self._place_ahead(trial, quotas, at_s, stay)
                self._budget.nodes -= trial.effort // STEPS_PER_NODE
            if quotas.exceeds(self.quotas, shape):
                return None
            shape = quotas.within(self.quotas, shape)
            barred = either(quotas.barred(self.quotas, shape), trial.barred(stay))
            return place_gang(trial, shape, (), barred)

    @property
    def reservations(self) -> Reservations | None:
        """Reservations of the current state."""
        return reserved(self._state, self._now)

    def ahead_ends(self) -> list[tuple[float, JobId]]:
        """Known ends of the gangs ahead."""
        known = (each for each in self.ahead if math.isfinite(each.over_s))
        return sorted((each.over_s, each.waiting.job) for each in known)

    def estimate(self, start_of: Callable[["Case", Shape], Parts[float | None]]) -> Parts[bool]:
        """Estimates ends of gangs ahead without a promised start; returns whether any was found.

        `start_of` estimates the start of one of them, as for the job of the query. This uses at
        most half of the trial budget.
        """
        is_any = False
        for at, each in enumerate(self.ahead):
            runs_s = _runs_s(each.waiting)
            if self._budget.nodes < MAX_NODES_EVALUATED // 2:
                self.is_too_much = True
                break
            if math.isfinite(runs_s) and math.isinf(each.over_s):
                start_s = yield from start_of(self._asked_by(at), each.waiting.shape)
                if start_s is not None:
                    each.over_s, is_any = start_s + runs_s, True
        return is_any

    def _asked_by(self, at: int) -> "Case":
        other, waiting = copy(self), self.ahead[at].waiting
        other.ahead, other.stay, other.quotas = self.ahead[:at], waiting.stay, waiting.quotas
        other._to_preempt = {}  # noqa: SLF001 - its own copy
        return other

    def _date_s(self, waiting: Waiting) -> float:
        """Time from now until its promised start; infinite = none was promised."""
        return self._state.promised.get(waiting.job, math.inf) - self._now.mono_s

    def _place_ahead(self, trial: Trial, quotas: Quotas, at_s: float, stay: Stay) -> Parts[None]:
        """Places the gangs ahead; reserves resources for those with a promised start or a claim."""
        taken, promises, claims = set[int](), list[Promise](), claimed(self._state)
        for before in (one for one in self.ahead if one.over_s > at_s):
            yield
            each, claim = before.waiting, claims.get((before.waiting.job, before.gang))
            if quotas.refuses(each.quotas, each.shape):
                if claim is not None:
                    _reserve_claimed(trial, quotas, each, claim)
                    continue
                if self._now.mono_s + at_s - each.since >= PATIENCE_S:
                    quotas.keep(each.quotas, each.shape)
                continue
            shape = quotas.within(each.quotas, each.shape)
            barred = either(quotas.barred(each.quotas, shape), trial.barred(each.stay))
            places = place_gang(trial, shape, (), barred)
            if places is not None:
                quotas.take(each.quotas, shape, Placement(each.job, 0, places))
            elif claim is not None:
                _reserve_claimed(trial, quotas, each, claim)
            elif each.job in self._state.promised:
                promised = promise(trial, each, self._now.mono_s, taken)
                if promised is not None:
                    taken |= set(promised.nodes)
                    promises.append(promised)
        for promised in promises:
            waits_s = self._state.promised[promised.job] - self._now.mono_s - at_s
            if stay.runs_s is not None and stay.runs_s + MARGIN_S <= waits_s < math.inf:
                promised.lift(trial)  # it has ended before the promised start

    def to_preempt(self, shape: Shape) -> Parts[list[Gang]]:
        """Gangs of lower priority to preempt, for this gang and those ahead; empty = preemption
        does not help. Raises TrialBudgetExceeded."""
        known = self._to_preempt.get(shape)
        if known is None:
            choose = self._choose_behind if self.ahead else self._choose
            known = yield from choose(shape)
            self._to_preempt[shape] = known
        return known

    def _choose(self, shape: Shape) -> Parts[list[Gang]]:
        """The smallest set of gangs to preempt."""
        with (yield from self._trial()) as trial:
            running = yield from running_gangs(self._state, shape.priority)
            runs = RunningWork(replace(trial.snapshot, running=running, preempts_protected=True))
            wanted = Wanted(shape, self.quotas, trial.barred(self.stay))
            choice = yield from choose_with_quotas(trial, Quotas(trial), wanted, runs, {})
        keys = (one.key for one in choice.victims) if choice is not None else ()
        return [self._state.work.jobs[job].gangs[number] for job, number in keys]

    def _choose_behind(self, shape: Shape) -> Parts[list[Gang]]:
        """Gangs that one planning cycle would preempt for this gang and those ahead. Empty if the
        cycle would preempt none for this gang."""
        if len(self.ahead) >= MAX_PREEMPTIONS:
            return []
        self._spend(case=len(self.ahead) + 1)
        state, now = self._state, self._now
        asked = Waiting(
            job=ASKED,
            priority=shape.priority,
            since=now.mono_s,
            shape=shape,
            gangs=(0,),
            runs_s=self.stay.runs_s,
            quotas=tuple(self.quotas),
            reservation=self.stay.reservation,
            data=self.stay.data,
        )
        before = {each.waiting.job: each.waiting for each in self.ahead}
        waiting = (*before.values(), asked)
        running = yield from running_gangs(state, max(each.priority for each in waiting))
        seen = replace(
            snapshot(state, now, waiting),
            claims=claimed(state),
            running=running,
            preempts_protected=True,
            least_priority=state.work.least_priority,
            quotas=state.work.quotas.headrooms(),
        )
        made = (yield from plan_in_parts(seen)).preemptions
        if not any(one.gang == (ASKED, 0) for one in made):
            return []
        keys = dict.fromkeys(key for one in made for key in one.victims)
        return [state.work.jobs[job].gangs[number] for job, number in keys]

    def holding(self, shape: Shape, gangs: Iterable[Gang]) -> Parts[list[Gang]]:
        """Gangs with devices, CPUs or memory that a task could use. Raises TrialBudgetExceeded."""
        with (yield from self._trial()) as trial:
            columns, able = trial.columns, fits_when_empty(trial, shape)
            suited = trial.scores(shape).ask.is_suited[columns.gpu_class]
            position = trial.snapshot.position

        def is_held(attempt: Attempt) -> bool:
            node, of = self._state.nodes[attempt.node], attempt.gang.job.shape
            at = position[node.id]
            devices = columns.gpu_index[at][suited[at]].tolist() if shape.gpus else ()
            is_short = (shape.cpus and of.cpus) or (shape.memory_bytes and of.memory_bytes)
            is_on = is_short or not {*returned_devices(node, attempt)}.isdisjoint(devices)
            return bool(able[at] and is_on)

        live_of = self._state.work.live_of
        return [gang for gang in gangs if any(map(is_held, live_of(gang)))]

    def lacks(self, shape: Shape, removed: Sequence[Gang] = ()) -> Parts[str]:
        """The reason why it would not be placed. Raises TrialBudgetExceeded."""
        with (yield from self._trial(removed)) as trial:
            return wait_reason(trial, shape, self.stay)

    def _trial(
        self, removed: Sequence[Gang] = (), at_s: float = 0.0, later_s: float = 0.0
    ) -> Parts[AbstractContextManager[Trial]]:
        """Placement trial with these gangs removed; one at a time.

        `at_s`, `later_s`: quota headroom and reservations as of that much later.
        """
        yield
        self._spend(case=1)
        seen, reservations = self._seen, self._seen.reservations
        if later_s and reservations is not None:
            reservations = reservations.later(later_s)
        headrooms = quota_headrooms(self._state, removed, UnixTime(self._now.unix_s + at_s))
        trial = Trial(replace(seen, quotas=headrooms, reservations=reservations), self._cache)
        for (priority, at), tasks in sorted(self._ended(removed).items()):
            yield
            trial.end(at, tasks, priority)
        return closing(trial)

    @cached_property
    def _seen(self) -> Snapshot:
        return snapshot(self._state, self._now)

    def _ended(self, removed: Iterable[Gang]) -> dict[tuple[int, int], list[TaskAllocation]]:
        """What they have on each node, by priority and its position."""
        found: dict[tuple[int, int], list[TaskAllocation]] = {}
        for gang in removed:
            if gang not in self._held:
                live = self._state.work.live_of(gang)
                self._held[gang] = [self._given_back(attempt) for attempt in live]
            for task in self._held[gang]:
                found.setdefault((gang.job.spec.priority, task.at), []).append(task)
        return found

    def _given_back(self, attempt: Attempt) -> TaskAllocation:
        """Its allocation as booked in the snapshot, without GPUs that others use as well."""
        node, shape = self._state.nodes[attempt.node], attempt.gang.job.shape
        at = self._seen.position[node.id]
        booked_mw = dict(self._seen.nodes[at].booking.held)
        held = {device: gpu_of(device) for device in returned_devices(node, attempt)}
        freed_mw = {
            device: booked_mw[gpu] - node.gpus[gpu].idle_mw
            for device, gpu in held.items()
            if gpu in booked_mw and gpu not in node.foreign
        }
        return TaskAllocation(
            at=at,
            gpus=tuple(freed_mw),
            counts_mw=tuple(freed_mw.values()),
            milli=shape.gpu_milli,
            cpus=shape.cpus,
            memory_bytes=shape.memory_bytes,
        )

    def _spend(self, *, case: int) -> None:
        self._budget.nodes -= case * (len(self._state.nodes) + NODES_PER_TRIAL)
        if self._budget.nodes < 0:
            raise TrialBudgetExceeded


def quota_headrooms(
    state: State, removed: Iterable[Gang], unix_s: UnixTime
) -> tuple[QuotaHeadroom, ...]:
    """Quota headroom with these gangs removed, at that time."""
    headrooms = list(state.work.quotas.headrooms())
    for attempt in (attempt for gang in removed for attempt in state.work.live_of(gang)):
        for at in attempt.quotas:
            headroom = headrooms[at]
            headrooms[at] = replace(
                headroom,
                used_milli=headroom.used_milli - attempt.quota_milli,
                used_mw=headroom.used_mw - attempt.quota_mw,
            )
    for at, one in enumerate(state.work.quotas.all):
        if one.resets_unix_s is not None and one.resets_unix_s <= unix_s:
            headrooms[at] = replace(headrooms[at], closed="")
    return tuple(headrooms)


def _reserve_claimed(
    trial: Trial, quotas: Quotas, waiting: Waiting, nodes: Sequence[NodeId]
) -> None:
    """Reserves the claimed nodes of a gang whose preemptions are under way, as the planner does."""
    at = [trial.snapshot.position[node] for node in nodes]
    quotas.expect(waiting.quotas, waiting.shape, at)
    Promise(waiting.job, waiting.shape, at, NEVER, []).hold(trial)


def _uncounted(ahead: int) -> str:
    """What an estimate leaves out of the queue ahead; empty = nothing."""
    if ahead <= MAX_AHEAD:
        return ""
    return f"only the first {MAX_AHEAD} tasks ahead of it in the queue are counted"


def _runs_s(waiting: Waiting) -> float:
    return math.inf if waiting.runs_s is None else waiting.runs_s
