"""Whether a service can keep an SLO, by what its replicas are known to do."""

from wattline_protocol.job.spec import JobSpec, Slo
from wattline_protocol.text.quantities import format_duration
from wattline_protocol.text.wording import digits
from wattline_scheduler.core.model.jobs.job import Job
from wattline_scheduler.core.model.service_traffic import serving_job
from wattline_scheduler.core.model.state import State
from wattline_scheduler.power.scaling.scaler import MOST_WINDOW_S, WINDOW_REQUESTS
from wattline_scheduler.power.scaling.work_rate import KNOWN_WINDOWS


def slo_of(spec: JobSpec) -> Slo | None:
    """What is asked for it; None = nothing."""
    return None if spec.service is None else spec.service.slo


def slo_problem(state: State, job: Job, slo: Slo) -> str:
    """Why a service cannot keep an SLO; empty = it can, as far as its rate is known."""
    alone_s = _alone_s(state, job)
    if alone_s is None or alone_s <= slo.p95_s:
        return ""
    p95 = format_duration(slo.p95_s)
    return f"p95={p95} cannot be kept: requests alone, without caps, take {digits(alone_s)} s"


def new_slo_problem(state: State, job: Job, spec: JobSpec) -> str:
    """The same where a specification of the service changes its SLO."""
    slo = slo_of(spec)
    return "" if slo is None or slo == slo_of(job.spec) else slo_problem(state, job, slo)


def revision_slo_problem(state: State, spec: JobSpec) -> str:
    """Why a job cannot be the next revision of a service whose rate is known. A faster one keeps
    the SLO until it is measured itself."""
    serving = _serving(state, spec)
    if serving is None:
        return ""
    why = new_slo_problem(state, serving, spec)
    return why and (
        f"{why} (job {serving.id}, which serves); a faster revision is submitted with the SLO of "
        "that one, and gets another by `wattline update --slo` once it is measured"
    )


def unmeasured_slo(state: State, job: Job) -> str:
    """Warning: what happens until it is known whether the SLO can be kept; empty = it is known."""
    slo = slo_of(job.spec)
    if slo is None or job.is_ended or _alone_s(state, job) is not None:
        return ""
    p95 = format_duration(slo.p95_s)
    return (
        f"it is not measured yet how long requests of {job.spec.name} take. Until {KNOWN_WINDOWS} "
        f"windows of {WINDOW_REQUESTS} requests (or {MOST_WINDOW_S} s) are, its GPUs may have "
        "their maximum power, less where requests are in time, and replicas start only while "
        f"requests are late. If one alone takes longer than p95={p95}, the event slo_unreachable "
        "says so, and its watts and replicas follow the load without regard to the time"
    )


def _serving(state: State, spec: JobSpec) -> Job | None:
    jobs = state.work.services.open().get(spec.name) if spec.kind == "service" else None
    return serving_job(jobs, state.rollouts.get(spec.name)) if jobs else None


def _alone_s(state: State, job: Job) -> float | None:
    one = state.scaling.get(job.id)
    return None if one is None or one.scaler is None else one.scaler.alone_s
