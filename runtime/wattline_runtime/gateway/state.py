"""The gateway's books: requests, workers, services. Plain data; `core` changes it."""

from collections import OrderedDict
from dataclasses import dataclass, field

from wattline_protocol.wire.client_messages import WorkerRoute
from wattline_runtime.gateway.admission import ServiceRate
from wattline_runtime.gateway.events import Connection


@dataclass(slots=True)
class Request:
    """One input of a waiting client."""

    id: int
    service: str
    input: bytes
    deadline_s: float
    worker: Connection | None = None
    """None: it is in the gateway's queue."""
    losses: int = 0
    """Workers lost while they processed it."""


@dataclass(slots=True)
class WorkerState:
    """One connected worker."""

    connection: Connection
    route: WorkerRoute
    service: str
    heard_s: float
    capacity: int = 0
    """0: still loading its model."""
    is_draining: bool = False
    revoked_s: float | None = None
    """Since when it has no route; it may finish its requests, for a limited time."""
    in_flight: set[int] = field(default_factory=set)
    """Sent and not answered by the worker, including those of disconnected clients."""
    last_sent: int = 0
    """Increases with every dispatch of the gateway: breaks ties in turn."""

    @property
    def takes_new(self) -> bool:
        """True: it serves its service, though it may have no free slot now."""
        return self.capacity > 0 and not self.is_draining and self.revoked_s is None

    @property
    def has_slot(self) -> bool:
        """True: one more request may be sent now."""
        return self.takes_new and len(self.in_flight) < self.capacity


@dataclass(slots=True)
class ServiceState:
    """One service: its workers and its queued requests."""

    name: str
    is_listed: bool = True
    """False: the site no longer has this service; its last workers may still finish."""
    routes: tuple[WorkerRoute, ...] = ()
    workers: dict[Connection, WorkerState] = field(default_factory=dict)
    waiting: OrderedDict[int, Request] = field(default_factory=OrderedDict)
    rate: ServiceRate = field(default_factory=ServiceRate)

    @property
    def in_flight(self) -> int:
        """Number of requests at workers."""
        return sum(len(worker.in_flight) for worker in self.workers.values())

    @property
    def takes_new(self) -> bool:
        """True: at least one worker serves."""
        return any(worker.takes_new for worker in self.workers.values())

    def free_worker(self) -> WorkerState | None:
        """The least loaded worker with a free slot; among equals the one that waited longest."""
        free = [worker for worker in self.workers.values() if worker.has_slot]
        if not free:
            return None
        return min(free, key=lambda w: (len(w.in_flight) / w.capacity, w.last_sent))
