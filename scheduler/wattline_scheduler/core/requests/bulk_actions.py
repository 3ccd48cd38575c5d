"""One action on many jobs: permissions, order, batch limits, and one result row per job."""

from wattline_protocol.ids import JobId, Now
from wattline_protocol.job.selection import problem
from wattline_protocol.job.spec import encoded_bytes
from wattline_protocol.wire.client_messages import (
    Acted,
    Answer,
    Cancel,
    Denied,
    Hold,
    JobActed,
    OnJobs,
    Release,
    Requeue,
    Update,
)
from wattline_scheduler.core.admission.disk_reserve import deny_new_work
from wattline_scheduler.core.leases.fault_barrier import total
from wattline_scheduler.core.model.events import ClientRequest
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.cancel_requeue import CANCEL, Act, requeue
from wattline_scheduler.core.requests.hold import hold, release
from wattline_scheduler.core.requests.selection import Asker, Target, select
from wattline_scheduler.core.requests.submit import MAX_TOKEN_CHARS
from wattline_scheduler.core.requests.update import update

MAX_JOBS = 1_000
MAX_CHANGED = 100
MAX_TASKS = 10_000
"""Maximum per request, so that heartbeats do not wait; the answer reports how many remain. The
limit for updates is lower: each is built, checked and compared as a whole, which takes 1 ms."""
MAX_BYTES = 1024 * 1024
"""Maximum size of a request's jobs, or a larger job alone: each is written as a whole, all in one
transaction. A cancel of 60 MB of jobs at once would need that much of a nearly full disk."""


def named(request: OnJobs) -> tuple[JobId, ...]:
    """The jobs that a request lists by number, limited to one batch."""
    if problem(request.which):
        return ()
    numbers = {n for span in request.which.jobs for n in range(span.first, span.last + 1)}
    return tuple(JobId(n) for n in sorted(numbers) if n > request.after)[:MAX_JOBS]


def act_of(request: OnJobs, asker: Asker) -> Act:
    """The action that a request of this user performs on one job."""
    match request:
        case Cancel():
            return CANCEL
        case Hold():
            return hold(asker.user)
        case Release():
            return release(is_operator=asker.is_operator)
        case Requeue(from_scratch=from_scratch):
            return requeue(from_scratch=from_scratch)
        case Update(changes=changes):
            return update(changes, is_operator=asker.is_operator)


def act(state: State, event: ClientRequest, request: OnJobs, now: Now) -> Answer:
    """Applies the action to every selected job; a refusal of one job does not affect the others."""
    wrong = problem(request.which)
    if wrong:
        return Denied("bad_request", wrong)
    full = _grows(state, event, request)
    if full is not None:
        return full
    if not isinstance(request, Requeue):
        return _act(state, event, request, now)
    if not 0 < len(request.token) <= MAX_TOKEN_CHARS:
        return Denied("bad_request", f"a token has 1 to {MAX_TOKEN_CHARS} characters")
    known = state.work.requeues.get((event.user, request.token))
    if known is not None:
        return known
    answer = _act(state, event, request, now)
    if isinstance(answer, Acted) and not request.is_dry_run:
        state.work.remember_requeue(event.user, request.token, answer)
    return answer


def _grows(state: State, event: ClientRequest, request: OnJobs) -> Denied | None:
    """Denies actions while the disk is nearly full: each writes a record, and alternating holds and
    releases would fill it. Exempt: cancel, which ends once, and operators, for urgent changes."""
    is_free = isinstance(request, Cancel) or request.is_dry_run
    is_operator = Asker(event.user, event.role).is_operator
    return None if is_free or is_operator else deny_new_work(state)


def targets_of(state: State, event: ClientRequest, request: OnJobs) -> list[Target] | Denied:
    """The jobs that a request selects, in order of number."""
    found = event.meeting.jobs if event.meeting is not None else None
    return select(
        state,
        Asker(event.user, event.role),
        request.which,
        by_index=not isinstance(request, Update),
        ended=event.ended,
        names=event.names,
        meeting=found,
    )


def _act(state: State, event: ClientRequest, request: OnJobs, now: Now) -> Acted | Denied:
    asker = Asker(event.user, event.role)
    by_index = not isinstance(request, Update)
    targets = targets_of(state, event, request)
    if isinstance(targets, Denied):
        return targets
    left = [target for target in targets if target.number > request.after]
    checked_to = event.meeting.checked_to if event.meeting is not None else None
    rows: list[JobActed] = []
    tasks = size_bytes = 0
    for target in left[: MAX_JOBS if by_index else MAX_CHANGED]:
        tasks += len(target.gangs)
        size_bytes += 0 if target.job is None else encoded_bytes(target.job.spec)
        is_large = tasks > MAX_TASKS or size_bytes > MAX_BYTES
        if (rows and is_large) or (checked_to is not None and target.number > checked_to):
            break
        rows.append(_on_one(state, asker, request, target, now))
    if request.which.single is not None and rows and rows[0].refused:
        return Denied(rows[0].refused, rows[0].text)
    return Acted(tuple(rows), request.is_dry_run, len(left) - len(rows))


def _on_one(state: State, asker: Asker, request: OnJobs, target: Target, now: Now) -> JobActed:
    job, one = target.job, act_of(request, asker)
    if job is None or target.refusal is not None:
        return _refused(target, target.refusal)
    planned = total(state, one.event, asker.user, lambda: one.of(state, target, job, now), now)
    if isinstance(planned, Denied):
        return _refused(target, planned)
    if not planned.gangs:
        text = f"{planned.name} {one.before}"
    elif request.is_dry_run:
        ends = f"; {planned.reached} and would be stopped" if planned.reached else ""
        text = f"{planned.name} would be {one.done}{ends}"
    else:
        owner = job.record.owner
        summary = one.audit_text(planned)
        state.journal.act(one.event, summary, now, actor=asker.user, owner=owner, job=job.id)
        with state.work.in_bulk():
            text = one.do(state, planned, asker.user, now)
    return _row(target, text, len(planned.gangs))


def _refused(target: Target, refusal: Denied | None) -> JobActed:
    denied = refusal or Denied("not_found", f"there is no open job {target.number}")
    return _row(target, denied.reason, 0, denied.kind)


def _row(target: Target, text: str, tasks: int, refused: str = "") -> JobActed:
    job = target.job
    if job is None:
        return JobActed(target.number, "", "", None, "", tasks, text, refused)
    record, name = job.record, job.spec.name
    return JobActed(job.id, name, record.owner, record.state, target.indices, tasks, text, refused)
