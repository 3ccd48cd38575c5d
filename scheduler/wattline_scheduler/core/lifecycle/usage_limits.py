"""Enforces limits of energy, cost, idle GPUs and time without progress. The agent enforces that of
the run time.

Energy and cost are sums over all tries and indices of the job, as `wattline job` shows them. A job
that reaches one ends as TIMEOUT with its grace period; a pending job does too, so that nothing of
it starts only to be stopped one heartbeat later. Idle GPUs are checked per gang. GPUs without a
measurement are never taken for idle.
"""

from wattline_protocol.ids import Now
from wattline_protocol.job.spec import IdleRule, JobSpec, Limits
from wattline_protocol.site.model import Tariff
from wattline_protocol.text.quantities import format_cost, format_duration, format_energy
from wattline_scheduler.core.lifecycle.ending import end_gang, end_job
from wattline_scheduler.core.lifecycle.hangs import check_progress
from wattline_scheduler.core.model.jobs.job import Gang, Job, Running
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.model.usage.gpu_idle_watch import IdleWatch, Mark
from wattline_scheduler.core.model.usage.usage import add_usage, cost_usd, energy_kwh

WH_PER_KWH = 1000


def never_reached(spec: JobSpec, tariff: Tariff) -> str:
    """Reason why a limit could not act on this site; empty = it can."""
    if spec.limits.cost_usd and tariff == Tariff():
        return "limits.cost cannot be enforced: the site file has no [tariff]"
    return ""


def used_up(job: Job, limits: Limits, tariff: Tariff) -> str:
    """The first of these limits that the job has reached; empty = none."""
    if not limits.energy_wh and not limits.cost_usd:
        return ""
    used = add_usage((job.spent, *(a.usage for gang in job.tried_gangs for a in gang.live)))
    if limits.energy_wh and energy_kwh(used) * WH_PER_KWH >= limits.energy_wh:
        return f"reached its energy limit of {format_energy(limits.energy_wh)}"
    if limits.cost_usd and cost_usd(used, tariff) >= limits.cost_usd:
        return f"reached its cost limit of {format_cost(limits.cost_usd)}"
    return ""


def used_up_in_s(job: Job, tariff: Tariff) -> float | None:
    """When a running job will reach its limit of energy or cost at its mean rate so far; None =
    it has none, or has used nothing yet."""
    limits = job.spec.limits
    if not limits.energy_wh and not limits.cost_usd:
        return None
    live = [gang for gang in job.tried_gangs if gang.live and gang.ran_s > 0]
    used = add_usage((job.spent, *(a.usage for gang in job.tried_gangs for a in gang.live)))
    of_gangs = [(gang.ran_s, add_usage(a.usage for a in gang.live)) for gang in live]
    left: list[float] = []
    if limits.energy_wh:
        rate = sum(energy_kwh(one) / ran_s for ran_s, one in of_gangs)
        left += [(limits.energy_wh / WH_PER_KWH - energy_kwh(used)) / rate] if rate > 0 else []
    if limits.cost_usd:
        rate = sum(cost_usd(one, tariff) / ran_s for ran_s, one in of_gangs)
        left += [(limits.cost_usd - cost_usd(used, tariff)) / rate] if rate > 0 else []
    return max(0.0, min(left)) if left else None


def tick_use(state: State, now: Now) -> None:
    """Checks the usage limits of all metered jobs, once a heartbeat."""
    for job in list(state.work.metered.values()):
        if not end_used_up(state, job, now):
            if job.spec.limits.idle_gpu is not None:
                _check_idle(state, job, job.spec.limits.idle_gpu, now)
            if job.spec.recovery.no_progress_s:
                check_progress(state, job, job.spec.recovery.no_progress_s, now)
        if not job.live_count:
            state.work.metered.pop(job.id, None)  # until one of its gangs starts again


def end_used_up(state: State, job: Job, now: Now) -> str:
    """Ends a job, running or not, that has reached a limit; returns the reason; empty = none."""
    reason = used_up(job, job.spec.limits, state.site.tariff)
    if reason and not _is_stopping(job):
        _report(state, job, "limit_reached", f"{job.spec.name!r} {reason}: it is stopped", now)
    if reason:
        end_job(state, job, "timeout", reason, now)
    return reason


def end_used_up_in_queue(state: State, now: Now) -> None:
    """Checks queued jobs before a plan, since their last try may have reached a limit by now."""
    for job in [job for job in state.work.metered.values() if job.job_class is not None]:
        end_used_up(state, job, now)


def _is_stopping(job: Job) -> bool:
    return job.live_count == job.count["ending"] and not job.count["pending"]


def _report(state: State, job: Job, kind: str, text: str, now: Now) -> None:
    state.journal.note(kind, text, now, job=job.id, level="warning")


# --- idle GPUs --------------------------------------------------------------------------


def _check_idle(state: State, job: Job, rule: IdleRule, now: Now) -> None:
    for gang in job.tried_gangs:
        if not isinstance(gang.phase, Running) or not _is_measured(state, gang):
            gang.idle = None
            continue
        mean = _mean(gang, rule.for_s)
        if mean is not None and mean < rule.below:
            _idles(state, gang, rule, mean, now)
        elif mean is not None and gang.warning:
            gang.warning = ""
            _report(state, job, "gpus_busy", f"{gang.name} uses its GPUs again", now)


def _is_measured(state: State, gang: Gang) -> bool:
    """Whether the newest heartbeats report the utilisation of every GPU of the gang."""
    for attempt in gang.live:
        beat = state.nodes[attempt.node].beat
        known = () if beat is None else beat.gpus
        measured = {sample.index for sample in known if sample.util_pct is not None}
        if not measured.issuperset(attempt.record.gpus):
            return False
    return True


def _mean(gang: Gang, for_s: float) -> float | None:
    refs = tuple(attempt.record.ref for attempt in gang.live)
    if gang.idle is None or gang.idle.refs != refs:
        gang.idle = IdleWatch(refs)
    used = add_usage(attempt.usage for attempt in gang.live)
    mark = Mark(used.run_s / len(refs), used.gpu_s, used.util_gpu_s)
    return gang.idle.mean_over(for_s, mark)


def _idles(state: State, gang: Gang, rule: IdleRule, mean: float, now: Now) -> None:
    used = f"used to {mean:.1%} over {format_duration(rule.for_s)}, less than {rule.below:.1%}"
    if rule.action == "stop":
        reason = f"stopped because its GPUs idle: {used}"
        _report(state, gang.job, "limit_reached", f"{gang.name} is {reason}", now)
        end_gang(state, gang, "timeout", reason, now)
        return
    if not gang.warning:
        _report(state, gang.job, "gpus_idle", f"the GPUs of {gang.name} idle: {used}", now)
    gang.warning = f"its GPUs idle: {used}"
