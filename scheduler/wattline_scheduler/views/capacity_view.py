"""Plan of a service's capacity, from its load and what a replica was learned to do."""

from wattline_protocol.ids import Now
from wattline_protocol.text.quantities import format_duration
from wattline_protocol.text.wording import digits
from wattline_protocol.views.capacity_views import CapacityView, GetCapacity
from wattline_protocol.wire.client_messages import Denied
from wattline_scheduler.core.model.jobs.job import Job
from wattline_scheduler.core.model.not_found import not_there
from wattline_scheduler.core.model.service_traffic import serving_job
from wattline_scheduler.core.model.state import State
from wattline_scheduler.power.scaling.capacity_plan import Replica, hours_of_week, plan, unknown
from wattline_scheduler.power.scaling.load_history import HOUR_S
from wattline_scheduler.power.scaling.scaler import (
    FLOW_AIM,
    MOST_WINDOW_S,
    START_ABOVE,
    WINDOW_REQUESTS,
)
from wattline_scheduler.power.scaling.work_rate import KNOWN_WINDOWS

TWICE = 2.0


def capacity_view(state: State, request: GetCapacity, now: Now) -> CapacityView | Denied:
    """Refused with what is missing where nothing can be planned."""
    services = state.work.services
    if request.name not in services.names():
        return not_there("service", request.name, services.names())
    job = serving_job(services.serving(request.name), state.rollouts.get(request.name))
    own = None if job.spec.service is None else job.spec.service.slo
    if own is None:
        text = (
            f"{request.name} has no SLO in its job, so what a replica can do is not measured: "
            f"set one by `wattline update {job.id} --slo p95=200ms`"
        )
        return Denied("bad_request", text)
    slo = request.slo or own
    replica = _replica(state, job)
    if isinstance(replica, Denied):
        return replica
    if replica.alone(slo.p95_s) >= START_ABOVE:
        least_s = replica.alone_s / (FLOW_AIM * START_ABOVE)
        text = (
            f"p95={format_duration(slo.p95_s)} is too short for a plan: a request alone, without "
            f"caps, takes {digits(replica.alone_s)} s; more than {digits(least_s)} s is possible"
        )
        return Denied("bad_request", text)
    minutes = state.service_minutes.get(request.name)
    hours = minutes.history.hours if minutes is not None else {}
    week = hours_of_week(hours, request.weeks, int(now.unix_s) // HOUR_S)
    if not week:
        text = f"no full hour of the load of {request.name} is on record: ask again in an hour"
        return Denied("unavailable", text)
    factors = request.growth, TWICE * request.growth
    plans = tuple(plan(week, replica, slo.p95_s, one, state.site.tariff) for one in factors)
    return CapacityView(
        service=request.name,
        slo=slo,
        weeks=request.weeks,
        known_hours=len(week),
        replica_per_s=replica.per_s,
        alone_s=replica.alone_s,
        replica_gpus=replica.gpus,
        plans=plans,
        unknown=tuple(unknown(week, replica, has_tariff=plans[0].cost_usd is not None)),
    )


def _replica(state: State, job: Job) -> Replica | Denied:
    scaling = state.scaling.get(job.id)
    scaler = None if scaling is None else scaling.scaler
    if scaler is None:
        text = f"no replica of {job.spec.name} has run yet: what one can do is not measured"
        return Denied("unavailable", text)
    if not scaler.rate.is_known:
        known = f"{scaler.rate.windows} of {KNOWN_WINDOWS} windows are measured"
        window = f"a window is {WINDOW_REQUESTS} requests, or {MOST_WINDOW_S} s"
        text = f"what a replica of {job.spec.name} can do is not known yet: {known}; {window}"
        return Denied("unavailable", text)
    per_s, alone_s = scaler.rate.constants
    gpus = job.spec.resources.gpus_per_node * job.spec.gang_size
    return Replica(per_s, alone_s, scaler.gpu, gpus)
