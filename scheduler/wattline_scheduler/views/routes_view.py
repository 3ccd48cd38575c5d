"""The view of gateways on services: workers, rollouts in progress, settings, routes, API keys."""

from collections import Counter
from itertools import chain

from wattline_protocol.ids import UserName
from wattline_protocol.job.service_values import FROM_CACHE, STATIC
from wattline_protocol.job.spec import BodyLogRule, CacheRule, ServiceSpec
from wattline_protocol.wire.routes import Routes, WorkerRoute
from wattline_protocol.wire.service_settings import ServiceSettings
from wattline_scheduler.core.lifecycle.stand_ins import is_lost
from wattline_scheduler.core.model.jobs.job import Gang, Job
from wattline_scheduler.core.model.jobs.replicas import open_replicas
from wattline_scheduler.core.model.jobs.service_names import ServiceNames
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.rollout.rollouts import splits
from wattline_scheduler.core.scaling.service_scaling import READY
from wattline_scheduler.views.route_views import public_routes, route_owners

MAX_OWNER_BYTES = 64 * 1024
"""Settings of all services of one user; those of later jobs are left out."""
MAX_BYTES = 1024 * 1024
SETTINGS_BYTES = 128
"""Of a service's settings, at most, besides texts."""


def routes_view(state: State) -> Routes:
    """Per service its running workers with a key, of jobs whose user owns the service name;
    and the API keys. Replicas on isolated nodes have no route once others stand in for them."""
    services = state.work.services.routed()
    workers = {
        name: chain.from_iterable(_workers(state, job) for job in jobs)
        for name, jobs in services.items()
    }
    return Routes(
        {name: tuple(sorted(w, key=_by_ref)) for name, w in workers.items()},
        splits(state),
        state.api_keys.grants(state.work.services),
        _all_settings([jobs[-1] for jobs in services.values() if jobs], state.work.services),
        {name: jobs[0].record.owner for name, jobs in services.items() if jobs}
        | route_owners(state),
        public_routes(state),
    )


def _all_settings(jobs: list[Job], names: ServiceNames) -> dict[str, ServiceSettings]:
    """Settings by service, within bounds: all must fit into one message, whoever submits them."""
    found: dict[str, ServiceSettings] = {}
    by_owner: Counter[UserName] = Counter()
    total = 0
    for job in sorted(filter(_has_settings, jobs), key=lambda one: one.id):
        its = _settings(job, names)
        size = SETTINGS_BYTES + sum(len(text.encode()) for text in (*its.fallback, *its.log_blank))
        owner = job.record.owner
        if by_owner[owner] + size <= MAX_OWNER_BYTES and total + size <= MAX_BYTES:
            by_owner[owner] += size
            total += size
            found[job.spec.name] = its
    return found


def _has_settings(job: Job) -> bool:
    service = job.spec.service
    if service is None:
        return False
    return service.cache is not None or bool(service.fallback) or service.log_bodies is not None


def _settings(job: Job, names: ServiceNames) -> ServiceSettings:
    """Of the newest job; without the services of others that its owner may not use."""
    service = job.spec.service or ServiceSpec()
    cache = service.cache or CacheRule(0.0, 0)
    fallback = (
        entry
        for entry in service.fallback
        if entry == FROM_CACHE or entry.startswith(STATIC) or names.may_use(job.record.owner, entry)
    )
    bodies = service.log_bodies or BodyLogRule(0.0, (), 0.0)
    logged = bodies.share, bodies.blank, bodies.retention_s
    return ServiceSettings(cache.ttl_s, cache.size_bytes, tuple(fallback), *logged)


def _workers(state: State, job: Job) -> list[WorkerRoute]:
    return [
        WorkerRoute(attempt.record.ref, attempt.record.worker_public_key)
        for gang in _routed(state, job)
        for attempt in gang.live
        if attempt.record.worker_public_key
    ]


def _routed(state: State, job: Job) -> list[Gang]:
    """Without those on isolated nodes, once another one is ready: they may serve, and the fault
    may be the scheduler's own network."""
    gangs = [g for g in open_replicas(job) if g.phase_name in ("starting", "running")]
    others = [gang for gang in gangs if not is_lost(state, gang)]
    if len(others) == len(gangs) or any(_is_ready(state, gang) for gang in others):
        return others
    return gangs


def _is_ready(state: State, gang: Gang) -> bool:
    """Whether a gateway has reported it ready."""
    refs = {attempt.record.ref for attempt in gang.live}
    seen = (one.workers or {} for one in state.traffic.values())
    return any(ref in rows and rows[ref].state == READY for rows in seen for ref in refs)


def _by_ref(worker: WorkerRoute) -> tuple[int, int, int]:
    return worker.ref.job, worker.ref.task, worker.ref.attempt
