"""The gateway's books: requests, workers, services. Plain data; `core` changes it."""

from dataclasses import dataclass, field
from math import inf

import msgspec
from msgspec.structs import replace

from wattline_protocol.wire.rollouts import MeasuredEnergy
from wattline_protocol.wire.routes import WorkerRoute
from wattline_runtime.gateway.admission import BatchPace, ServiceRate
from wattline_runtime.gateway.balance.circuit import PROBE_PERIOD_S, Circuit
from wattline_runtime.gateway.balance.class_queue import ClassQueue
from wattline_runtime.gateway.balance.hedging import Hedging
from wattline_runtime.gateway.events import PLAIN, Connection, RequestKind
from wattline_runtime.gateway.revisions.load_counts import LoadCounts
from wattline_runtime.gateway.revisions.reported_energy import ReportedEnergy
from wattline_runtime.gateway.revisions.rises import RiseWatch
from wattline_runtime.gateway.revisions.trial import Traffic, Trial
from wattline_runtime.wire import COMPARE, PREDICT, Failure, Reply, possible_tokens

UNKNOWN_PACE = BatchPace(size=1, batch_s=0.0, lone_s=0.0)

READINESS = ("loading", "draining", "stalled", "probed", "ready")
"""States of a worker; of several processes the first one counts."""


class Request(msgspec.Struct):
    """One input of a waiting client."""

    id: int
    service: str
    input: bytes
    deadline_s: float
    since_s: float = 0.0
    """When it arrived."""
    worker: Connection | None = None
    """None: it is in the gateway's queue."""
    patience_s: float = inf
    """A worker without an answer for this long is stalled, as far as this request is concerned."""
    sent_s: float = 0.0
    """When it was last sent to a worker."""
    other: Connection | None = None
    """A worker that has it as well, stalled or late; the first answer counts."""
    was_moved: bool = False
    """It was sent elsewhere because its worker was stalled or late: only once."""
    was_alone: bool = False
    """It was sent to a worker that held nothing else, since a lost worker had it."""
    losses: int = 0
    """Workers lost while they processed it."""
    ended: int = 0
    """Those of them that ended by themselves, rather than with their host."""
    failed_revision: int = 0
    """The revision on trial that failed at it; 0 = none."""
    kind: RequestKind = PLAIN
    budget_s: float = 0.0
    """Time until its deadline when it arrived; of a stream, from each chunk to the next one too."""
    returned_by: Connection | None = None
    """The worker that returned it though it takes requests: another one is tried, once."""
    has_begun: bool = False
    """The client has a part of its answer: it can be answered nowhere else."""
    unread: int = 0
    """Chunks that its client has not read yet."""
    unread_bytes: int = 0


@dataclass(slots=True)
class WorkerState:
    """One connected worker."""

    connection: Connection
    route: WorkerRoute
    service: str
    heard_s: float
    capacity: int = 0
    """Requests it may have at once, two measured batches; 0: still loading its model."""
    pace: BatchPace = UNKNOWN_PACE
    is_draining: bool = False
    serves_two: bool = False
    """It can serve a gateway and the successor at the same address."""
    revoked_s: float | None = None
    """Since when it has no route; it may finish its requests, for a limited time."""
    in_flight: set[int] = field(default_factory=set)
    """Sent and not answered by the worker, including those of disconnected clients."""
    last_sent: int = 0
    """Increases with every dispatch of the gateway: breaks ties in turn."""
    quiet_since_s: float = 0.0
    """Its newest sign of progress: an answer, a first request, the start of a batch."""
    is_stalled: bool = False
    """No progress for too long, and none since: others are preferred."""
    circuit: Circuit = field(default_factory=Circuit)
    methods: tuple[str, ...] = (PREDICT,)
    takes_bytes: bool = False
    compares: bool | None = None
    """Its model can compare two outputs; None: unknown."""
    progress: str = ""
    """While it loads: what its model reports."""
    energy: ReportedEnergy = field(init=False)

    def __post_init__(self) -> None:
        """It is heard for the first time."""
        self.energy = ReportedEnergy(self.heard_s)

    def offers(self, request: Request) -> bool:
        """Whether its model can answer a request of this kind."""
        kind = request.kind
        if kind.method == COMPARE:
            return self.compares is True
        return kind.method in self.methods and (self.takes_bytes or not kind.is_bytes)

    @property
    def revision(self) -> int:
        """The revision of its service: the number of its job."""
        return self.route.ref.job

    @property
    def takes_new(self) -> bool:
        """True: it serves its service, though it may have no free slot now."""
        return self.capacity > 0 and not self.is_draining and self.revoked_s is None

    @property
    def status(self) -> str:
        """Its state, as `/v1/services` shows it."""
        if self.capacity == 0:
            return "loading"
        if not self.takes_new:
            return "draining"
        if self.is_stalled:
            return "stalled"
        return "probed" if self.circuit.is_open else "ready"

    @property
    def has_slot(self) -> bool:
        """True: one more request may be sent now."""
        return self.takes_new and len(self.in_flight) < self.capacity


@dataclass(slots=True)
class ServiceState:
    """One service: its workers and its queued requests."""

    name: str
    hold_s: float = 0.0
    """How long requests wait for a worker while none is ready."""
    hold_until_s: float = 0.0
    """Until when they wait now; 0: a worker is ready, or the hold is over."""
    is_listed: bool = True
    """False: the site no longer has this service; its last workers may still finish."""
    routes: tuple[WorkerRoute, ...] = ()
    workers: dict[Connection, WorkerState] = field(default_factory=dict)
    waiting: ClassQueue[Request] = field(default_factory=ClassQueue)
    alone: ClassQueue[Request] = field(default_factory=ClassQueue)
    """Queued requests that a lost worker had: each may be the reason, so each is retried alone."""
    reserved: Connection | None = None
    """The worker that retries them, one by one, and takes nothing else meanwhile."""
    serving: list[WorkerState] = field(default_factory=list)
    """Its workers that take requests; open circuits and stalled ones only without others."""
    is_timed: bool = False
    """Each of them has measured its batches."""
    probed: list[WorkerState] = field(default_factory=list)
    """Workers that get probes only: their circuit is open, and others serve."""
    trial: Trial = field(default_factory=Trial)
    """The revision on trial, if there is one."""
    tried: list[WorkerState] = field(default_factory=list)
    """Its workers that take requests, while others serve: they are no part of `serving`."""
    traffic: dict[int, Traffic] = field(default_factory=dict)
    """By revision."""
    load: LoadCounts = field(default_factory=LoadCounts)
    rises: RiseWatch = field(default_factory=RiseWatch)
    is_plain: bool = True
    """Each of `serving` offers what a request without a kind of its own needs."""
    hedging: Hedging = field(default_factory=Hedging)
    pace: BatchPace = UNKNOWN_PACE
    """Of the slowest of them."""
    rate: ServiceRate = field(default_factory=ServiceRate)

    @property
    def in_flight(self) -> int:
        """Number of requests at workers, but for those of a revision on trial."""
        held = 0
        for worker in self.workers.values():  # without a list: it is counted for each request
            held += len(worker.in_flight)
        return held - sum([len(worker.in_flight) for worker in self.tried]) if self.tried else held

    @property
    def queued(self) -> int:
        """Number of requests that are with no worker."""
        return len(self.waiting) + len(self.alone)

    def refresh(self, now_s: float) -> None:
        """Recompute what depends on its workers' states; to be called when one has changed."""
        takers = [worker for worker in self.workers.values() if worker.takes_new]
        if takers or not self.is_listed:
            self.hold_until_s = 0.0
        elif self.serving:
            self.hold(now_s)
        takers, tried = self.divided(takers)
        self.tried = [w for w in tried if not w.is_stalled and not w.circuit.is_open]
        self._compare(takers)
        active = [worker for worker in takers if not worker.is_stalled] or takers
        self.serving = [worker for worker in active if not worker.circuit.is_open] or active
        self.probed = [worker for worker in active if worker not in self.serving]
        self.is_plain = all(PREDICT in worker.methods for worker in self.serving)
        self.is_timed = all(worker.pace.lone_s for worker in self.serving)
        paces = (worker.pace for worker in self.serving)
        self.pace = max(paces, key=lambda pace: pace.mean_s, default=UNKNOWN_PACE)

    def divided(self, takers: list[WorkerState]) -> tuple[list[WorkerState], list[WorkerState]]:
        """The pool, and the workers on trial: without a pool there is no trial."""
        pool = [worker for worker in takers if worker.revision != self.trial.revision]
        if not pool or len(pool) == len(takers):
            return takers, []
        return pool, [worker for worker in takers if worker.revision == self.trial.revision]

    def is_tried(self, worker: WorkerState) -> bool:
        """Whether the worker is on trial, and others answer what it fails at."""
        is_on_trial = self.trial.is_guarded and worker.revision == self.trial.revision
        return is_on_trial and any(one.revision != worker.revision for one in self.serving)

    def traffic_of(self, revision: int) -> Traffic:
        """Its requests so far."""
        found = self.traffic.get(revision)
        if found is None:
            found = self.traffic[revision] = Traffic()
        return found

    def measured(
        self, worker: WorkerState, message: Reply | Failure, now_s: float, *, is_output: bool
    ) -> Reply | Failure:
        """Counts the energy of an answer, whether or not a client gets it; the answer without an
        energy that cannot be true. `is_output`: if it has one, it is an output of the service."""
        energy_uj = worker.energy.answered(message.energy_uj, now_s)
        if energy_uj is None:
            return message if message.energy_uj is None else replace(message, energy_uj=None)
        tokens = possible_tokens(message.tokens) if isinstance(message, Reply) else 0
        energy = MeasuredEnergy(energy_uj, 0, int(is_output and isinstance(message, Reply)), tokens)
        traffic = self.traffic_of(worker.revision)
        traffic.energy = traffic.energy.plus(energy)
        return message

    def idled(self, worker: WorkerState, idle_uj: int | None, now_s: float) -> None:
        """Counts the energy of a worker that no answer carries."""
        if grown_uj := worker.energy.idled(idle_uj, now_s):
            traffic = self.traffic_of(worker.revision)
            traffic.energy = traffic.energy.plus(MeasuredEnergy(idle_uj=grown_uj))

    def count(
        self, request: Request, worker: WorkerState, now_s: float, message: Reply | Failure
    ) -> None:
        """Counts the answer that a client gets: for its revision, and for one that failed at it."""
        if request.kind.method == COMPARE:
            return
        if isinstance(message, Reply):
            if not request.has_begun:
                self.load.begun(request.kind, now_s - request.since_s)
            self.traffic_of(worker.revision).answered(now_s - request.sent_s)
        else:
            self.traffic_of(worker.revision).failed(is_error=message.reason != "bad_input")
        if request.failed_revision not in (0, worker.revision):
            self.traffic_of(request.failed_revision).failed(is_error=isinstance(message, Reply))

    def forget_revisions(self) -> None:
        """Drops the traffic of revisions without routes and workers."""
        revisions: set[int] = {route.ref.job for route in self.routes}
        revisions |= {worker.revision for worker in self.workers.values()}
        self.traffic = {n: traffic for n, traffic in self.traffic.items() if n in revisions}

    def worker_on_trial(self, request: Request) -> WorkerState | None:
        """The least loaded worker on trial that can answer it and has a free slot."""
        free = [worker for worker in self.tried if worker.has_slot and worker.offers(request)]
        return min(free, key=lambda w: (len(w.in_flight), w.last_sent), default=None)

    @staticmethod
    def _compare(takers: list[WorkerState]) -> None:
        lone_s = [worker.pace.lone_s for worker in takers if worker.pace.lone_s]
        for worker in takers:
            worker.circuit.compare(worker.pace.lone_s, lone_s)

    def hold(self, now_s: float) -> None:
        """It has no ready worker from now on; requests wait for one, for a limited time."""
        self.hold_until_s = now_s + self.hold_s if self.hold_s else 0.0

    @property
    def takes_new(self) -> bool:
        """True: at least one worker serves, or is waited for."""
        return bool(self.serving) or self.hold_until_s > 0

    def wait_s(self, ahead: int) -> float | None:
        """Expected time to the answer of a request behind `ahead` others, those that lie in
        workers included; None: unknown."""
        share = (ahead + 1) / max(1, len(self.serving))
        worker_s = self.rate.worker_s()
        if worker_s is None:
            return self.pace.expected_s(share)
        return share * worker_s + self.pace.mean_s

    def offers(self, request: Request) -> bool:
        """Whether any of its workers can answer it; True while none is known."""
        if (request.kind is PLAIN and self.is_plain) or not self.serving:
            return True
        return any(worker.offers(request) for worker in self.serving)

    def free_worker(self, request: Request, but: Connection | None = None) -> WorkerState | None:
        """The worker that would answer this request too, and first, if it has a free slot.

        None where it has none, though another one may: that one would answer later. Among equals
        the one with the smallest share of its slots taken, then the one that waited longest.
        """
        serving = self.serving
        if len(serving) == 1:
            [only] = serving
            is_free = only.has_slot and only.connection not in (self.reserved, but)
            return only if is_free and only.offers(request) else None
        may_differ = request.kind is not PLAIN or not self.is_plain
        best: WorkerState | None = None
        best_key = (inf, inf, 0)
        for worker in serving:
            held, capacity = len(worker.in_flight), worker.capacity
            is_full = held >= capacity
            if worker.connection in (self.reserved, but) or (is_full and not self.is_timed):
                continue
            if may_differ and not worker.offers(request):
                continue
            if worker.connection == request.returned_by:
                continue
            end_s = 0.0
            if self.is_timed:
                queued = len(self.waiting) // len(serving) if is_full else 0
                end_s = worker.pace.finish_s(held + 1 + queued)
            key = (end_s, held / capacity, worker.last_sent)
            if key < best_key:
                best, best_key = worker, key
        return best if best is not None and best.has_slot else None

    @property
    def may_hedge(self) -> bool:
        """Whether a request that is late may be sent to a second worker."""
        return len(self.serving) > 1 and not self.queued and self.hedging.is_allowed

    def due_probe(self, now_s: float) -> WorkerState | None:
        """A worker that gets the next request as well, to show whether it has recovered."""
        for worker in self.probed:
            if not worker.in_flight and worker.circuit.probe_at_s <= now_s:
                worker.circuit.probe_at_s = now_s + PROBE_PERIOD_S
                return worker
        return None

    def reserve(self, request: Request) -> WorkerState | None:
        """The reserved worker; the least loaded one that can answer replaces it once it no longer
        serves."""
        able = [worker for worker in self.serving if worker.offers(request)]
        reserved = next((w for w in able if w.connection == self.reserved), None)
        if reserved is None and able:
            reserved = min(able, key=lambda w: (len(w.in_flight), w.last_sent))
        self.reserved = None if reserved is None else reserved.connection
        return reserved
