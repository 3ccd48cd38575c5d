"""Snapshots of metrics and services of a gateway process; those of several processes add up."""

from collections.abc import Iterable

import msgspec

from wattline_protocol.http.guard import HttpGuard
from wattline_runtime.gateway.access.check import Access
from wattline_runtime.gateway.answers.answers import Answers
from wattline_runtime.gateway.shell import GatewayShell
from wattline_runtime.gateway.state import READINESS, ServiceState
from wattline_runtime.gateway.telemetry.figures import Figures, figures


class WorkerNow(msgspec.Struct):
    """A worker of a service, in `GET /v1/services`."""

    task: str
    state: str
    capacity: int
    in_flight: int
    batch_s: float
    methods: tuple[str, ...] = ()
    progress: str = ""
    """Of a model that loads."""
    connections: int = 1
    """Processes of the gateway that it is connected to."""


class ServiceNow(msgspec.Struct):
    """A service, in `GET /v1/services`."""

    name: str
    queue_length: int
    in_flight: int
    workers: list[WorkerNow]
    owner: str = ""
    revision: int | None = None
    """The job that serves; during a rollout the old one. None: no worker has a route."""

    def add(self, other: "ServiceNow") -> None:
        """Add what another process has of it."""
        self.queue_length += other.queue_length
        self.in_flight += other.in_flight
        self.owner, self.revision = other.owner, other.revision
        mine = {worker.task: worker for worker in self.workers}
        for theirs in other.workers:
            worker = mine.get(theirs.task)
            if worker is None:
                self.workers.append(msgspec.structs.replace(theirs))
                continue
            worker.state = min(worker.state, theirs.state, key=READINESS.index)
            worker.capacity += theirs.capacity
            worker.in_flight += theirs.in_flight
            worker.batch_s = max(worker.batch_s, theirs.batch_s)
            worker.connections += theirs.connections
            worker.progress = worker.progress or theirs.progress


class Snapshot(msgspec.Struct):
    """Of one process, or of all."""

    figures: Figures
    services: list[ServiceNow]

    def as_json(self, seen: frozenset[str] | None) -> dict[str, object]:
        """Body of `GET /v1/services`; `seen`: those that the client may know of, None = all."""
        shown = [one for one in self.services if seen is None or one.name in seen]
        built = [msgspec.to_builtins(one) for one in shown]
        for service in built:
            for worker in service["workers"]:
                del worker["connections"]
                if not worker["progress"]:
                    del worker["progress"]
        return {"services": built}


def whole(snapshots: Iterable[Snapshot], ended: Figures) -> Snapshot:
    """All processes as one; `ended`: what those counted that are no more. A worker that is not
    connected to each is still loading."""
    total, services, processes = Figures(), dict[str, ServiceNow](), 0
    total.add(ended, has_ended=True)
    for one in snapshots:
        processes += 1
        total.add(one.figures)
        for service in one.services:
            first = ServiceNow(service.name, 0, 0, [])
            services.setdefault(service.name, first).add(service)
    for service in services.values():
        for worker in service.workers:
            if worker.connections < processes:
                worker.state = READINESS[0]
    return Snapshot(total, list(services.values()))


class Observer:
    """Takes snapshots of this process."""

    def __init__(
        self, shell: GatewayShell, answers: Answers, guard: HttpGuard, access: Access
    ) -> None:
        self._shell, self._answers = shell, answers
        self._guard, self._access = guard, access

    def now(self) -> Snapshot:
        """The present state."""
        shell = self._shell
        found = figures(
            shell.stats,
            shell.gateway,
            shell.socket.server.refused,
            self._guard.refused,
            self._answers.caches,
            self._access.failed.total,
        )
        listed = [s for s in shell.gateway.queue.services.values() if s.is_listed]
        owners = shell.owners
        return Snapshot(found, [_describe(one, owners.get(one.name, "")) for one in listed])

    async def look(self) -> Snapshot:
        """The same, where this process is the whole gateway."""
        return self.now()


def _describe(service: ServiceState, owner: str) -> ServiceNow:
    revisions = {route.ref.job for route in service.routes}
    serving = (revisions - {service.trial.revision}) or revisions
    workers = [
        WorkerNow(
            str(worker.route.ref),
            worker.status,
            worker.capacity,
            len(worker.in_flight),
            round(worker.pace.batch_s, 6),
            worker.methods,
            worker.progress,
        )
        for worker in service.workers.values()
    ]
    revision = min(serving, default=None)
    return ServiceNow(service.name, service.queued, service.in_flight, workers, owner, revision)
