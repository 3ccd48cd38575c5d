"""Estimates when preemption frees the resources of a gang, usually before its victims' own ends."""

from math import ceil

from wattline_protocol.ids import Now
from wattline_protocol.text.quantities import format_duration
from wattline_protocol.text.wording import named
from wattline_scheduler.core.explain.hypothetical import Case, TrialBudgetExceeded
from wattline_scheduler.core.explain.start_estimate import Estimate
from wattline_scheduler.core.lifecycle.preemption import protected_s
from wattline_scheduler.core.model.jobs.job import Ending, Gang
from wattline_scheduler.core.model.queue.remaining_time import left_of
from wattline_scheduler.core.model.state import State
from wattline_scheduler.plan.model.shape import Shape
from wattline_scheduler.time_slices import Parts


def after_preemption(state: State, case: Case, shape: Shape, now: Now) -> Parts[Estimate | None]:
    """The estimate for a gang at the head of the queue: the protected time of its victims, then
    their grace periods. None: preemption does not help, or the trial budget is used up."""
    try:
        gangs = yield from case.to_preempt(shape)
    except TrialBudgetExceeded:
        return None
    going = [gang for gang in gangs if not isinstance(state.work.phase_of(gang), Ending)]
    if not going:
        return None
    young_s = max(protected_s(state, gang, now) for gang in going)
    within_s = young_s + max(gang.job.grace_s for gang in going)
    return Estimate(max(within_s, _stopping_s(state, gangs, now)), _why(going, young_s))


def _stopping_s(state: State, gangs: list[Gang], now: Now) -> float:
    """Time until the victims that are already being stopped have ended."""
    work = state.work
    phases = ((gang, work.phase_of(gang)) for gang in gangs)
    ending = ((gang, phase) for gang, phase in phases if isinstance(phase, Ending))
    left = (left_of(work.runtime_bounds, gang, now, phase) for gang, phase in ending)
    return max((one.s for one in left if one is not None), default=0.0)


def _why(going: list[Gang], young_s: float) -> str:
    jobs = list(dict.fromkeys(sorted(gang.job.id for gang in going)))
    has, it_is = ("have", "they are") if len(jobs) > 1 else ("has", "it is")
    young = f"; {it_is} protected for another {format_duration(ceil(young_s))}" if young_s else ""
    return f"after {named('job', jobs)} of lower priority {has} been preempted{young}"
