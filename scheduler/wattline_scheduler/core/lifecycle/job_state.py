"""The displayed state of a job: derived from its gangs, saved and reported when it changes."""

from collections.abc import Iterable

from wattline_protocol.ids import Now
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.text.wording import named
from wattline_protocol.views.site_views import EventLevel, JobState
from wattline_scheduler.core.lifecycle.notifications import notify, notify_end
from wattline_scheduler.core.model.jobs.job import Ended, Gang, Job, Paused, Pending, Starting
from wattline_scheduler.core.model.state import State

SEVERITY: tuple[JobState, ...] = ("FAILED", "TIMEOUT", "CANCELLED", "COMPLETED")
"""The state of an ended job is the first of these among its gangs."""

MAX_REASON_CHARS = 400


def derive(job: Job) -> JobState:
    """Derives the state of a job from the phases of its gangs."""
    count = job.count
    if job.is_ended:
        return _outcome(job)
    if count["running"] or count["ending"] or count["publishing"]:
        return "RUNNING"
    if count["starting"]:
        return "STARTING"
    if count["paused"]:
        return "PAUSED"
    return "HELD" if job.record.is_held or _are_all_held(job) else "PENDING"


def _are_all_held(job: Job) -> bool:
    """Whether every pending gang has a hold of its own."""
    pending = job.count["pending"]
    if not job.held or len(job.held) < pending:
        return False
    return pending == sum(job.gangs[number].phase_name == "pending" for number in job.held)


def state_of_gang(gang: Gang) -> JobState:
    """The state of one index of an array, or one replica."""
    match gang.phase:
        case Ended(outcome):
            return outcome
        case Pending():
            return "HELD" if gang.job.record.is_held or gang.is_held else "PENDING"
        case Starting():
            return "STARTING"
        case Paused():
            return "PAUSED"
        case _:
            return "RUNNING"


def _outcome(job: Job) -> JobState:
    if job.record.cancelled_by:
        return "CANCELLED"
    outcomes = {g.phase.outcome for g in job.gangs if isinstance(g.phase, Ended)}
    return next((s for s in SEVERITY if s in outcomes), "FAILED")


def reason_of(job: Job, state: JobState) -> str:
    """Text why it waits or how it ended."""
    if state == "CANCELLED" and job.record.cancelled_by:
        return f"cancelled by {job.record.cancelled_by}"
    late = job.late or job.at_risk
    if state in ("HELD", "PENDING"):
        return "; ".join(filter(None, (late, _why_waiting(job))))
    if job.is_ended:
        gangs = (g for g in job.gangs if isinstance(g.phase, Ended) and g.phase.outcome == state)
        return next((_where(g) for g in gangs if g.reason), "")
    if state == "PAUSED":
        why = next((g.reason for g in job.gangs if g.phase_name == "paused"), "")
        return "; ".join(filter(None, (late, why)))
    if job.count["publishing"]:
        return next(gang.reason for gang in job.gangs if gang.phase_name == "publishing")
    if job.count["ending"] and not job.count["running"]:
        return _why_stopping(job)
    held = _self_held(job)
    unsaved = job.unsaved[1] if job.unsaved is not None else ""
    warned = _warning(job) or unsaved or _uncounted(job)
    return late or warned or ("" if held is None else _where(held))


def _why_stopping(job: Job) -> str:
    """Stop reason of the first of its gangs that is being stopped."""
    gangs = (g for g in job.gangs if g.phase_name == "ending" and g.reason)
    return next((f"stopping: {_where(g)}" for g in gangs), "stopping")


def _why_waiting(job: Job) -> str:
    gates = gates_of(job)
    if gates:
        return next(iter(gates.values()))
    of_class = job.job_class.wait_reason if job.job_class is not None else ""
    return job.wait_reason or _own_reason(job) or of_class or "queued, not yet evaluated"


def _own_reason(job: Job) -> str:
    """Of the first of its pending gangs that has one. An array has thousands, and its row is built
    for each picture: where none is held or in back-off, none is asked for that."""
    pending = (g for g in job.gangs if isinstance(g.phase, Pending))
    if len(job.ready) == job.count["pending"]:
        pending = (g for g in job.gangs if g.reason and isinstance(g.phase, Pending))
    return next(filter(None, map(_of_gang, pending)), "")


def _of_gang(gang: Gang) -> str:
    """Wait reason of a pending gang; the end of an earlier try is no reason by itself."""
    is_backing_off = not gang.is_held and gang.number not in gang.job.ready
    return f"in back-off: {gang.reason or 'it ended'}" if is_backing_off else gang.reason


def gates_of(job: Job) -> dict[str, str]:
    """Gates that bar the whole job from starting regardless of free resources: name to text."""
    gates: dict[str, str] = {}
    if job.record.is_held or _are_all_held(job):
        held = _self_held(job)
        gates["hold"] = _held(job) if held is None else _where(held)
    if job.is_asleep:
        gates["idle"] = "scaled to zero while idle; the next request starts a replica"
    if job.barred is not None:
        gates[job.barred[0]] = job.barred[1]
    if job.parents:
        gates["dependencies"] = waits_for_jobs(job.parents.values())
    if job.closed:
        gates["window"] = job.closed
    if job.outside:
        gates["reservation"] = job.outside
    if job.unstaged:
        gates["data"] = job.unstaged
    return gates


def _held(job: Job) -> str:
    by = job.record.held_by
    return f"held by {by} until an operator releases it" if by else "held until released"


def _warning(job: Job) -> str:
    """The first warning among its gangs; only the idle GPU limit sets any."""
    if job.spec.limits.idle_gpu is None:
        return ""
    return next((_with_number(gang, gang.warning) for gang in job.gangs if gang.warning), "")


def _uncounted(job: Job) -> str:
    """Text that its cost limit is not enforced while it runs."""
    return job.barred[1] if job.barred is not None and job.barred[0] == "cost" else ""


def _self_held(job: Job) -> Gang | None:
    """The first of its gangs that the scheduler holds; None = none."""
    return next((job.gangs[n] for n in sorted(job.held) if job.gangs[n].is_self_held), None)


def waits_for_jobs(which: Iterable[Job]) -> str:
    """Text that lists the parents a job waits for, with their states."""
    parents = [f"{p.id} ({p.record.state.lower()})" for p in which]
    return f"waits for {named('job', parents)}"


def _where(gang: Gang) -> str:
    """The reason, with the index of the gang unless all gangs have the same reason."""
    is_alike = all(other.reason == gang.reason for other in gang.job.gangs)
    return gang.reason if is_alike else _with_number(gang, gang.reason)


def _with_number(gang: Gang, text: str) -> str:
    is_only = len(gang.job.gangs) == 1
    return text if is_only else f"{gang.job.index_of(gang.number)}: {text}"


def save_gang(state: State, gang: Gang, now: Now) -> None:
    """Saves a gang and, if its job's state changed with it, the job."""
    state.journal.save(gang.as_record())
    refresh(state, gang.job, now)


def refresh(state: State, job: Job, now: Now) -> None:
    """Saves and reports the job's state if it changed."""
    new = derive(job)
    if new == job.record.state:
        return
    is_over = job.is_ended
    state.journal.change(
        job,
        state=new,
        reason=reason_of(job, new)[:MAX_REASON_CHARS],
        ended_unix_s=now.unix_s if is_over else None,
    )
    if is_over:
        _report_end(state, job, now)
        state.work.ended(job)
    elif new == "RUNNING" and not job.has_run:
        job.has_run = True
        ran = (a for g in job.gangs for a in (*g.live, g.publisher) if a is not None)
        text = f"{job.spec.name!r} runs on {', '.join(sorted({a.node for a in ran}))}"
        notify(state, job, "begin", "", now)
        state.journal.note("job_running", text, now, job=job.id)


def respecify(state: State, job: Job, spec: JobSpec) -> None:
    """Saves another specification of a job that has not started, of the same shape."""
    if spec == job.spec:
        return
    state.work.open_jobs.count(job, -job.open_count)
    state.journal.change(job, spec=spec)
    state.work.open_jobs.count(job, job.open_count)
    state.work.requeue(job)


def _report_end(state: State, job: Job, now: Now) -> None:
    record = job.record
    is_wanted = record.state == "COMPLETED" or bool(record.cancelled_by)
    level: EventLevel = "info" if is_wanted else "warning"
    text = f"{job.spec.name!r} {record.state}" + (f": {record.reason}" if record.reason else "")
    notify_end(state, job, now)
    state.journal.note("job_ended", text, now, job=job.id, level=level)
