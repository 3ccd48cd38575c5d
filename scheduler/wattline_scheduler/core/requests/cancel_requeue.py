"""Actions on existing jobs: cancel and requeue; `hold` and `update` define the others.

Each action has two halves: `of` selects the gangs or refuses, `do` changes them. A dry run stops
between the two.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import msgspec

from wattline_protocol.ids import Now, UserName
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.text.spans import folded
from wattline_protocol.wire.client_messages import Denied
from wattline_scheduler.core.admission.disk_reserve import deny_new_work
from wattline_scheduler.core.admission.earliest_start import cannot_be_met, is_past
from wattline_scheduler.core.admission.open_job_limits import too_large, too_many, too_many_ended
from wattline_scheduler.core.admission.reservation_fit import impossible_inside
from wattline_scheduler.core.admission.satisfiability import impossible
from wattline_scheduler.core.admission.service_name_checks import name_taken
from wattline_scheduler.core.lifecycle.dependencies import never, wait_for_parents
from wattline_scheduler.core.lifecycle.ending import end_gang, end_gangs
from wattline_scheduler.core.lifecycle.job_state import refresh, state_of_gang
from wattline_scheduler.core.lifecycle.scaling import add_replica
from wattline_scheduler.core.lifecycle.usage_limits import used_up
from wattline_scheduler.core.model.data.stored_checkpoints import (
    give_up_checkpoint,
    waits_for_checkpoint,
)
from wattline_scheduler.core.model.jobs.job import Ended, Ending, Gang, Job, Pending, Publishing
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.selection import Target
from wattline_scheduler.core.rollout.rollout_checks import reopening_refused

MAX_INDICES_CHARS = 60
"""Maximum length of an index list in a text; the answer's own field has the full list."""


@dataclass(frozen=True, slots=True)
class PlannedAction:
    """Gangs of one job that an action will change; none = already done."""

    job: Job
    gangs: tuple[Gang, ...]
    is_whole: bool
    spec: JobSpec | None = None
    """New specification of the job, for an update."""
    reached: str = ""
    """Limit that the update makes the job reach, as "it reached its cost limit of 3 USD"."""

    @property
    def name(self) -> str:
        """Display name: `job 12`, `job 12[3-5]`."""
        return name_of(self.job, None if self.is_whole else self.gangs)


@dataclass(frozen=True, slots=True)
class Act:
    """One verb on jobs."""

    event: str
    """Event kind in the audit log."""
    of: Callable[[State, Target, Job, Now], PlannedAction | Denied]
    do: Callable[[State, PlannedAction, UserName, Now], str]
    """Applies the action; returns the result text."""
    before: str
    """Result text of a job to which the action was already applied."""
    done: str
    """Past participle of the action, as "held"."""
    describe: Callable[[PlannedAction], str] | None = None
    """Audit log text, where it says more than `done`."""

    def audit_text(self, planned: PlannedAction) -> str:
        """As "'train' is held", "'train': job 12[3-5] is held"."""
        if self.describe is not None:
            return self.describe(planned)
        name = repr(planned.job.spec.name)
        of = name if planned.is_whole else f"{name}: {planned.name}"
        return f"{of} is {self.done}"


def name_of(job: Job, gangs: tuple[Gang, ...] | list[Gang] | None = None) -> str:
    """Display name of a job, or of some of its indices."""
    if not gangs:
        return f"job {job.id}"
    listed = folded(job.index_of(gang.number) for gang in gangs)
    cut = f"{listed[:MAX_INDICES_CHARS]}…" if len(listed) > MAX_INDICES_CHARS else listed
    return f"job {job.id}[{cut}]"


def meant(target: Target, job: Job) -> str:
    """Display name of the target."""
    return name_of(job, None if target.numbers is None else target.gangs)


def over(target: Target, job: Job) -> Denied:
    """Denies an action on a target that has ended."""
    name = meant(target, job)
    outcomes = {g.phase.outcome for g in target.gangs if isinstance(g.phase, Ended)}
    how = job.record.state if target.numbers is None else ", ".join(sorted(outcomes))
    return Denied("conflict", f"{name} has already ended: {how}")


def open_of(target: Target) -> list[Gang]:
    """Gangs of the target that have not ended."""
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


def _cancel(state: State, planned: PlannedAction, user: UserName, now: Now) -> str:
    """Ends pending gangs at once; stops the others with the job's grace period."""
    job, reason = planned.job, f"cancelled by {user}"
    if planned.is_whole:
        state.journal.change(job, cancelled_by=user, is_held=False)
    end_gangs(state, planned.gangs, "cancelled", reason, now)
    if not job.is_ended:
        refresh(state, job, now)
    is_over = all(isinstance(gang.phase, Ended) for gang in planned.gangs)
    return f"{planned.name} ended" if is_over else f"{planned.name} is being cancelled"


# --- requeue ----------------------------------------------------------------------------


def _opens_again(state: State, job: Job) -> Denied | None:
    """Denies reopening an ended job; None = allowed."""
    owner = job.record.owner
    return (
        deny_new_work(state)
        or too_large(state, owner, job.spec)
        or too_many_ended(state, owner, len(job.gangs))
        or name_taken(state, owner, job.spec)
    )


def _of_requeue(
    state: State, target: Target, job: Job, now: Now, *, from_scratch: bool = False
) -> PlannedAction | Denied:
    is_being_cancelled = bool(job.record.cancelled_by) and not job.is_ended
    wanted = (gang for gang in target.gangs if gang.number < job.gang_count)
    gangs = tuple(
        g
        for g in wanted
        if not is_being_cancelled
        and (_is_requeued(g, now) or (from_scratch and waits_for_checkpoint(g)))
    )
    if not gangs:
        return Denied("conflict", f"{meant(target, job)} {_why_not_requeued(target)}")
    past = is_past(state, job.spec, now)
    if past:
        return Denied("impossible", f"{meant(target, job)} could not start again: {past}")
    more = sum(isinstance(gang.phase, Ended) for gang in gangs)
    owner, is_open = job.record.owner, not job.is_ended
    denied = too_many(state, owner, job.spec, more, is_open=is_open) if more else None
    if denied is not None:
        return denied
    denied = (_opens_again(state, job) if job.is_ended else None) or reopening_refused(state, job)
    if denied is not None:
        return denied
    if job.is_ended:
        never_starts = "" if job.has_run else never(state, job.spec, {})
        used = used_up(job, job.spec.limits, state.site.tariff)
        if used and not never_starts:
            text = f"{meant(target, job)} {used}; raise that first with `wattline update`"
            return Denied("impossible", text)
        problem = (
            never_starts
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
        return "has completed; submit it again to repeat it"
    if any(_is_cancelled(gang) for gang in open_of(target)):
        return "is being cancelled; requeue it once it has ended"
    if any(isinstance(phase, Ending) for phase in phases):
        return "is already being requeued"
    if all(state_of_gang(gang) == "HELD" for gang in open_of(target)):
        return "is held; release it with `wattline release`"
    return "is already queued"


def _requeue(state: State, planned: PlannedAction, user: UserName, now: Now) -> str:
    """Stops running gangs with the job's grace period, and queues them and ended gangs again.

    Checkpoints stay in place. A requeue uses no retry; after an end, all retries are restored.
    """
    job, reason = planned.job, f"requeued by {user}"
    present = job.gang_count
    if job.is_ended:
        job.record = msgspec.structs.replace(
            job.record,
            cancelled_by="",
            is_held=False,
            held_by="",
            replicas=job.replicas_under(job.spec),
        )
        state.work.reopen(job)
        if not job.has_run:
            wait_for_parents(state, job)
    for gang in planned.gangs:
        gang.refusals = 0
        if isinstance(gang.phase, Ended):
            gang.failures = gang.losses = gang.crashes = gang.short_failures = 0
        if isinstance(gang.phase, Ended | Pending | Publishing):
            gang.reason = reason
            state.work.move(gang, Pending(now.mono_s), now)
            state.journal.save(gang.as_record())
        else:
            end_gang(state, gang, "asked", reason, now)
    for number in range(present, job.gang_count):  # it was scaled to zero when it ended
        add_replica(state, job, number, reason, now)
    job.wait_reason = ""
    refresh(state, job, now)
    state.wants_plan = True
    is_held = job.record.is_held or all(gang.is_held for gang in planned.gangs)
    until = ", held until released" if is_held else ""
    return f"{planned.name} is requeued{until}"


CANCEL = Act("job_cancelled", _of_cancel, _cancel, "is already being cancelled", "cancelled")
REQUEUE = Act("job_requeued", _of_requeue, _requeue, "is already queued", "requeued")


def requeue(*, from_scratch: bool) -> Act:
    """With `from_scratch` the jobs may begin at step 0 if no checkpoint is intact; pending ones
    give up a checkpoint that they wait for."""
    if not from_scratch:
        return REQUEUE
    of = partial(_of_requeue, from_scratch=True)
    return replace(REQUEUE, of=of, do=_requeue_from_scratch)


def _requeue_from_scratch(state: State, planned: PlannedAction, user: UserName, now: Now) -> str:
    spec = planned.job.spec
    recovery = msgspec.structs.replace(spec.recovery, from_scratch=True)
    state.journal.change(planned.job, spec=msgspec.structs.replace(spec, recovery=recovery))
    for gang in filter(waits_for_checkpoint, planned.gangs):
        if gang.lacks_checkpoint:
            planned.job.held.discard(gang.number)
        give_up_checkpoint(gang)
    return f"{_requeue(state, planned, user, now)}; it begins at step 0 if no checkpoint is intact"
