"""When will it start? An estimate, or why there can be none.

What runs is taken to run for as long as its run time limit allows, or as such jobs took before
where that is less; what is before the job in the queue is placed first. The estimate is the
earliest end after which the job fits.
"""

from bisect import bisect_left
from dataclasses import dataclass

from wattline_protocol.ids import JobId, Now
from wattline_scheduler.core.asif import AsIf, TooManyLooks
from wattline_scheduler.core.jobs import Ending, Gang, Paused, Running, Starting
from wattline_scheduler.core.remaining import left_of
from wattline_scheduler.core.state import State
from wattline_scheduler.plan.snapshot import Shape

MAX_NAMED = 3
"""Jobs named in one sentence."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """When a gang would start."""

    within_s: float | None
    """None: nobody knows."""
    why: str
    """What it waits for, or why it is not known."""


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
    gangs = [gang for _, gang in ends]
    if not look.fits(shape, gangs):
        return Forecast(None, _not_known(look, shape, live, gangs))
    # Of the ends in order, the first after which it fits.
    count = bisect_left(range(len(gangs)), True, key=lambda at: look.fits(shape, gangs[: at + 1]))
    left, last = ends[count]
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


def named(jobs: list[JobId]) -> str:
    """`job 3`, `jobs 3, 7, 9 and 4 more`."""
    shown = ", ".join(map(str, jobs[:MAX_NAMED]))
    more = f" and {len(jobs) - MAX_NAMED} more" if len(jobs) > MAX_NAMED else ""
    return f"job{'s' if len(jobs) > 1 else ''} {shown}{more}"
