"""Submission, cancellation, hold and release."""

import msgspec

from wattline_protocol.ids import JobId, Now, UserName
from wattline_protocol.requests import Answer, Denied, Done, Submit, Submitted
from wattline_scheduler.core.dependencies import never, wait_for_parents
from wattline_scheduler.core.ending import end_job
from wattline_scheduler.core.events import ClientAsked
from wattline_scheduler.core.job_state import derive, reason_of, refresh
from wattline_scheduler.core.jobs import Gang, Job, Pending
from wattline_scheduler.core.judge import impossible, malformed
from wattline_scheduler.core.learning import shape_for
from wattline_scheduler.core.records import JobRecord
from wattline_scheduler.core.state import State

MAX_OPEN_JOBS = 100_000
"""Jobs that have not ended; an array is one job."""

MAX_TOKEN_CHARS = 128


def submit(state: State, event: ClientAsked, request: Submit, now: Now) -> Answer:
    """Accept a job: on record before it is acknowledged; the same token gives the same job."""
    user = event.user
    known = state.work.tokens.get((user, request.token))
    if known is not None:
        return Submitted(known)
    if not 0 < len(request.token) <= MAX_TOKEN_CHARS:
        return Denied("bad_request", f"a token has 1 to {MAX_TOKEN_CHARS} characters")
    problem = malformed(request.spec)
    if problem:
        return Denied("bad_request", problem)
    if state.work.open_count >= MAX_OPEN_JOBS:
        return Denied("busy", f"{MAX_OPEN_JOBS} jobs are open already; wait, or use an array")
    problem = never(state, request.spec, event.ended) or impossible(state, request.spec, now)
    if problem:
        return Denied("impossible", problem)
    return Submitted(_accept(state, user, request, now))


def _accept(state: State, user: UserName, request: Submit, now: Now) -> JobId:
    spec = request.spec
    job_id = state.next_job
    state.next_job = JobId(job_id + 1)
    record = JobRecord(
        id=job_id,
        token=request.token,
        owner=user,
        submitted_unix_s=now.unix_s,
        spec=spec,
        state="HELD" if spec.hold else "PENDING",
        reason="held until released" if spec.hold else "",
        is_held=spec.hold,
    )
    job = Job(record, shape_for(state, user, spec))
    job.gangs = [Gang(job, number, Pending(now.mono_s)) for number in range(spec.gang_count)]
    state.journal.save(record)
    wait_for_parents(state, job)
    state.work.add(job, now)
    text = f"{spec.name!r} ({spec.kind}, {spec.gang_count} × {spec.gang_size} tasks)"
    state.journal.note("job_submitted", text, now, who=user, job=job_id)
    state.wants_plan = True
    return job_id


def cancel(state: State, job: Job, user: UserName, now: Now) -> Answer:
    """Pending gangs end at once, others are stopped with the job's grace."""
    if job.is_ended:
        return Denied("conflict", f"job {job.id} has ended already: {job.record.state}")
    if job.record.cancelled_by:
        return Done(f"job {job.id} is being cancelled already")
    job.record = msgspec.structs.replace(job.record, cancelled_by=user, is_held=False)
    state.journal.save(job.record)
    state.journal.note("job_cancelled", f"{job.spec.name!r}", now, who=user, job=job.id)
    end_job(state, job, "cancelled", f"cancelled by {user}", now)
    if not job.is_ended:
        refresh(state, job, now)
    return Done(f"job {job.id} is being cancelled" if not job.is_ended else f"job {job.id} ended")


def hold(state: State, job: Job, user: UserName, now: Now) -> Answer:
    """Nothing more of the job starts; what runs goes on."""
    if job.is_ended:
        return Denied("conflict", f"job {job.id} has ended already: {job.record.state}")
    if job.record.is_held:
        return Done(f"job {job.id} is held already")
    _set_held(state, job, is_held=True)
    state.journal.note("job_held", f"{job.spec.name!r}", now, who=user, job=job.id)
    return Done(f"job {job.id} is held; what runs of it goes on")


def release(state: State, job: Job, user: UserName, now: Now) -> Answer:
    """The job may start again."""
    if not job.record.is_held:
        return Denied("conflict", f"job {job.id} is not held, it is {job.record.state}")
    _set_held(state, job, is_held=False)
    state.journal.note("job_released", f"{job.spec.name!r}", now, who=user, job=job.id)
    state.wants_plan = True
    return Done(f"job {job.id} is released")


def _set_held(state: State, job: Job, *, is_held: bool) -> None:
    job.record = msgspec.structs.replace(job.record, is_held=is_held)
    shown = derive(job)
    job.record = msgspec.structs.replace(job.record, state=shown, reason=reason_of(job, shown))
    state.journal.save(job.record)
    state.work.requeue(job)
