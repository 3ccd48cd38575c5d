"""Hold and release. Only operators release an operator's hold of another user's job."""

import msgspec

from wattline_protocol.ids import Now, UserName
from wattline_protocol.wire.client_messages import Denied
from wattline_scheduler.core.lifecycle.job_state import derive, reason_of
from wattline_scheduler.core.lifecycle.notifications import notify
from wattline_scheduler.core.model.jobs.job import Ended, Gang, Job
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.cancel_requeue import Act, PlannedAction, meant, open_of, over
from wattline_scheduler.core.requests.selection import Target


def hold(user: UserName) -> Act:
    """The hold action of this user; on another user's job it is an operator's hold."""

    def of(state: State, target: Target, job: Job, now: Now) -> PlannedAction | Denied:
        del state, now
        return _of_hold(target, job, user)

    return Act("job_held", of, _hold, "is already held", "held")


def _of_hold(target: Target, job: Job, user: UserName) -> PlannedAction | Denied:
    if not open_of(target):
        return over(target, job)
    is_whole = target.numbers is None
    is_taken_over = user != job.record.owner and not job.record.held_by
    if job.record.is_held and not is_taken_over:
        return PlannedAction(job, (), is_whole)
    is_all = is_whole or is_taken_over
    return PlannedAction(
        job, tuple(g for g in open_of(target) if is_all or not g.is_held), is_whole
    )


def _hold(state: State, planned: PlannedAction, user: UserName, now: Now) -> str:
    """No further gang of the job starts; running gangs continue."""
    job = planned.job
    by = job.record.held_by if job.record.is_held or job.held else ""
    by = by if user == job.record.owner else user
    job.record = msgspec.structs.replace(job.record, held_by=by)
    if planned.is_whole:
        _set_held(state, job, is_held=True)
    else:
        for gang in planned.gangs:
            _hold_gang(state, gang, now, is_held=True)
        _refresh(state, job)
    if user != job.record.owner:
        notify(state, job, "hold", f"held by {user}", now)
    return f"{planned.name} is held; running tasks continue"


def release(*, is_operator: bool) -> Act:
    """The release action, for an operator or a user without that role."""

    def of(state: State, target: Target, job: Job, now: Now) -> PlannedAction | Denied:
        del state, now
        return _of_release(target, job, is_operator=is_operator)

    return Act("job_released", of, _release, "is already released", "released")


def _of_release(target: Target, job: Job, *, is_operator: bool) -> PlannedAction | Denied:
    gangs = tuple(gang for gang in open_of(target) if job.record.is_held or gang.is_held)
    name, by = meant(target, job), job.record.held_by
    if not gangs:
        return Denied("conflict", f"{name} is not held (state: {job.record.state})")
    if by and not is_operator:
        return Denied("not_allowed", f"{name} is held by {by}; only operators may release it")
    return PlannedAction(job, gangs, target.numbers is None)


def _release(state: State, planned: PlannedAction, user: UserName, now: Now) -> str:
    """Makes gangs eligible again; if the whole job was held, its other indices stay held.

    Gangs held for a crash loop get all their retries back; those held without their checkpoint read
    it again.
    """
    del user
    job, released = planned.job, {gang.number for gang in planned.gangs}
    if job.record.is_held and not planned.is_whole:
        for gang in job.gangs:
            if gang.number not in released and not isinstance(gang.phase, Ended):
                _hold_gang(state, gang, now, is_held=True)
    for gang in planned.gangs:
        if gang.is_crash_loop:
            gang.failures = gang.crashes = gang.short_failures = 0
        if gang.is_self_held:
            gang.reason, gang.lacks_checkpoint = "", False
        if gang.is_held:
            _hold_gang(state, gang, now, is_held=False)
    if all(job.gangs[number].is_self_held for number in job.held):
        job.record = msgspec.structs.replace(job.record, held_by="")
    _set_held(state, job, is_held=False)
    state.wants_plan = True
    return f"{planned.name} is released"


def _set_held(state: State, job: Job, *, is_held: bool) -> None:
    state.journal.change(job, is_held=is_held)
    _refresh(state, job)
    state.work.requeue(job)


def _hold_gang(state: State, gang: Gang, now: Now, *, is_held: bool) -> None:
    state.work.hold(gang, now, is_held=is_held)
    state.journal.save(gang.as_record())


def _refresh(state: State, job: Job) -> None:
    shown = derive(job)
    state.journal.change(job, state=shown, reason=reason_of(job, shown))
