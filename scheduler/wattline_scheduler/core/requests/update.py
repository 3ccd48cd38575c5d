"""Updates of job specifications: denied with a reason when too late, otherwise in force at once."""

from collections.abc import Collection

import msgspec

from wattline_protocol.ids import Now, UserName
from wattline_protocol.job.change import WHEN, Changes, changed, differences
from wattline_protocol.job.file import JobFileError
from wattline_protocol.job.keys import flag_of
from wattline_protocol.job.spec import JobSpec, encoded_bytes
from wattline_protocol.text.quantities import format_duration
from wattline_protocol.wire.client_messages import Denied
from wattline_scheduler.core.admission.disk_reserve import deny_new_work
from wattline_scheduler.core.admission.earliest_start import cannot_be_met
from wattline_scheduler.core.admission.learned_demand import shape_for
from wattline_scheduler.core.admission.open_job_limits import too_large, too_many_there
from wattline_scheduler.core.admission.quota_checks import count_elsewhere, never_fits, would_break
from wattline_scheduler.core.admission.reservation_fit import impossible_inside
from wattline_scheduler.core.admission.reservations import refusal as not_inside
from wattline_scheduler.core.admission.satisfiability import impossible, malformed, slow_to_stop
from wattline_scheduler.core.lifecycle.ending import stop_sooner
from wattline_scheduler.core.lifecycle.scaling import scale
from wattline_scheduler.core.lifecycle.usage_limits import end_used_up, never_reached, used_up
from wattline_scheduler.core.model.command_outbox import order_limit
from wattline_scheduler.core.model.jobs.job import Ending, Gang, Job, Paused
from wattline_scheduler.core.model.queue.remaining_time import began_at
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.access import (
    barred,
    not_allowed,
    too_long,
    too_urgent,
    with_goal,
    with_runtime,
)
from wattline_scheduler.core.requests.cancel_requeue import Act, PlannedAction, name_of, over
from wattline_scheduler.core.requests.selection import Target
from wattline_scheduler.core.scaling.slo_checks import new_slo_problem

MOVES = frozenset({"queue", "account", "reservation"})
"""Keys that change where a job counts or starts."""

ABOUT_TIME = frozenset({"start_only", "deadline", "runtime"})
"""Keys that may make a deadline unreachable."""


def update(changes: Changes, *, is_operator: bool) -> Act:
    """The action that makes these changes, for an operator or a user without that role."""

    def of(state: State, target: Target, job: Job, now: Now) -> PlannedAction | Denied:
        planned = _of(state, target, job, changes, now, is_operator=is_operator)
        if isinstance(planned, Denied) or planned.spec is None or is_operator:
            return planned
        return _beyond(state, job, planned.spec) or planned

    return Act("job_updated", of, _do, "has these values already", "changed", _describe)


def _describe(planned: PlannedAction) -> str:
    spec = planned.job.spec
    return f"{spec.name!r}: {format_changes(spec, planned.spec or spec)}"


def _of(
    state: State, target: Target, job: Job, changes: Changes, now: Now, *, is_operator: bool
) -> PlannedAction | Denied:
    if target.numbers is not None:
        return Denied(
            "bad_request",
            f"update changes whole jobs: all indices of job {job.id} share one specification",
        )
    if job.is_ended and job.record.state == "COMPLETED":
        return over(target, job)
    try:
        spec = changed(job.spec, changes)
    except JobFileError as error:
        return Denied("bad_request", "; ".join(error.problems))
    if not is_operator and _is_about_runtime(job.spec, spec):
        spec = with_runtime(state, spec)
    if (spec.queue, spec.power.goal) != (job.spec.queue, job.spec.power.goal):
        spec = with_goal(state, spec)
    names = differences(job.spec, spec)
    problem = next((why for name in names if (why := _too_late(job, name))), "")
    if "replicas" in names and job.replica_limit is not None:
        problem = f"a rollout of {job.spec.name} is in progress; change --replicas after it"
    if problem:
        return Denied("conflict", problem)
    problem = malformed(spec) or new_slo_problem(state, job, spec)
    if not problem and spec.recovery.grace_s != job.spec.recovery.grace_s:
        problem = slow_to_stop(spec, state.site.timing.max_grace_s)
    if problem:
        return Denied("bad_request", problem)
    denied = _larger(state, job, spec)
    if denied is not None:
        return denied
    owner = job.record.owner
    if not MOVES.isdisjoint(names):
        denied = not_allowed(state, owner, spec) or not_inside(state, owner, spec)
        if denied is not None:
            return denied
    if not {*MOVES, "replicas"}.isdisjoint(names):
        denied = too_many_there(state, job, spec)
        if denied is not None:
            return denied
    problem = would_break(state, job, spec.account or owner, spec.queue)
    if problem:
        return Denied("conflict", problem)
    problem = _never(state, owner, spec, now)
    if problem == _never(state, owner, job.spec, now):
        problem = ""  # the site has changed since, and the update does not concern that
    if not problem and ("reservation" in names or job.count["pending"]):
        problem = _shut_out(state, owner, job.spec, spec, now)
    if not problem and (not ABOUT_TIME.isdisjoint(names) or _is_moved_in_time(job, names)):
        problem = cannot_be_met(state, owner, spec, now)
    if problem:
        would = "could not start again" if job.live_count else "could never start"
        return Denied("impossible", f"job {job.id} {would}: {problem}")
    reached = _reached(state, job, spec, now)
    return PlannedAction(
        job, tuple(job.gangs) if names else (), is_whole=True, spec=spec, reached=reached
    )


def _larger(state: State, job: Job, spec: JobSpec) -> Denied | None:
    """Denies growth beyond the size limits; None = allowed, or it does not grow."""
    before = encoded_bytes(job.spec)
    if encoded_bytes(spec) <= before:
        return None
    return deny_new_work(state) or too_large(state, job.record.owner, spec, before)


def _is_moved_in_time(job: Job, names: Collection[str]) -> bool:
    """Whether it counts or starts elsewhere, and its pending gangs may still meet the deadline."""
    return bool(job.count["pending"]) and not job.late and not MOVES.isdisjoint(names)


def _reached(state: State, job: Job, spec: JobSpec, now: Now) -> str:
    """Returns the new limit that the job has already reached; empty = none."""
    if job.is_ended:
        return ""
    used = used_up(job, spec.limits, state.site.tariff)
    if used:
        return f"it {used}"
    most_s = spec.limits.runtime_s
    if most_s in (0.0, job.spec.limits.runtime_s):
        return ""
    over = [gang for gang in job.gangs if _has_run_s(gang, now) >= most_s]
    if not over:
        return ""
    subject = "it" if len(job.gangs) == 1 else name_of(job, over)
    return f"{subject} reached the run time limit of {format_duration(most_s)}"


def _has_run_s(gang: Gang, now: Now) -> float:
    if isinstance(gang.phase, Paused):
        return gang.ran_s
    began = began_at(gang.phase)
    return 0.0 if began is None else now.mono_s - began


def _beyond(state: State, job: Job, spec: JobSpec) -> Denied | None:
    """Denies its owner a priority or run time above the maximum there; None = allowed."""
    old = job.spec
    is_raised = (spec.queue, spec.account) != (old.queue, old.account)
    is_raised = is_raised or spec.priority > old.priority
    denied = too_urgent(state, job.record.owner, spec, is_operator=False) if is_raised else None
    return denied or (too_long(state, spec) if _is_about_runtime(old, spec) else None)


def _is_about_runtime(old: JobSpec, new: JobSpec) -> bool:
    return (new.queue, new.limits.runtime_s) != (old.queue, old.limits.runtime_s)


def _never(state: State, owner: UserName, spec: JobSpec, now: Now) -> str:
    """Returns the reason if no gang of such a job could ever start; empty = one could."""
    account, shape = spec.account or owner, shape_for(state, owner, spec)
    return (
        impossible(state, spec, now)
        or never_reached(spec, state.site.tariff)
        or never_fits(state, account, spec.queue, shape, now)
    )


def _shut_out(state: State, owner: UserName, old: JobSpec, new: JobSpec, now: Now) -> str:
    """Returns the reason if it cannot start in its reservation; empty = it can, or never could."""
    is_new = old.reservation != new.reservation
    if not is_new and impossible_inside(state, owner, old, now):
        return ""
    return impossible_inside(state, owner, new, now)


def _too_late(job: Job, name: str) -> str:
    """Returns the reason if this key of the job cannot change any more; empty = it can."""
    flag = flag_of(name)
    if name == "replicas" and (job.is_ended or job.record.cancelled_by):
        how = "has ended" if job.is_ended else "is being cancelled"
        return f"job {job.id} {how}; requeue it, then {flag}"
    if job.is_ended and name in MOVES:
        return f"job {job.id} has ended and its use is on record; requeue it, then {flag}"
    match WHEN[name]:
        case "waiting" if job.live_count:
            return (
                f"job {job.id} runs; {flag} can change only while it does not run: "
                f"hold it, requeue it, update it, release it"
            )
        case "untried" if any(gang.attempt for gang in job.gangs):
            return f"job {job.id} was started with its {name}; to change {flag} submit it again"
        case _:
            return ""


def _do(state: State, planned: PlannedAction, user: UserName, now: Now) -> str:
    """Saves the update and applies it to queue order and power demand at once."""
    old_limit_s, replicas = planned.job.spec.limits.runtime_s, planned.job.gang_count
    old_grace_s = planned.job.grace_s
    job, spec = planned.job, planned.spec or planned.job.spec
    changes = format_changes(job.spec, spec)
    is_same = job.spec.windows.deadline == spec.windows.deadline
    state.work.count_live(job, -job.live_count)
    state.work.open_jobs.count(job, -job.open_count)
    job.record = msgspec.structs.replace(
        job.record,
        spec=spec,
        replicas=job.replicas_under(spec),
        is_late=is_same and job.record.is_late,
        is_risk_reported=is_same and job.record.is_risk_reported,
    )
    state.work.count_live(job, job.live_count)
    state.work.open_jobs.count(job, job.open_count)
    for gang in job.gangs:
        for attempt in gang.live:
            count_elsewhere(state, attempt)
    job.shape = shape_for(state, job.record.owner, spec)
    job.barred = barred(state, job.record.owner, spec)
    job.wait_reason = ""
    if not is_same:
        job.at_risk = ""
    job.most_live = job.live_count
    state.journal.save(job.record)
    state.work.timers.set(job.id, now.unix_s)
    state.work.meter(job)
    state.work.requeue(job)
    for gang in job.gangs:
        for attempt in gang.live:
            node = state.nodes[attempt.node]
            node.outdate()
            is_running = attempt.is_ordered and not isinstance(gang.phase, Ending)
            if is_running and spec.limits.runtime_s != old_limit_s:
                order_limit(state, node, attempt.record.ref, spec.limits.runtime_s, now)
        if job.grace_s < old_grace_s:
            stop_sooner(state, gang, now)
    state.wants_plan = state.wants_rebalance = True
    scale(state, job, replicas, f"{user} scaled it from {replicas} to {job.gang_count}", now)
    if not job.is_ended:
        end_used_up(state, job, now)
    if planned.reached:
        return f"{planned.name}: {changes}; {planned.reached} and is stopped"
    again = f"; `wattline requeue {job.id}` runs it again" if job.is_ended else ""
    return f"{planned.name}: {changes}{again}"


def format_changes(before: JobSpec, after: JobSpec) -> str:
    """Formats changes: `priority 50 → 75, queue default → night`."""
    changes = differences(before, after).items()
    return ", ".join(f"{name} {old} → {new}" for name, (old, new) in changes)
