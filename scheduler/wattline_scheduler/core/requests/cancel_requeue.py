"""What users do to jobs that are there: cancel and requeue here, more in `holding`, `changing`.

Each act has two halves: `of` says which gangs it would touch, or why it may not be; `do` touches
them. A dry run ends between the two.
"""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from wattline_protocol.ids import Now, UserName
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.text.spans import folded
from wattline_protocol.wire.client_messages import Denied
from wattline_scheduler.core.admission.disk_reserve import nothing_new
from wattline_scheduler.core.admission.earliest_start import cannot_be_met, is_past
from wattline_scheduler.core.admission.open_job_limits import too_large, too_many
from wattline_scheduler.core.admission.reservation_fit import impossible_inside
from wattline_scheduler.core.admission.satisfiability import impossible
from wattline_scheduler.core.admission.service_name_checks import name_taken
from wattline_scheduler.core.lifecycle.dependencies import never, wait_for_parents
from wattline_scheduler.core.lifecycle.ending import end_gang, end_gangs
from wattline_scheduler.core.lifecycle.job_state import (
    refresh,
    save_gang,
    state_of_gang,
)
from wattline_scheduler.core.lifecycle.usage_limits import used_up
from wattline_scheduler.core.model.jobs.job import Ended, Ending, Gang, Job, Pending
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.selection import Target

MAX_INDICES_CHARS = 60
"""Of a list of indices in a text; the answer's own field has them all."""


@dataclass(frozen=True, slots=True)
class PlannedAction:
    """Gangs of one job that an act touches; none = it was done before."""

    job: Job
    gangs: tuple[Gang, ...]
    is_whole: bool
    spec: JobSpec | None = None
    """What the job becomes, where it is changed."""
    reached: str = ""
    """What ends at once by that change, and why, as "it reached its cost limit of 3 USD"."""

    @property
    def name(self) -> str:
        """`job 12`, `job 12[3-5]`."""
        return name_of(self.job, None if self.is_whole else self.gangs)


def _tell(strike: PlannedAction) -> str:
    name = repr(strike.job.spec.name)
    return name if strike.is_whole else f"{name}: {strike.name}"


@dataclass(frozen=True, slots=True)
class Act:
    """One verb about jobs."""

    event: str
    """Its kind in the audit log."""
    of: Callable[[State, Target, Job, Now], PlannedAction | Denied]
    do: Callable[[State, PlannedAction, UserName, Now], str]
    """What was done, in words."""
    before: str
    """What is said of a job to which it was done before."""
    would: str
    """What a dry run says."""
    tell: Callable[[PlannedAction], str] = _tell
    """Its line in the audit log."""


def name_of(job: Job, gangs: tuple[Gang, ...] | list[Gang] | None = None) -> str:
    """A job, or some indices of it, as people write it."""
    if not gangs:
        return f"job {job.id}"
    listed = folded(job.index_of(gang.number) for gang in gangs)
    cut = f"{listed[:MAX_INDICES_CHARS]}…" if len(listed) > MAX_INDICES_CHARS else listed
    return f"job {job.id}[{cut}]"


def meant(target: Target, job: Job) -> str:
    """What is meant, as people write it."""
    return name_of(job, None if target.numbers is None else target.gangs)


def over(target: Target, job: Job) -> Denied:
    """Nothing of what is meant is left to act on."""
    name = meant(target, job)
    outcomes = {g.phase.outcome for g in target.gangs if isinstance(g.phase, Ended)}
    how = job.record.state if target.numbers is None else ", ".join(sorted(outcomes))
    return Denied("conflict", f"{name} has ended already: {how}")


def open_of(target: Target) -> list[Gang]:
    """Of what is meant, all that has not ended."""
    return [gang for gang in target.gangs if not isinstance(gang.phase, Ended)]


# --- cancel -----------------------------------------------------------------------------


def _of_cancel(state: State, target: Target, job: Job, now: Now) -> PlannedAction | Denied:
    del state, now
    if not open_of(target):
        return over(target, job)
    is_whole = target.numbers is None
    if is_whole and job.record.cancelled_by:
        return PlannedAction(job, (), is_whole)
    return PlannedAction(job, tuple(g for g in open_of(target) if not _is_cancelled(g)), is_whole)


def _is_cancelled(gang: Gang) -> bool:
    is_own = isinstance(gang.phase, Ending) and gang.phase.cause == "cancelled"
    return is_own or bool(gang.job.record.cancelled_by)


def _cancel(state: State, strike: PlannedAction, user: UserName, now: Now) -> str:
    """Pending gangs end at once, others are stopped with the job's grace."""
    job, reason = strike.job, f"cancelled by {user}"
    if strike.is_whole:
        job.record = msgspec.structs.replace(job.record, cancelled_by=user, is_held=False)
        state.journal.save(job.record)
    end_gangs(state, strike.gangs, "cancelled", reason, now)
    if not job.is_ended:
        refresh(state, job, now)
    is_over = all(isinstance(gang.phase, Ended) for gang in strike.gangs)
    return f"{strike.name} ended" if is_over else f"{strike.name} is being cancelled"


# --- requeue ----------------------------------------------------------------------------


def _opens_again(state: State, job: Job) -> Denied | None:
    """Why a job that has ended may not be open once more; None = it may."""
    owner = job.record.owner
    return (
        nothing_new(state)
        or too_large(state, owner, job.spec)
        or name_taken(state, owner, job.spec)
    )


def _of_requeue(state: State, target: Target, job: Job, now: Now) -> PlannedAction | Denied:
    is_being_cancelled = bool(job.record.cancelled_by) and not job.is_ended
    wanted = (gang for gang in target.gangs if gang.number < job.spec.gang_count)
    gangs = tuple(g for g in wanted if not is_being_cancelled and _is_requeued(g, now))
    if not gangs:
        return Denied("conflict", f"{meant(target, job)} {_why_not_requeued(target)}")
    past = is_past(state, job.spec, now)
    if past:
        return Denied("impossible", f"{meant(target, job)} would not start again: {past}")
    more = sum(isinstance(gang.phase, Ended) for gang in gangs)
    owner, is_open = job.record.owner, not job.is_ended
    denied = too_many(state, owner, job.spec, more, is_open=is_open) if more else None
    if denied is not None:
        return denied
    denied = _opens_again(state, job) if job.is_ended else None
    if denied is not None:
        return denied
    if job.is_ended:
        gone = "" if job.has_run else never(state, job.spec, {})
        used = used_up(job, job.spec.limits, state.site.tariff)
        if used and not gone:
            text = f"{meant(target, job)} {used}; raise that first with `wattline update`"
            return Denied("impossible", text)
        problem = (
            gone
            or cannot_be_met(state, owner, job.spec, now)
            or impossible(state, job.spec, now)
            or impossible_inside(state, owner, job.spec, now)
        )
        if problem:
            return Denied("impossible", problem)
    return PlannedAction(job, gangs, target.numbers is None)


def _is_requeued(gang: Gang, now: Now) -> bool:
    match gang.phase:
        case Ended(outcome):
            return outcome != "COMPLETED"
        case Ending(cause=cause):
            return cause not in ("cancelled", "asked")
        case Pending(not_before=not_before):
            return not_before > now.mono_s
        case _:
            return True


def _why_not_requeued(target: Target) -> str:
    phases = [gang.phase for gang in target.gangs]
    if all(isinstance(phase, Ended) for phase in phases):
        return "has completed; submit it again to run it once more"
    if any(_is_cancelled(gang) for gang in open_of(target)):
        return "is being cancelled; requeue it once it has ended"
    if any(isinstance(phase, Ending) for phase in phases):
        return "is on its way back to the queue already"
    if all(state_of_gang(gang) == "HELD" for gang in open_of(target)):
        return "is held; `wattline release` lets it start"
    return "waits in the queue already"


def _requeue(state: State, strike: PlannedAction, user: UserName, now: Now) -> str:
    """What runs is stopped with the job's grace and waits again; so does what has ended.

    Its checkpoints stay where they are. No retry is used up; after an end all of them are back.
    """
    job, reason = strike.job, f"requeued by {user}"
    if job.is_ended:
        job.record = msgspec.structs.replace(job.record, cancelled_by="", is_held=False, held_by="")
        state.work.reopen(job)
        if not job.has_run:
            wait_for_parents(state, job)
    for gang in strike.gangs:
        gang.refusals = 0
        if isinstance(gang.phase, Ended):
            gang.failures = gang.losses = gang.crashes = 0
        if isinstance(gang.phase, Ended | Pending):
            gang.reason = reason
            state.work.move(gang, Pending(now.mono_s), now)
            save_gang(state, gang, now)
        else:
            end_gang(state, gang, "asked", reason, now)
    job.wait_reason = ""
    state.wants_plan = True
    is_held = job.record.is_held or all(gang.is_held for gang in strike.gangs)
    until = ", where it waits until it is released" if is_held else ""
    return f"{strike.name} goes back to the queue{until}"


CANCEL = Act("job_cancelled", _of_cancel, _cancel, "is being cancelled already", "would end")
REQUEUE = Act("job_requeued", _of_requeue, _requeue, "waits already", "would go back to the queue")
