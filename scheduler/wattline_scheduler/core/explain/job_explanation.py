"""Explains a pending or hypothetical job: wait reasons, estimated start, remedies.

An answer is computed in parts, all on one copy of the state (`frozen_view`).
"""

from dataclasses import dataclass, replace

import msgspec

from wattline_protocol.ids import JobId, Now, UnixTime, UserName
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.views.account_views import PlaceView
from wattline_protocol.views.site_views import ExplainView, FilterRefusal, JobState, Remedy
from wattline_protocol.wire.client_messages import Denied
from wattline_scheduler.core.admission.earliest_start import opens, opens_from, too_late
from wattline_scheduler.core.admission.learned_demand import shape_for
from wattline_scheduler.core.admission.planner_view import snapshot
from wattline_scheduler.core.admission.quota_checks import waits_for
from wattline_scheduler.core.admission.reservation_fit import impossible_inside
from wattline_scheduler.core.admission.reservations import ended_text
from wattline_scheduler.core.explain.frozen_view import frozen
from wattline_scheduler.core.explain.hypothetical import ASKED, Case
from wattline_scheduler.core.explain.preemption_estimate import after_preemption
from wattline_scheduler.core.explain.start_estimate import Estimate, earlier, estimate_start
from wattline_scheduler.core.explain.suggestions import remedies
from wattline_scheduler.core.lifecycle.job_state import gates_of, reason_of
from wattline_scheduler.core.lifecycle.restore_guard import why_nothing_starts
from wattline_scheduler.core.lifecycle.windows import note_gates
from wattline_scheduler.core.model.jobs.job import Job, Pending
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.access import with_defaults
from wattline_scheduler.core.requests.data_sets.job_versions import with_versions
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.core.requests.submit import new_job, refusal
from wattline_scheduler.plan.model.reserved_nodes import Stay
from wattline_scheduler.plan.model.shape import Waiting
from wattline_scheduler.plan.model.snapshot import Snapshot
from wattline_scheduler.plan.wait_reasons import explain
from wattline_scheduler.time_slices import Parts

STUCK = ("hold", "queue", "account", "run_as", "cost", "gateway", "dependencies", "idle", "data")
"""Gates without a known opening time."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """Inputs of the explanation of one job."""

    owner: UserName
    spec: JobSpec
    ahead: list[Waiting]
    opens: UnixTime
    """When one of its windows is open: now, or later."""
    stuck: str
    """Reason why no start can be estimated."""
    backoff_s: float
    stay: Stay
    quota: str
    """Text about the quota that blocks it."""
    quota_until: UnixTime | None
    """When that quota resets; None = as its running work ends."""


def explain_job(state: State, job: Job, now: Now) -> Parts[ExplainView]:
    """Wait reasons of a job, its estimated start, and remedies to start it now."""
    shown = job.record.state
    reason = reason_of(job, shown)
    if not job.count["pending"]:  # it has its nodes: no placement is tried
        return ExplainView(job.id, shown, reason, len(state.nodes), 0, 0, ())
    ahead = state.work.waiting()
    place = next((at for at, each in enumerate(ahead) if each.job == job.id), None)
    before = _before(state, job) if place is None else list(ahead[:place])
    where = _place(state, job) if job.job_class is not None else None
    still, gates = frozen(state, now), gates_of(job)
    return (yield from _explained(still, job, job.id, before, where, gates, now, reason))


def what_if(
    state: State, asker: Asker, spec: JobSpec, ended: dict[JobId, JobState], now: Now
) -> Parts[ExplainView | Denied]:
    """The same for a job that is not submitted; denied as its submission would be."""
    spec, still = with_versions(state, with_defaults(state, spec)), frozen(state, now)
    denied = refusal(still, asker, spec, ended, now)
    if denied is not None:
        return denied
    job = new_job(still, asker.user, "", spec, now)
    named = (still.work.jobs.get(number) for number in spec.parents)
    job.parents = {one.id: one for one in named if one is not None and not one.is_ended}
    still.work.with_data = {**still.work.with_data, job.id: job}
    note_gates(still, job, now)
    gates = gates_of(job)
    if spec.hold:
        gates["hold"] = "it would be held until released"
    where = None if gates else _place(still, job)
    return (yield from _explained(still, job, ASKED, _before(still, job), where, gates, now))


def _explained(
    still: State,
    job: Job,
    number: JobId,
    ahead: list[Waiting],
    place: PlaceView | None,
    gates: dict[str, str],
    now: Now,
    reason: str | None = None,
) -> Parts[ExplainView]:
    """`still`: a copy of the state (`frozen_view`). `reason`: the displayed one; None = its first
    gate."""
    key = still.work.queue.key(job)
    quota, until = waits_for(still, key, now)
    if quota:
        gates["quota"] = quota
    asked = _Asked(
        job.record.owner,
        job.spec,
        ahead,
        opens(still, job.spec, now),
        _stuck(still, job, gates),
        _backoff_s(job, now),
        # Where its data is a gate, no node is reported for it again.
        Stay(key.reservation, still.work.queue.runs_s(key), () if job.unstaged else key.data),
        quota,
        until,
    )
    if reason is None:
        reason = next(iter(gates.values()), "")
    shown, shape, outside = job.record.state, job.shape, job.outside
    yield
    view = explain(_seen(still, outside, now), number, shown, reason, shape, asked.stay)
    view = msgspec.structs.replace(view, refusals=_with_gates(gates, view), place=place)
    yield
    return (yield from _with_estimate(still, view, asked, now))


def _with_gates(gates: dict[str, str], view: ExplainView) -> tuple[FilterRefusal, ...]:
    """A gate refuses every node."""
    rows = (FilterRefusal(name, view.nodes_total, text) for name, text in gates.items())
    return (*rows, *view.refusals)


def _before(state: State, job: Job) -> list[Waiting]:
    """Jobs ahead of a job, which need not be queued."""
    work, order = state.work, state.work.queue.order
    rank, found = order.rank(work.queue.key(job)), list[Waiting]()
    turn = (rank.before, job.record.submitted_unix_s + rank.later_s, job.id)
    for each in work.waiting():
        queued = work.jobs[each.job]
        if queued.job_class is None:
            continue
        other = order.rank(queued.job_class.key)
        if (other.before, queued.record.submitted_unix_s + other.later_s, each.job) < turn:
            found.append(each)
    return found


def _place(state: State, job: Job) -> PlaceView:
    """Place in the queue, and its components. A job not submitted is last of its class."""
    queue = state.work.queue
    key = queue.key(job)
    ahead = queue.ahead_of(queue.order.rank(key), job.record.submitted_unix_s, job.id)
    standing = queue.order.standing(key.account)
    return PlaceView(
        place=sum(ahead) + 1,
        queued=len(queue) + (job.id == state.next_job),
        more_urgent=ahead.more_urgent,
        accounts_first=ahead.accounts_first,
        older=ahead.older,
        account=key.account,
        share=standing.share,
        used=standing.used,
    )


def _seen(state: State, outside: str, now: Now) -> Snapshot:
    """Without reservations where its own is a gate, so that none is reported twice."""
    seen = snapshot(state, now)
    return replace(seen, reservations=None) if outside else seen


def _stuck(state: State, job: Job, gates: dict[str, str]) -> str:
    stuck = next((gates[name] for name in STUCK if name in gates), "")
    if stuck:
        return stuck
    if job.outside and job.spec.reservation not in state.reservations:
        return job.outside
    array = job.spec.array
    if array is not None and array.at_a_time and job.live_count >= array.at_a_time:
        return f"{job.live_count} of its indices run, the limit is {array.at_a_time} at a time"
    return ""


def _backoff_s(job: Job, now: Now) -> float:
    """Time until the first of its gangs may be tried again."""
    phases = (gang.phase for gang in job.gangs if not gang.is_held)
    waits = [p.not_before - now.mono_s for p in phases if isinstance(p, Pending)]
    return max(0.0, min(waits, default=0.0))


def _with_estimate(state: State, view: ExplainView, asked: _Asked, now: Now) -> Parts[ExplainView]:
    numbers = state.work.quotas.of(asked.spec.account or asked.owner, asked.spec.queue)
    case = Case(state, asked.ahead, now, asked.stay, numbers)
    shape = shape_for(state, asked.owner, asked.spec)
    stuck = why_nothing_starts(state) or asked.stuck
    found = Estimate(None, f"unknown: {stuck}")
    if not stuck:
        found = yield from estimate_start(state, case, shape, now)
        if found.within_s != 0.0:
            found = earlier(found, (yield from after_preemption(state, case, shape, now)))
    held_back = asked.quota if asked.quota_until is None else ""
    if held_back and found.within_s is None:
        found = Estimate(None, f"unknown: {stuck or held_back}")
    start, why = _start(state, found, asked, now)
    if case.uncounted and found.within_s:
        why = f"{why}; {case.uncounted}"
    late = "" if start is None else too_late(state, asked.spec, start)
    why = f"{why}; {late}" if late else why
    helps: tuple[Remedy, ...] = ()
    is_free = not stuck and asked.quota_until is None and not asked.backoff_s
    if is_free and asked.opens > now.unix_s:  # more headroom would not open the window
        if found.within_s == 0.0:
            opens = f"the next start window opens {state.calendar.text(asked.opens)}"
            helps = (Remedy("window", f"inside a start window it would start now; {opens}"),)
    elif is_free:
        helps = yield from remedies(state, case, asked.owner, asked.spec)
    nodes = found.nodes if start is not None and start <= now.unix_s else ()
    return msgspec.structs.replace(
        view, start_unix_s=start, start_why=why, remedies=helps, start_nodes=nodes
    )


def _start(state: State, found: Estimate, asked: _Asked, now: Now) -> tuple[UnixTime | None, str]:
    """The latest of resources, window and back-off, within a window; and which one it is."""
    never = ended_text(state, asked.spec, now)
    never = never or impossible_inside(state, asked.owner, asked.spec, now)
    if never:
        return None, f"never: {never}"
    if found.within_s is None:
        return None, found.why
    times = (
        (now.unix_s + found.within_s, found.why),
        (asked.opens, "when its start window opens"),
        (now.unix_s + asked.backoff_s, "after its back-off"),
        (asked.quota_until or now.unix_s, "when its quota resets"),
    )
    start, why = max(times, key=lambda one: one[0])
    opening = opens_from(state, asked.spec, start, now)
    why = why if opening <= start else f"{why}, and its start window opens"
    record = state.reservations.get(asked.spec.reservation)
    if record is not None and opening >= record.end_unix_s:
        then = state.calendar.text(opening)
        return None, f"unknown: its reservation {record.name} ends before {then} ({why})"
    return opening, why
