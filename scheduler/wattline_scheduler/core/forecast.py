"""When will it start? An estimate, or why there can be none.

What runs is taken to run for as long as its run time limit allows, or as such jobs took before
where that is less; what is before the job in the queue is placed first, and ends where it is known
when it starts and how long it runs. The estimate is the earliest end after which the job fits.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from wattline_protocol.ids import JobId, Now
from wattline_scheduler.core.asif import AsIf, TooManyLooks
from wattline_scheduler.core.jobs import Ending, Gang, Paused, Running, Starting
from wattline_scheduler.core.naming import named
from wattline_scheduler.core.remaining import left_of
from wattline_scheduler.core.state import State
from wattline_scheduler.plan.snapshot import Shape

MAX_OPENINGS = 8
"""Reservations whose end is tried."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """When a gang would start."""

    within_s: float | None
    """None: nobody knows."""
    why: str
    """What it waits for, or why it is not known."""


def sooner(one: Forecast, other: Forecast | None) -> Forecast:
    """What is known comes before what is not."""
    if other is None or other.within_s is None:
        return one
    return other if one.within_s is None or other.within_s < one.within_s else one


def forecast(state: State, look: AsIf, shape: Shape, now: Now) -> Forecast:
    """The estimate for a gang that nothing but room keeps from starting."""
    try:
        return _forecast(state, look, shape, now)
    except TooManyLooks:
        return Forecast(None, "not known: the site is too large to try so many ways at once")


class _Step(NamedTuple):
    """Something ends: work that runs, or work that is ahead in the queue once it has run."""

    s: float
    job: JobId
    why: str
    gang: Gang | None = None
    """None: it does not run yet."""


_Steps = list[_Step]


def _forecast(state: State, look: AsIf, shape: Shape, now: Now) -> Forecast:
    if look.fits(shape):
        return Forecast(0.0, "there is room for it now")
    live = state.work.gangs_in(Starting, Running, Paused, Ending)
    known = ((left_of(state.work.longest, gang, now), gang) for gang in live)
    ends = [
        _Step(left.s, gang.job.id, f"has ended, {left.why}", gang)
        for left, gang in known
        if left is not None
    ]

    def start_of(look: AsIf, shape: Shape) -> float | None:
        if look.fits(shape):
            return 0.0
        found = _find(look, shape, _with_ahead(look, ends))
        return None if found is None else found.within_s

    found = _find(look, shape, _with_ahead(look, ends))
    if found is None and look.estimate(start_of):
        found = _find(look, shape, _with_ahead(look, ends))
    return found or Forecast(None, _not_known(look, shape, live, _gone(_with_ahead(look, ends))))


def _with_ahead(look: AsIf, ends: _Steps) -> _Steps:
    """All that ends, in order."""
    ahead = (
        _Step(over_s, job, "has run, which is before it in the queue")
        for over_s, job in look.ahead_ends()
    )
    return sorted([*ends, *ahead], key=lambda step: (step.s, step.job))


def _gone(steps: _Steps) -> list[Gang]:
    return [step.gang for step in steps if step.gang is not None]


def _find(look: AsIf, shape: Shape, steps: _Steps) -> Forecast | None:
    return _among_ends(look, shape, steps, 0.0) or _after_reservations(look, shape, steps)


def _after_reservations(look: AsIf, shape: Shape, steps: _Steps) -> Forecast | None:
    """From the first of the times on at which a reservation lets it have nodes that it bars now."""
    reservations = look.reservations
    openings = [] if reservations is None else reservations.openings(look.stay)
    for at_s, why in openings[:MAX_OPENINGS]:
        gone = _gone([step for step in steps if step.s <= at_s])
        if look.fits(shape, gone, at_s=at_s, later_s=at_s):
            return Forecast(at_s, why)
        found = _among_ends(look, shape, steps, at_s)
        if found is not None:
            return found
    return None


def _among_ends(look: AsIf, shape: Shape, steps: _Steps, from_s: float) -> Forecast | None:
    """By the first of the ends after which it fits, as reservations are from `from_s` on."""

    def fits(count: int, later_s: float = from_s) -> bool:
        at_s = max(from_s, steps[count - 1].s) if count else from_s
        return look.fits(shape, _gone(steps[:count]), at_s=at_s, later_s=later_s)

    if not steps or not fits(len(steps)):
        return None
    first = sum(step.s <= from_s for step in steps) if from_s else 0
    at = first + bisect_left(range(first, len(steps)), True, key=lambda at: fits(at + 1))
    last = steps[at]
    if look.reservations is not None and not fits(at + 1, last.s):
        return None  # by then another one has begun, or is too near
    return Forecast(last.s, f"once job {last.job} {last.why}")


def _not_known(look: AsIf, shape: Shape, live: Sequence[Gang], ending: Sequence[Gang]) -> str:
    later_s = _open_s(look, shape, live)
    if later_s is None:
        return f"not known: even with all that runs gone: {look.lacks(shape, live)}"
    if not look.fits(shape, live, later_s=later_s):
        if look.is_too_much:
            return "not known: too much is before it in the queue to say when that will have run"
        return "not known: it depends on how long what is before it in the queue will run"
    known = {gang.key for gang in ending}
    endless = [gang for gang in live if gang.key not in known]
    if not endless:
        return "not known: what holds its place may run until reservations keep it from there"
    holding = look.holding(shape, endless)
    if len(holding) < len(endless) and look.fits(shape, [*ending, *holding], later_s=later_s):
        endless = holding
    jobs = list(dict.fromkeys(gang.job.id for gang in endless))
    is_paused = any(isinstance(gang.phase, Paused) for gang in endless)
    unknown = "nobody knows when what is paused goes on"
    return (
        f"not known: it needs what {named(jobs)} hold{'s' if len(jobs) == 1 else ''}, "
        f"and {unknown if is_paused else 'nobody has said for how long (--time)'}"
    )


def _open_s(look: AsIf, shape: Shape, live: Sequence[Gang]) -> float | None:
    """From when on reservations would let it start if nothing else ran; None: never."""
    reservations = look.reservations
    openings = [] if reservations is None else reservations.openings(look.stay)[:MAX_OPENINGS]
    times = (0.0, *(at_s for at_s, _ in openings))
    return next((s for s in times if look.fits(shape, live, is_first=True, later_s=s)), None)
