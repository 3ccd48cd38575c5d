"""When will it start? An estimate, or why there can be none.

What runs is taken to run for as long as its run time limit allows, or as such jobs took before
where that is less; what is before the job in the queue is placed first. The estimate is the
earliest end after which the job fits.
"""

from bisect import bisect_left
from dataclasses import dataclass

from wattline_protocol.ids import Now
from wattline_scheduler.core.asif import AsIf, TooManyLooks
from wattline_scheduler.core.jobs import Ending, Gang, Paused, Running, Starting
from wattline_scheduler.core.naming import named
from wattline_scheduler.core.remaining import Left, left_of
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


def _forecast(state: State, look: AsIf, shape: Shape, now: Now) -> Forecast:
    if look.fits(shape):
        return Forecast(0.0, "there is room for it now")
    live = state.work.gangs_in(Starting, Running, Paused, Ending)
    known = ((left_of(state.work.longest, gang, now), gang) for gang in live)
    ends = [(left, gang) for left, gang in known if left is not None]
    ends.sort(key=lambda end: (end[0].s, end[1].key))
    found = _among_ends(look, shape, ends, 0.0) or _after_reservations(look, shape, ends)
    return found or Forecast(None, _not_known(look, shape, live, [gang for _, gang in ends]))


Ends = list[tuple[Left, Gang]]


def _after_reservations(look: AsIf, shape: Shape, ends: Ends) -> Forecast | None:
    """From the first of the times on at which a reservation lets it have nodes that it bars now."""
    reservations = look.reservations
    openings = [] if reservations is None else reservations.openings(look.stay)
    for at_s, why in openings[:MAX_OPENINGS]:
        gone = [gang for left, gang in ends if left.s <= at_s]
        if look.fits(shape, gone, later_s=at_s):
            return Forecast(at_s, why)
        found = _among_ends(look, shape, ends, at_s)
        if found is not None:
            return found
    return None


def _among_ends(look: AsIf, shape: Shape, ends: Ends, from_s: float) -> Forecast | None:
    """By the first of the ends after which it fits, as reservations are from `from_s` on."""
    gangs = [gang for _, gang in ends]
    if not look.fits(shape, gangs, later_s=from_s):
        return None
    first = sum(left.s <= from_s for left, _ in ends) if from_s else 0
    count = first + bisect_left(
        range(first, len(gangs)),
        True,
        key=lambda at: look.fits(shape, gangs[: at + 1], later_s=from_s),
    )
    left, last = ends[count]
    if look.reservations is not None and not look.fits(shape, gangs[: count + 1], later_s=left.s):
        return None  # by then another one has begun, or is too near
    return Forecast(left.s, f"once job {last.job.id} has ended, {left.why}")


def _not_known(look: AsIf, shape: Shape, live: list[Gang], ending: list[Gang]) -> str:
    if not look.fits(shape, live, is_first=True):
        return f"not known: even with all that runs gone: {look.lacks(shape, live)}"
    if not look.fits(shape, live):
        return "not known: it depends on how long what is before it in the queue will run"
    endless = dict.fromkeys(gang.job.id for gang in live if gang not in ending)
    return (
        f"not known: it needs what {named(list(endless))} hold{'s' if len(endless) == 1 else ''}, "
        "and nobody has said for how long (--time)"
    )
