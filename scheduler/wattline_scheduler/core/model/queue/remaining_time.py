"""Remaining time of running work: one estimate for explanations, promised starts and drains.

A try ends by its run time limit, or by the learned runtime of such jobs, each plus its grace
period; or by its reported progress. Run time excludes pauses, so the end counts from the last
resume, less the run time before it. For paused work, and for services, it is unknown.
"""

from dataclasses import dataclass

from wattline_protocol.ids import GpuIndex, Instant, Now
from wattline_scheduler.core.model.devices import returned_devices
from wattline_scheduler.core.model.jobs.job import (
    Ending,
    Gang,
    Job,
    Phase,
    Running,
    Starting,
)
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.queue.runtime_bounds import RuntimeBounds

START_WAIT_S = 20.0
"""Time that a placed gang waits for its watts before it releases its GPUs."""


@dataclass(frozen=True, slots=True)
class GangEnd:
    """Latest end of a gang, and how it is known."""

    at: Instant
    why: str
    """Completes the sentence "once job 7 has ended, ..."."""
    is_guess: bool = False
    """Estimated from similar jobs or its own pace; void once the gang runs beyond it."""


def ends_of(bounds: RuntimeBounds | None, gang: Gang, phase: Phase | None = None) -> list[GangEnd]:
    """Known ends. `bounds` None: by limits only, no estimates. `phase`: instead of its own."""
    spec, phase = gang.job.spec, phase or gang.phase
    if isinstance(phase, Ending):
        stopped = Instant(phase.since + gang.job.grace_s)
        return [GangEnd(stopped, "which is being stopped")]
    began, found = began_at(phase), list[GangEnd]()
    if began is None or spec.kind == "service":
        return found
    over = began + gang.job.grace_s
    if spec.limits.runtime_s:
        by_limit = Instant(over + spec.limits.runtime_s)
        found.append(GangEnd(by_limit, "at its time limit at the latest"))
    guess = _guess(bounds, gang, over) if bounds is not None else None
    return found if guess is None else [*found, guess]


def _guess(bounds: RuntimeBounds, gang: Gang, over: float) -> GangEnd | None:
    """By its own pace if it reports one, else by the learned runtime from `over` on."""
    course = gang.live[0].course if gang.live else None
    if course is not None and course.end_s is not None:
        return GangEnd(Instant(course.end_s), "by its reported progress", is_guess=True)
    took_s = bounds.learned_s(gang.job.kind)
    if took_s is None:
        return None
    return GangEnd(Instant(over + took_s), "by the run times of such jobs", is_guess=True)


def began_at(phase: Phase) -> float | None:
    """Hypothetical start of an uninterrupted run."""
    match phase:
        case Running(since, ran_s):
            return since - (ran_s or 0.0)
        case Starting(since):
            return since + START_WAIT_S
        case _:
            return None


@dataclass(frozen=True, slots=True)
class RemainingTime:
    """Remaining time of a gang, and how it is known."""

    s: float
    why: str


def _end_of(
    bounds: RuntimeBounds | None, gang: Gang, now: Now, phase: Phase | None = None
) -> GangEnd | None:
    """The earliest known end, without estimates that have passed."""
    ends = [end for end in ends_of(bounds, gang, phase) if end.at > now.mono_s or not end.is_guess]
    return min(ends, key=lambda end: end.at, default=None)


def left_of(
    bounds: RuntimeBounds | None, gang: Gang, now: Now, phase: Phase | None = None
) -> RemainingTime | None:
    """The shortest known remaining time; None = unknown. `phase`: instead of its own."""
    end = _end_of(bounds, gang, now, phase)
    return None if end is None else RemainingTime(max(0.0, end.at - now.mono_s), end.why)


def left_of_job(bounds: RuntimeBounds, job: Job, now: Now) -> RemainingTime | None:
    """Time until the last of its gangs ends; None: unknown, or some are pending."""
    if job.count["pending"]:
        return None
    left = [left_of(bounds, gang, now) for gang in job.tried_gangs if gang.live]
    if not left or None in left:
        return None
    return max((one for one in left if one is not None), key=lambda one: one.s)


def ends(bounds: RuntimeBounds, node: NodeNow, now: Now) -> tuple[tuple[GpuIndex, Instant], ...]:
    """Times at which the allocated devices will be free, as far as known."""
    known = []
    for attempt in node.attempts.values():
        end = _end_of(bounds, attempt.gang, now)
        if end is not None:
            known += [(device, end.at) for device in returned_devices(node, attempt)]
    return tuple(known)


def endless(node: NodeNow) -> tuple[GpuIndex, ...]:
    """Devices allocated to services that are not being stopped."""
    return tuple(
        device
        for attempt in node.attempts.values()
        if attempt.gang.job.spec.kind == "service" and not isinstance(attempt.gang.phase, Ending)
        for device in returned_devices(node, attempt)
    )


def empty_within_s(node: NodeNow, now: Now) -> float | None:
    """Time until the node is empty by the limits of its tasks; None if one has no limit."""
    left = [left_of(None, one.gang, now) for one in node.attempts.values()]
    return None if None in left else max((one.s for one in left if one is not None), default=0.0)
