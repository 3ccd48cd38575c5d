"""Rollouts of services: begins, continues and ends them; what is on record decides after a restart.

A job on either side of a rollout has a limit of running replicas (`Job.replica_limit`), which
follows from the record alone.
"""

import msgspec

from wattline_protocol.ids import JobId, Now
from wattline_protocol.views.site_views import EventLevel
from wattline_protocol.wire.rollouts import BY_MODEL, NO_DIFFERENCE, RolloutOptions, RouteSplit
from wattline_scheduler.core.lifecycle.ending import end_gang, end_job
from wattline_scheduler.core.lifecycle.job_state import reason_of
from wattline_scheduler.core.lifecycle.stand_ins import is_lost
from wattline_scheduler.core.model.jobs.job import Ended, Job, Paused, Running, Starting
from wattline_scheduler.core.model.jobs.replicas import open_replicas
from wattline_scheduler.core.model.service_traffic import Rollout, silence
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.rollout.gateway_reports import forget_energy, ready_workers
from wattline_scheduler.core.rollout.gone_gateways import tick_gateways
from wattline_scheduler.core.rollout.rollout_steps import (
    PROBE_PERMILLE,
    Advance,
    Finish,
    GoBack,
    Seen,
    Wait,
    first_limits,
    next_step,
    promoted,
)
from wattline_scheduler.records import Cause, RolloutRecord, Saved

SAVE_S = 10.0
"""Counts of compared answers are saved at this interval at most."""

MAX_KEPT = 10_000
"""Rollouts in memory: the newest one of each service."""

_COPIES = ("equal", "different", "uncompared")

WINDOW_S = 60.0
"""A revision that waits for its promotion is judged by so much traffic at a time."""


def begin_rollout(
    state: State, old: Job, new: Job, options: RolloutOptions, user: str, now: Now
) -> None:
    """Begins to replace the job of a service by another one."""
    count = old.gang_count
    old_allowed, new_allowed = first_limits(count, is_in_place=options.is_in_place)
    record = RolloutRecord(
        service=new.spec.name,
        old=old.id,
        new=new.id,
        phase="starting",
        requester=user,
        since_unix_s=now.unix_s,
        old_replicas=count,
        new_replicas=new.gang_count,
        old_allowed=old_allowed,
        new_allowed=new_allowed,
        canary_permille=options.canary_permille,
        shadow_permille=options.shadow_permille,
        compare=options.compare,
        is_in_place=options.is_in_place,
    )
    state.rollouts.pop(record.service, None)  # it is the newest one from here on
    _forget_oldest(state)
    rollout = state.rollouts[record.service] = Rollout(record, saved_at=now.mono_s)
    _save(state, rollout, record, "rollout_started", f"replaces revision {old.id}", now)
    rollout.text = ""  # an event, no state: the phase says it
    _apply(state, record, now)


def _forget_oldest(state: State) -> None:
    """At the maximum, evicts the ended rollout that began first."""
    if len(state.rollouts) >= MAX_KEPT:
        ended = (name for name, one in state.rollouts.items() if not one.record.is_open)
        state.rollouts.pop(next(ended, ""), None)


def restore_rollouts(state: State, saved: Saved) -> None:
    """Restores rollouts and the limits of their jobs."""
    for record in reversed(saved.rollouts):  # the newest ones last
        state.rollouts[record.service] = Rollout(record)
        for number, limit in limits_of(record).items():
            _limit(state, state.work.jobs.get(number), limit)


def limits_of(record: RolloutRecord) -> dict[JobId, int]:
    """Limits of running replicas that a rollout sets, by job."""
    return (
        {record.old: record.old_allowed, record.new: record.new_allowed} if record.is_open else {}
    )


def in_progress(state: State, service: str) -> Rollout | None:
    """The rollout of a service that has not ended."""
    found = state.rollouts.get(service)
    return found if found is not None and found.record.is_open else None


def ended_by(record: RolloutRecord) -> JobId | None:
    """The job that ends with a rollout that has ended."""
    return {"done": record.old, "back": record.new}.get(record.phase)


def splits(state: State) -> dict[str, RouteSplit]:
    """How gateways share out requests, by service, where a revision is on trial."""
    return {
        name: RouteSplit(
            record.new,
            _share_permille(record),
            record.shadow_permille,
            NO_DIFFERENCE if record.compare == BY_MODEL else record.compare,
            is_by_model=record.compare == BY_MODEL,
            is_guarded=record.phase != "waiting",
        )
        for name, record in ((name, one.record) for name, one in state.rollouts.items())
        if record.phase in ("starting", "checking", "waiting")
    }


def _share_permille(record: RolloutRecord) -> int:
    """Share of the requests that the new revision answers."""
    if record.phase == "starting" or record.shadow_permille:
        return 0
    return record.canary_permille or PROBE_PERMILLE


def tick_rollouts(state: State, now: Now) -> None:
    """Continues rollouts in progress, at every tick."""
    forget_energy(state)
    tick_gateways(state, now)
    for rollout in state.rollouts.values():
        if rollout.record.is_open:
            _tick(state, rollout, now)


def _tick(state: State, rollout: Rollout, now: Now) -> None:
    step = next_step(rollout.record, _see(state, rollout, now))
    match step:
        case Wait(text, is_paused):
            if is_paused and not rollout.is_paused:
                _note(state, rollout, "rollout_paused", f"is paused: {text}", now, "warning")
            rollout.text, rollout.is_paused = text, is_paused
            if rollout.record.phase == "waiting" and rollout.new.seconds > WINDOW_S:
                rollout.restart_measurement()
            _save_counts(state, rollout, now)
        case Advance(record, text):
            advance(state, rollout, record, text, now)
        case Finish(reason):
            _finish(state, rollout, reason, now)
        case GoBack(reason):
            go_back(state, rollout, reason, "rolled_back", now)


def _see(state: State, rollout: Rollout, now: Now) -> Seen:
    record, jobs = rollout.record, state.work.jobs
    old, new = jobs.get(record.old), jobs.get(record.new)
    quiet = silence(state.traffic, state.started_at, now)
    ready = _ready(state, record, new, now)
    elapsed_s = 0.0 if rollout.seen_at is None else now.mono_s - rollout.seen_at
    rollout.seen_at = now.mono_s
    is_all_ready = ready >= record.new_allowed
    if is_all_ready and not quiet:
        rollout.old.seconds += elapsed_s
        rollout.new.seconds += elapsed_s
    return Seen(
        silence=quiet,
        new_ready=ready,
        new_failures=0 if new is None else sum(gang.failures for gang in new.tried_gangs),
        unready_s=_unready_s(rollout, new, now, is_ready=is_all_ready),
        old_end=_end_of(old),
        new_end=_end_of(new) or _lost_replica(new),
        new_wait=_wait_of(new, record.new_allowed),
        old=rollout.old,
        new=rollout.new,
        new_compares=rollout.compares,
    )


def _ready(state: State, record: RolloutRecord, job: Job | None, now: Now) -> int:
    """Ready replicas of the new revision: a report may be older than the end of one."""
    ready = ready_workers(state, record.service, record.new, now)
    return min(ready, 0 if job is None else job.count["running"])


def _unready_s(rollout: Rollout, job: Job | None, now: Now, *, is_ready: bool) -> float:
    runs = job is not None and job.count["running"] >= rollout.record.new_allowed
    if is_ready or not runs:
        rollout.begun_at = None
        return 0.0
    rollout.begun_at = rollout.begun_at or now.mono_s
    return now.mono_s - rollout.begun_at


def _end_of(job: Job | None) -> str:
    if job is None:
        return "ended"
    if job.record.cancelled_by:
        return f"was cancelled by {job.record.cancelled_by}"
    if not job.is_ended:
        return ""
    reason = f": {job.record.reason}" if job.record.reason else ""
    return f"ended {job.record.state}{reason}"


def _lost_replica(job: Job | None) -> str:
    """How one of its replicas ended for good; empty = none did."""
    gangs = [] if job is None or not job.count["ended"] else job.gangs[: job.gang_count]
    return next((f"ended: {g.reason}" for g in gangs if isinstance(g.phase, Ended)), "")


def _wait_of(job: Job | None, allowed: int) -> str:
    """Why one of its replicas does not run: of the first that waits."""
    if job is None or job.count["running"] >= allowed:
        return ""
    waiting = (gang for gang in open_replicas(job) if gang.phase_name == "pending")
    return next((gang.reason for gang in waiting if gang.reason), "") or reason_of(job, "PENDING")


# --- steps ----------------------------------------------------------------------------------------


def advance(state: State, rollout: Rollout, record: RolloutRecord, text: str, now: Now) -> None:
    """Takes a step: the limits of both jobs, and how gateways share out requests."""
    _save(state, rollout, record, "rollout_step", text, now)
    rollout.restart_measurement()
    _apply(state, record, now)


def promote(state: State, rollout: Rollout, user: str, now: Now) -> None:
    """Lets a revision that waits for it replace the old one."""
    advance(state, rollout, promoted(rollout.record), f"promoted by {user}", now)


def _finish(state: State, rollout: Rollout, reason: str, now: Now) -> None:
    before = rollout.record
    _end(state, rollout, "done", reason, now)
    old = state.work.jobs.get(before.old)
    if old is not None and not old.is_ended:
        end_job(state, old, "replaced", f"replaced by job {before.new}", now)


def go_back(state: State, rollout: Rollout, reason: str, cause: Cause, now: Now) -> None:
    """Ends the new revision; the old one runs in its full number again."""
    before = rollout.record
    _end(state, rollout, "back", reason, now)
    new = state.work.jobs.get(before.new)
    if new is not None and not new.is_ended:
        end_job(state, new, cause, f"rolled back: {reason}", now)


def _end(state: State, rollout: Rollout, phase: str, reason: str, now: Now) -> None:
    before = rollout.record
    record = msgspec.structs.replace(before, phase=phase, reason=reason)
    _save(state, rollout, record, f"rollout_{phase}", reason, now)
    for number in limits_of(before):
        _limit(state, state.work.jobs.get(number), None)
    state.wants_plan = True


def _apply(state: State, record: RolloutRecord, now: Now) -> None:
    """Sets the limits of both jobs, and stops replicas beyond them."""
    for number, limit in limits_of(record).items():
        job = state.work.jobs.get(number)
        _limit(state, job, limit)
        if job is not None:
            _stop_surplus(state, job, limit, f"replaced by revision {record.new}", now)
    state.wants_plan = True


def _limit(state: State, job: Job | None, limit: int | None) -> None:
    if job is not None:
        job.replica_limit = limit
        state.work.requeue(job)


def _stop_surplus(state: State, job: Job, limit: int, reason: str, now: Now) -> None:
    """Stops replicas beyond a limit: first those that do not run or are on lost nodes, then the
    highest numbers."""
    live = [g for g in open_replicas(job) if isinstance(g.phase, Starting | Running | Paused)]
    live.sort(key=lambda g: (g.phase_name == "running" and not is_lost(state, g), -g.number))
    for gang in live[: max(0, len(live) - limit)]:
        end_gang(state, gang, "asked", reason, now)


def _save(
    state: State, rollout: Rollout, record: RolloutRecord, kind: str, text: str, now: Now
) -> None:
    rollout.record = msgspec.structs.replace(record, **_counts(rollout, record))
    rollout.text, rollout.is_paused, rollout.saved_at = text, False, now.mono_s
    state.journal.save(rollout.record)
    level: EventLevel = "warning" if kind == "rollout_back" else "info"
    if kind == "rollout_back":
        text = f"went back to revision {record.old}: {text}"
    elif kind == "rollout_done":
        text = f"has replaced revision {record.old}: {text}"
    elif kind == "rollout_step":
        text = f"continues: {text}"
    _note(state, rollout, kind, text, now, level)


def _note(
    state: State, rollout: Rollout, kind: str, text: str, now: Now, level: EventLevel
) -> None:
    record = rollout.record
    whole = f"revision {record.new} of {record.service!r} {text}"
    state.journal.note(kind, whole, now, job=record.new, level=level)


def _save_counts(state: State, rollout: Rollout, now: Now) -> None:
    is_due = rollout.saved_at is None or now.mono_s - rollout.saved_at >= SAVE_S
    if is_due and (rollout.equal or rollout.different or rollout.uncompared):
        state.journal.change(rollout, **_counts(rollout, rollout.record))
        rollout.saved_at = now.mono_s


def _counts(rollout: Rollout, record: RolloutRecord) -> dict[str, int]:
    """Moves the counts of copies to a record."""
    counts = {name: getattr(record, name) + getattr(rollout, name) for name in _COPIES}
    for name in _COPIES:
        setattr(rollout, name, 0)
    return counts
