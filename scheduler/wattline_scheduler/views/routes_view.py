"""Routes for gateways: workers of services, rollouts in progress, settings, and API keys."""

from itertools import chain

from wattline_protocol.job.service_values import FROM_CACHE, STATIC
from wattline_protocol.job.spec import CacheRule, ServiceSpec
from wattline_protocol.wire.routes import Routes, WorkerRoute
from wattline_protocol.wire.service_settings import NO_SETTINGS, ServiceSettings
from wattline_scheduler.core.lifecycle.stand_ins import is_lost
from wattline_scheduler.core.model.jobs.job import Job
from wattline_scheduler.core.model.jobs.service_names import ServiceNames
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.rollout.rollouts import splits


def routes_view(state: State) -> Routes:
    """Per service its running workers with a key, of jobs whose user owns the service name;
    and the API keys. Replicas on isolated nodes have no route: others stand in for them."""
    services = state.work.services.routed()
    workers = {
        name: chain.from_iterable(_workers(state, job) for job in jobs)
        for name, jobs in services.items()
    }
    settings = {
        name: _settings(jobs[-1], state.work.services) for name, jobs in services.items() if jobs
    }
    return Routes(
        {name: tuple(sorted(w, key=_by_ref)) for name, w in workers.items()},
        splits(state),
        state.api_keys.grants(state.work.services),
        {name: its for name, its in settings.items() if its != NO_SETTINGS},
    )


def _settings(job: Job, names: ServiceNames) -> ServiceSettings:
    """Of the newest job; without the services of others that its owner may not use."""
    service = job.spec.service or ServiceSpec()
    cache = service.cache or CacheRule(0.0, 0)
    fallback = (
        entry
        for entry in service.fallback
        if entry == FROM_CACHE or entry.startswith(STATIC) or names.may_use(job.record.owner, entry)
    )
    return ServiceSettings(cache.ttl_s, cache.size_bytes, tuple(fallback))


def _workers(state: State, job: Job) -> list[WorkerRoute]:
    return [
        WorkerRoute(attempt.record.ref, attempt.record.worker_public_key)
        for gang in job.gangs
        for attempt in gang.live
        if attempt.record.worker_public_key and gang.phase_name in ("starting", "running")
        if not is_lost(state, gang)
    ]


def _by_ref(worker: WorkerRoute) -> tuple[int, int, int]:
    return worker.ref.job, worker.ref.task, worker.ref.attempt
