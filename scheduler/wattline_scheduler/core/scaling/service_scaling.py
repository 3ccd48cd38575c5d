"""Applies what the scalers of services decide: watts of their replicas, and how many there are.

Watts are a demand as any other: the allocator and the books bound them. Replicas start and stop as
an update of the job would have it; the planner places them, and preempts for them. Where the load
is not known, because a gateway is silent or none reports, both stay.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence

from wattline_protocol.ids import Now, TaskRef
from wattline_protocol.job.spec import ServiceSpec, Slo
from wattline_protocol.text.quantities import format_duration
from wattline_protocol.text.wording import counted
from wattline_protocol.wire.client_messages import Done
from wattline_protocol.wire.rollouts import ReportRises, WorkerTraffic
from wattline_scheduler.core.admission.open_job_limits import too_many_replicas
from wattline_scheduler.core.leases.lease_load import demand_of
from wattline_scheduler.core.lifecycle.ending import end_gang, ends_for_good
from wattline_scheduler.core.lifecycle.job_state import refresh
from wattline_scheduler.core.lifecycle.scaling import scale
from wattline_scheduler.core.model.jobs.job import Ending, Gang, Job, Pending, Running
from wattline_scheduler.core.model.jobs.replicas import open_replicas
from wattline_scheduler.core.model.jobs.scaled_service import Scaling
from wattline_scheduler.core.model.service_traffic import (
    MeanWork,
    gone_gateways,
    seen_workers,
    serving_job,
)
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.scaling.slo_checks import slo_problem
from wattline_scheduler.power.demand.useful_cap import curve_of
from wattline_scheduler.power.scaling.scaler import Goal, ReplicaGpu, Scaler, Wanted
from wattline_scheduler.power.scaling.service_load import Load

READY = "ready"
"""State of a worker that takes requests."""

Loads = Mapping[str, Load | None]
"""By service; None = not known."""


def tick_services(state: State, loads: Loads | None, now: Now) -> None:
    """Decides for each service with an SLO, once a second; `loads` None: it is not over yet."""
    if loads is None:
        return
    scaled: dict[str, Job] = {}
    for name in loads:
        job = serving_job(state.work.services.serving(name), state.rollouts.get(name))
        if job.spec.service is not None and job.spec.service.slo is not None:
            scaled[name] = job
    known = {job.id for job in scaled.values()}
    for number in [number for number in state.scaling if number not in known]:
        del state.scaling[number]
        _release(state, state.work.jobs.get(number))
    for name, job in scaled.items():
        one = state.scaling.get(job.id)
        if one is None:
            one = state.scaling[job.id] = Scaling(asked_at=now.mono_s)
        _second(state, job, one, loads[name], now)


def take_rises(state: State, gateway: str, report: ReportRises, now: Now) -> Done:
    """Raises the watts of services whose load a gateway has just seen rise: a second that has a
    part of it only would not show it. Replicas follow the seconds. Each service is raised once,
    however often the report has it."""
    names = state.work.services.names()
    risen: dict[str, float] = {}
    for rise in report.rises:
        if rise.service in names:
            risen[rise.service] = risen.get(rise.service, 0.0) + rise.per_s
    for name, more_per_s in risen.items():
        job = serving_job(state.work.services.serving(name), state.rollouts.get(name))
        one = state.scaling.get(job.id)
        if one is None or one.scaler is None or one.has_just_risen(gateway, report.process, now):
            continue
        per_s = one.rise_per_s(gateway, report.process, more_per_s, now)
        each = state.load_clock.mean_work.get(name, MeanWork()).each
        _set_caps(state, job, one.scaler.rise(per_s * each, len(_ready(state, job, now))))
    return Done("")


def _release(state: State, job: Job | None) -> None:
    """Its SLO was removed, or another revision serves: it has watts as any job."""
    for gang in () if job is None else job.gangs:
        _want(state, gang, 0)


def _second(state: State, job: Job, one: Scaling, load: Load | None, now: Now) -> None:
    service = job.spec.service
    if service is None or service.slo is None:
        return
    if load is None or load.is_partial or _is_asked(state, job, load, now):
        one.asked_at = now.mono_s  # whatever wakes it, it has its whole idle time
    if job.is_asleep:
        one.is_waking = True
        if load is not None and load.requests:
            _set(state, job, one, service.least, "a request came", now)
        return
    ready = _ready(state, job, now)
    if load is not None:  # a gateway that is silent says nothing about replicas
        _note_ready(job, one, ready, now)
    goal = Goal(service.least, service.most, service.slo.p95_s)
    scaler = _scaler(state, job, one, goal, ready, now)
    if scaler is None:
        return
    overdue = [gang for gang in job.gangs[: job.gang_count] if _is_overdue(one, gang, now)]
    one.is_waking = one.is_waking and not (ready or overdue)
    counted = job.gang_count - len(overdue)
    wanted = scaler.second(load, _caps_in_force(state, job, ready), counted, now)
    _set_caps(state, job, wanted)
    _warn(state, job, one, service.slo, now)
    if _is_idle(one, service, scaler, now):
        _set(state, job, one, 0, f"no request for {format_duration(service.idle_to_zero_s)}", now)
        return
    count = job.gang_count
    if load is not None:
        count = count_within(wanted.replicas, _replaced(one, overdue), service)
    _set(state, job, one, count, wanted.reason, now)


def count_within(wanted: int, overdue: int, service: ServiceSpec) -> int:
    """Replicas that there are to be: those wanted, beside others that do not get ready."""
    return min(wanted + overdue, service.most)


def _scaler(
    state: State, job: Job, one: Scaling, goal: Goal, ready: Mapping[int, Gang], now: Now
) -> Scaler | None:
    """Its scaler with what is asked of it now; None before a GPU of it is known."""
    replicas = open_replicas(job)
    gpus = {gang.number: gpu for gang in replicas if (gpu := _gpu(state, gang, now)) is not None}
    gpu = next((gpus[one] for one in (*ready, *gpus) if one in gpus), None)
    if one.scaler is None and (gpu is not None or not job.shape.gpus):
        one.scaler = Scaler(goal, gpu, state.service_minutes[job.spec.name].history)
    if one.scaler is not None:
        one.scaler.goal, one.scaler.gpu, one.scaler.gpus = goal, gpu or one.scaler.gpu, gpus
    return one.scaler


def _is_asked(state: State, job: Job, load: Load, now: Now) -> bool:
    """Whether it has any request, such as a stream that has begun, or one of a batch."""
    if load.requests or load.answered or load.total_waiting or job.is_asleep:
        return True
    refs = [attempt.record.ref for gang in open_replicas(job) for attempt in gang.live]
    rows = (workers.get(ref) for workers in seen_workers(state.traffic, now) for ref in refs)
    return any(row is not None and row.in_flight for row in rows)


def _is_idle(one: Scaling, service: ServiceSpec, scaler: Scaler, now: Now) -> bool:
    idle_s = now.mono_s - one.asked_at
    is_over = bool(service.idle_to_zero_s) and idle_s >= service.idle_to_zero_s
    return is_over and not scaler.history.asked(now.unix_s)


# --- what there is --------------------------------------------------------------------------------


def _ready(state: State, job: Job, now: Now) -> dict[int, Gang]:
    """Replicas of which each worker is ready at a gateway, by number. Not at every gateway, as for
    a rollout: one that reaches no workers would have all replicas of all services replaced."""
    seen = seen_workers(state.traffic, now)
    found: dict[int, Gang] = {}
    for gang in open_replicas(job) if seen else ():
        refs = [attempt.record.ref for attempt in gang.live]
        is_ready = bool(refs) and all(_is_ready(seen, ref) for ref in refs)
        if is_ready and isinstance(gang.phase, Running):
            found[gang.number] = gang
    return found


def _is_ready(seen: Sequence[Mapping[TaskRef, WorkerTraffic]], ref: TaskRef) -> bool:
    rows = (workers.get(ref) for workers in seen)
    return any(row is not None and row.state == READY for row in rows)


def _note_ready(job: Job, one: Scaling, ready: Mapping[int, Gang], now: Now) -> None:
    one.was_ready = one.was_ready or bool(ready)
    before, one.unready_since = one.unready_since, {}
    for gang in open_replicas(job):
        if not isinstance(gang.phase, Running):
            continue
        since = max(before.get(gang.number, now.mono_s), gang.phase.since)
        if gang.number in ready:
            one.ready_s = max(one.ready_s, now.mono_s - since)
        else:
            one.unready_since[gang.number] = since


def _is_overdue(one: Scaling, gang: Gang, now: Now) -> bool:
    """Whether it does not count: it fails, or has run for long without being ready."""
    if ends_for_good(gang) or gang.is_held:
        return True
    if isinstance(gang.phase, Pending | Ending):
        return bool(gang.failures)
    since = one.unready_since.get(gang.number)
    return since is not None and now.mono_s - since > one.overdue_s


def _replaced(one: Scaling, overdue: Sequence[Gang]) -> int:
    """How many of them another one stands in for. While none was ever ready, the command or the
    model is at fault, and another replica would fail in the same way, on the GPUs of others."""
    return sum(one.was_ready or not gang.failures for gang in overdue)


def _gpu(state: State, gang: Gang, now: Now) -> ReplicaGpu | None:
    """First GPU of a replica: those of one count as alike. None: it is not placed, or has none."""
    for attempt in gang.live:
        node = state.nodes[attempt.node]
        for gpu in (node.gpus[at] for at in attempt.record.gpus if at in node.gpus):
            holders = node.holders.get(gpu.index, (attempt,))
            demand_mw = demand_of(state, node, gpu, holders, now)
            curve = curve_of(gpu, demand_mw, gang.job.shape.need)
            return ReplicaGpu(curve, demand_mw, gpu.cap_min_mw, gpu.cap_max_mw)
    return None


def _caps_in_force(state: State, job: Job, ready: Mapping[int, Gang]) -> dict[int, int]:
    """Of replicas whose caps are known; 0 where they have no GPU."""
    caps_mw = {number: _cap_in_force_mw(state, gang) for number, gang in ready.items()}
    return {number: mw for number, mw in caps_mw.items() if mw or not job.shape.gpus}


def _cap_in_force_mw(state: State, gang: Gang) -> int:
    """The lowest over its GPUs; 0 = not known."""
    caps = [
        sample.cap_mw or state.nodes[attempt.node].gpus[sample.index].cap_max_mw
        for attempt in gang.live
        if (beat := state.nodes[attempt.node].beat) is not None
        for sample in beat.gpus
        if sample.index in attempt.record.gpus and sample.index in state.nodes[attempt.node].gpus
    ]
    return min(caps, default=0)


# --- what is to be --------------------------------------------------------------------------------


def _set_caps(state: State, job: Job, wanted: Wanted) -> None:
    for gang in open_replicas(job):
        _want(state, gang, wanted.caps_mw.get(gang.number, wanted.cap_mw))


def _want(state: State, gang: Gang, cap_mw: int) -> None:
    if gang.wanted_cap_mw == cap_mw:
        return
    state.wants_rebalance |= cap_mw > gang.wanted_cap_mw
    gang.wanted_cap_mw = cap_mw
    for attempt in gang.live:
        state.nodes[attempt.node].load = None


def _set(state: State, job: Job, one: Scaling, count: int, why: str, now: Now) -> None:
    """Applies a number of replicas, 0 = asleep, as far as limits allow it."""
    before, present = 0 if job.is_asleep else job.gang_count, job.gang_count
    service = job.spec.service or ServiceSpec()
    barred = ""
    if count != before:
        count, barred = _allowed(state, job, service, before, count)
    one.why = (barred or why) + _silence_text(state, now)
    if count == before:
        return
    is_fixed = count and service.least == service.most
    state.journal.change(job, replicas=None if is_fixed else count)
    text = f"service {job.spec.name} scaled {before} → {count}: {why}"
    state.journal.note("service_scaled", text, now, job=job.id)
    scale(state, job, present, f"scaled to {counted(count, 'replica')}: {why}", now)
    if not count:
        _sleep(state, job, why, now)
    state.work.requeue(job)
    state.wants_plan = True
    refresh(state, job, now)


def _silence_text(state: State, now: Now) -> str:
    gone = gone_gateways(state.traffic, now)
    return f"; no replica stops while gateway {gone[0]} does not report" if gone else ""


def _allowed(
    state: State, job: Job, service: ServiceSpec, before: int, count: int
) -> tuple[int, str]:
    """The number of replicas that it may have now, and why not `count`; empty = it may."""
    if job.replica_limit is not None:
        return before, "its replicas stay while a rollout is in progress"
    if job.record.is_held or job.record.cancelled_by:
        return before, "its replicas stay: it is held or being cancelled"

    def denied(more: int) -> str:
        found = too_many_replicas(state, job, job.spec, more, job.gang_count + more)
        return "" if found is None else found.reason

    more = count - job.gang_count
    why = denied(more) if more > 0 else ""
    if not why:
        return count, ""
    fewer = bisect_left(range(1, more + 1), True, key=lambda extra: bool(denied(extra)))
    allowed = job.gang_count + fewer
    return (allowed if allowed >= service.least else before), why


def _sleep(state: State, job: Job, why: str, now: Now) -> None:
    """Stops the one replica left, which is pending from then on."""
    gang = job.gangs[0]
    if gang.live and not isinstance(gang.phase, Ending):
        end_gang(state, gang, "asked", f"scaled to zero: {why}", now)


def _warn(state: State, job: Job, one: Scaling, slo: Slo, now: Now) -> None:
    why = slo_problem(state, job, slo)
    if why and not one.is_slo_reported:
        one.is_slo_reported = True
        text = f"service {job.spec.name}: {why}"
        state.journal.note("slo_unreachable", text, now, job=job.id, level="warning")
