"""Reports of a gateway about the revisions and workers of its services."""

from collections import Counter
from operator import lt, sub

from wattline_protocol.ids import JobId
from wattline_protocol.wire.rollouts import (
    MAX_REPORTED,
    MAX_RISES,
    LoadRise,
    ReportRises,
    ReportTraffic,
    RevisionTraffic,
    RouteTraffic,
    ServiceTraffic,
    WorkerTraffic,
)
from wattline_runtime.gateway.core import Gateway
from wattline_runtime.gateway.events import BATCH, NORMAL
from wattline_runtime.gateway.revisions.load_counts import LoadCounts, since
from wattline_runtime.gateway.revisions.trial import Traffic
from wattline_runtime.gateway.state import ServiceState, WorkerState
from wattline_runtime.gateway.stats import CASCADE_ENDS, Stats

REPORT_PERIOD_S = 1.0
RISE_PERIOD_S = 0.5
"""Rises are reported at most so often."""
NOTHING = Traffic()
RuleKey = tuple[str, int]
RouteCounts = tuple[int, ...]
NO_COUNTS: RouteCounts = (0,) * (1 + len(CASCADE_ENDS))


class TrafficReporter:
    """Counts since the last report. Services with a revision on trial come first.

    A service or a revision that is gone and there again within a second has other counts, which
    begin at zero: a difference below zero is refused, and its gateway silent for all services.
    """

    def __init__(self, gateway: Gateway, stats: Stats) -> None:
        self._gateway, self._stats = gateway, stats
        self._counted: dict[RuleKey, RouteCounts] = {}
        self._reported: dict[tuple[str, int], tuple[Traffic, Traffic]] = {}
        """What is counted, and its counts as last reported."""
        self._loads: dict[str, tuple[LoadCounts, ServiceTraffic]] = {}
        """Of each service since the gateway knows it, likewise."""
        self._first = 0
        """Position of the service whose load is the first in a report that cannot have all."""

    def take(self, seconds: float = REPORT_PERIOD_S) -> ReportTraffic:
        """The next report. `seconds`: the time since the last one."""
        listed = [s for s in self._gateway.queue.services.values() if s.is_listed]
        listed.sort(key=lambda service: service.trial.split is None)
        reported, self._reported = self._reported, {}
        found: list[RevisionTraffic] = []
        for service in listed:
            for revision in revisions_of(service):
                traffic = service.traffic.get(revision, NOTHING)
                key = service.name, revision
                known, before = reported.get(key, (traffic, NOTHING))
                self._reported[key] = traffic, traffic.copy()
                news = traffic.since(before if known is traffic else NOTHING)
                found.append(_row(service, revision, news))
        workers = [
            self._worker(worker) for service in listed for worker in service.workers.values()
        ]
        loads = self._take_loads(listed)
        return ReportTraffic.bounded(found, workers, self._take_routes(), loads, seconds)

    def _take_loads(self, listed: list[ServiceState]) -> list[ServiceTraffic]:
        reported, self._loads = self._loads, {s.name: (s.load, _load(s)) for s in listed}
        found = []
        for name, (counts, load) in self._loads.items():
            known, before = reported.get(name, (counts, None))
            found.append(since(load, before if known is counts else None))
        return self._in_turn(found)

    def _in_turn(self, loads: list[ServiceTraffic]) -> list[ServiceTraffic]:
        """Reordered so that services that one report leaves out are in the next."""
        if len(loads) <= MAX_REPORTED:
            return loads
        first = self._first % len(loads)
        self._first = first + MAX_REPORTED
        return loads[first:] + loads[:first]

    def _worker(self, worker: WorkerState) -> WorkerTraffic:
        requests = self._gateway.queue.requests
        held = (requests.get(number) for number in worker.in_flight)
        waiting = sum(
            request is not None
            and request.worker == worker.connection
            and not request.has_begun
            and request.kind.rank != BATCH
            for request in held
        )
        return WorkerTraffic(
            ref=worker.route.ref,
            state=worker.status,
            in_flight=len(worker.in_flight),
            batch_s=round(worker.pace.batch_s, 6),
            waiting=waiting,
        )

    def _take_routes(self) -> list[RouteTraffic]:
        before, self._counted = self._counted, rule_counts(self._stats)
        rows = []
        for key, counts in self._counted.items():
            old = before.get(key, NO_COUNTS)
            if any(map(lt, counts, old)):
                old = NO_COUNTS  # the route was removed, and is there again
            if counts != old:
                rows.append(RouteTraffic(*key, *map(sub, counts, old)))
        return rows


class RiseReporter:
    """Looks for services whose load has just risen. One that never had a request costs nothing."""

    def __init__(self, gateway: Gateway, now_s: float) -> None:
        self._gateway, self._looked_s = gateway, now_s
        self._reported_s = now_s - RISE_PERIOD_S

    def look(self, now_s: float) -> ReportRises | None:
        """To be called each `LOOK_S`; None: there is nothing to report now."""
        passed_s, self._looked_s = now_s - self._looked_s, now_s
        rises = []
        for service in self._gateway.queue.services.values():
            total = service.load.requests
            per_s = service.rises.look(total, passed_s) if total else 0.0
            if per_s and service.is_listed:
                rises.append(LoadRise(service.name, per_s))
        if not rises or now_s - self._reported_s < RISE_PERIOD_S:
            return None
        self._reported_s = now_s
        return ReportRises(tuple(rises[:MAX_RISES]))


def rule_counts(stats: Stats) -> dict[RuleKey, RouteCounts]:
    """Requests since the start by route and rule, and inputs of its cascade as `CASCADE_ENDS`."""
    requests = Counter[RuleKey]()
    for (route, rule, _), count in stats.routed.items():
        requests[route, rule] += count
    return {
        key: (count, *(stats.cascades[(*key, end)] for end in CASCADE_ENDS))
        for key, count in requests.items()
    }


def revisions_of(service: ServiceState) -> list[int]:
    """Revisions with routes, workers or requests."""
    revisions = {route.ref.job for route in service.routes}
    return sorted({*revisions, *(w.revision for w in service.workers.values()), *service.traffic})


def ready(service: ServiceState, revision: int) -> int:
    """Its workers that take requests and answer them."""
    return sum(
        worker.takes_new and not worker.is_stalled and not worker.circuit.is_failing
        for worker in service.workers.values()
        if worker.revision == revision
    )


def _row(service: ServiceState, revision: int, traffic: Traffic) -> RevisionTraffic:
    return RevisionTraffic(
        service=service.name,
        revision=JobId(revision),
        ready=ready(service, revision),
        requests=traffic.requests,
        errors=traffic.errors,
        times=tuple(traffic.times) if any(traffic.times) else (),
        equal=traffic.equal,
        different=traffic.different,
        uncompared=traffic.uncompared,
        compares=_compares(service, revision),
        energy=traffic.energy,
    )


def _compares(service: ServiceState, revision: int) -> bool | None:
    """Whether the models of a revision compare outputs; None = unknown."""
    known = {w.compares for w in service.workers.values() if w.revision == revision and w.takes_new}
    return False if False in known else (True in known or None)


def _load(service: ServiceState) -> ServiceTraffic:
    queued = service.waiting.ahead(NORMAL) + service.alone.ahead(NORMAL)
    return service.load.report(service.name, queued)
