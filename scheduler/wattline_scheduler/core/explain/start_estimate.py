"""Estimates when a job starts, or explains why no estimate is possible.

Running work ends at its run time limit, or at the learned runtime of such jobs where that is
shorter. Jobs ahead in the queue are placed first, and end where their start and runtime are known.
The estimate is the earliest end after which the job fits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from wattline_protocol.ids import JobId, NodeId, Now
from wattline_protocol.text.wording import named
from wattline_scheduler.core.explain.hypothetical import Case, TrialBudgetExceeded
from wattline_scheduler.core.model.jobs.job import Ending, Gang, Paused, Running, Starting
from wattline_scheduler.core.model.queue.remaining_time import left_of
from wattline_scheduler.core.model.state import State
from wattline_scheduler.plan.model.shape import GangKey, Shape
from wattline_scheduler.time_slices import Parts

MAX_OPENINGS = 8
"""Maximum number of reservation ends to try."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Estimated start of a gang."""

    within_s: float | None
    """None = unknown."""
    why: str
    """Event that it waits for, or why the start is unknown."""
    nodes: tuple[NodeId, ...] = ()
    """Nodes by rank, if it would start now."""


def earlier(one: Estimate, other: Estimate | None) -> Estimate:
    """The earlier estimate; a known start precedes an unknown one."""
    if other is None or other.within_s is None:
        return one
    return other if one.within_s is None or other.within_s < one.within_s else one


class _Step(NamedTuple):
    """An end that frees resources: of a running gang, or of a job ahead in the queue."""

    s: float
    job: JobId
    why: str
    gang: Gang | None = None
    """None: it does not run yet."""


_Steps = list[_Step]


class _Live(NamedTuple):
    """Gangs with allocated GPUs, and their ends as far as known."""

    gangs: list[Gang]
    ends: _Steps
    paused: set[GangKey]


def _live(state: State, now: Now) -> Parts[_Live]:
    work, ends = state.work, list[_Step]()
    gangs = work.gangs_in(Starting, Running, Paused, Ending)
    for gang in gangs:
        yield
        left = left_of(work.runtime_bounds, gang, now, work.phase_of(gang))
        if left is not None:
            ends.append(_Step(left.s, gang.job.id, f"has ended, {left.why}", gang))
    paused = {gang.key for gang in gangs if isinstance(work.phase_of(gang), Paused)}
    return _Live(gangs, ends, paused)


def estimate_start(state: State, case: Case, shape: Shape, now: Now) -> Parts[Estimate]:
    """The estimate for a gang that waits for resources only."""
    try:
        places = yield from case.places(shape)
        if places is not None:
            nodes = tuple(place.node for place in places)
            return Estimate(0.0, "resources are free now", nodes)
        return (yield from _estimate(case, shape, (yield from _live(state, now))))
    except TrialBudgetExceeded:
        return Estimate(None, "unknown: too many alternatives to evaluate on this site")


def _estimate(case: Case, shape: Shape, live: _Live) -> Parts[Estimate]:
    def start_of(case: Case, shape: Shape) -> Parts[float | None]:
        if (yield from case.fits(shape)):
            return 0.0
        found = yield from _find(case, shape, _with_ahead(case, live.ends))
        return None if found is None else found.within_s

    found = yield from _find(case, shape, _with_ahead(case, live.ends))
    if found is None and (yield from case.estimate(start_of)):
        found = yield from _find(case, shape, _with_ahead(case, live.ends))
    if found is not None:
        return found
    ending = _ended_gangs(_with_ahead(case, live.ends))
    return Estimate(None, (yield from _not_known(case, shape, live, ending)))


def _with_ahead(case: Case, ends: _Steps) -> _Steps:
    """All ends, in order of time."""
    ahead = (
        _Step(over_s, job, "has run (ahead of it in the queue)")
        for over_s, job in case.ahead_ends()
    )
    return sorted([*ends, *ahead], key=lambda step: (step.s, step.job))


def _ended_gangs(steps: _Steps) -> list[Gang]:
    return [step.gang for step in steps if step.gang is not None]


def _find(case: Case, shape: Shape, steps: _Steps) -> Parts[Estimate | None]:
    found = yield from _among_ends(case, shape, steps, 0.0)
    return found or (yield from _after_reservations(case, shape, steps))


def _after_reservations(case: Case, shape: Shape, steps: _Steps) -> Parts[Estimate | None]:
    """Tries the times from which reservations open nodes that they bar now; the first that fits."""
    reservations = case.reservations
    openings = [] if reservations is None else reservations.openings(case.stay)
    for at_s, why in openings[:MAX_OPENINGS]:
        removed = _ended_gangs([step for step in steps if step.s <= at_s])
        if (yield from case.fits(shape, removed, at_s=at_s, later_s=at_s)):
            return Estimate(at_s, why)
        found = yield from _among_ends(case, shape, steps, at_s)
        if found is not None:
            return found
    return None


def _among_ends(case: Case, shape: Shape, steps: _Steps, from_s: float) -> Parts[Estimate | None]:
    """Finds the first end after which it fits, with reservations as of `from_s`."""

    def fits(count: int, later_s: float = from_s) -> Parts[bool]:
        at_s = max(from_s, steps[count - 1].s) if count else from_s
        return case.fits(shape, _ended_gangs(steps[:count]), at_s=at_s, later_s=later_s)

    if not steps or not (yield from fits(len(steps))):
        return None
    low, high = (sum(step.s <= from_s for step in steps) if from_s else 0), len(steps)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if (yield from fits(middle + 1)) else (middle + 1, high)
    last = steps[low]
    if case.reservations is not None and not (yield from fits(low + 1, last.s)):
        return None  # by then another reservation has begun, or is too near
    return Estimate(last.s, f"after job {last.job} {last.why}")


def _not_known(case: Case, shape: Shape, live: _Live, ending: Sequence[Gang]) -> Parts[str]:
    later_s = yield from _open_s(case, shape, live.gangs)
    if later_s is None:
        lacks = yield from case.lacks(shape, live.gangs)
        return f"unknown: even with all running jobs removed: {lacks}"
    if not (yield from case.fits(shape, live.gangs, later_s=later_s)):
        if case.is_too_much:
            return "unknown: too many jobs are ahead of it in the queue"
        return "unknown: it depends on run times of jobs ahead of it in the queue"
    known = {gang.key for gang in ending}
    endless = [gang for gang in live.gangs if gang.key not in known]
    if not endless:
        return "unknown: jobs on its nodes may run until the nodes are reserved"
    holding = yield from case.holding(shape, endless)
    if len(holding) < len(endless):
        removed = [*ending, *holding]
        endless = holding if (yield from case.fits(shape, removed, later_s=later_s)) else endless
    jobs = list(dict.fromkeys(gang.job.id for gang in endless))
    is_paused = any(gang.key in live.paused for gang in endless)
    holds, has = ("holds", "has") if len(jobs) == 1 else ("hold", "have")
    why = "part of it is paused" if is_paused else f"{has} no time limit (--time)"
    return f"unknown: {named('job', jobs)} {holds} the resources it needs and {why}"


def _open_s(case: Case, shape: Shape, live: Sequence[Gang]) -> Parts[float | None]:
    """Time from which reservations would let it start if nothing else ran; None = never."""
    reservations = case.reservations
    openings = [] if reservations is None else reservations.openings(case.stay)[:MAX_OPENINGS]
    for later_s in (0.0, *(at_s for at_s, _ in openings)):
        if (yield from case.fits(shape, live, is_first=True, later_s=later_s)):
            return later_s
    return None
