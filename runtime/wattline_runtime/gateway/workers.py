"""Workers of all services: authorization, liveness, and the requests of lost workers.

A slot of a worker is freed only by the worker's own answer: a request whose client has disconnected
counts until the worker reports that it dropped it.
"""

from dataclasses import dataclass, field
from typing import Literal

from wattline_protocol.wire.routes import WorkerRoute
from wattline_runtime.gateway import events as e
from wattline_runtime.gateway.admission import BatchPace
from wattline_runtime.gateway.request_queue import RequestQueue, poison, worker_lost
from wattline_runtime.gateway.revisions.comparisons import is_comparison, send_pairs
from wattline_runtime.gateway.state import Request, ServiceState, WorkerState
from wattline_runtime.gateway.streams.chunks import (
    NEVER_RAN,
    STREAM_LOST,
    continue_stream,
    end_of_stream,
    is_final,
    outcome,
)
from wattline_runtime.wire import (
    COMPARE,
    MAX_DETAIL_CHARS,
    OLDEST_WORKER_PROTOCOL_VERSION,
    PREDICT,
    WORKER_PROTOCOL_VERSION,
    Chunk,
    Failure,
    FromWorker,
    GatewayBeat,
    Reply,
    WorkerBeat,
    WorkerRefused,
    common_version,
    no_common_version,
)

WORKER_SILENCE_S = 3.0
"""A worker not heard for this long is considered lost."""
REVOKED_GRACE_S = 5.0
"""A worker that has lost its route may finish its requests for this long."""
WorkerEnd = Literal["ended", "silent", "alive"]
STALL_FACTOR = 3
"""A worker is not stalled before this many times its measured batch."""
MAX_WORKER_CAPACITY = 4096
"""Upper limit of a worker's declared capacity."""
MAX_BATCH_S = 3600.0
"""Upper limit of a worker's declared batch time."""


MAX_METHODS = 16
"""Of a worker's beat; more are ignored."""


@dataclass(slots=True)
class WorkerPool:
    """Every connected worker, and the routes that allow it."""

    queue: RequestQueue
    hold_s: float
    """How long the requests of a service wait for a worker while none is ready."""
    workers: dict[e.Connection, WorkerState] = field(default_factory=dict)
    is_handing_over: bool = False
    """A successor listens at this address: workers are to connect to it as well."""
    has_successor: bool = False
    """It has replaced this gateway, which only finishes what it has accepted."""
    ports: tuple[int, ...] = ()
    """Of all processes of this gateway, where it has several."""
    _routes_by_key: dict[str, tuple[str, WorkerRoute]] = field(default_factory=dict)

    def is_due(self, connection: e.Connection, message: FromWorker) -> bool:
        """Whether the message belongs to a request that the worker has; a beat does not."""
        worker = self.workers.get(connection)
        if isinstance(message, WorkerBeat) or worker is None or message.id not in worker.in_flight:
            return False
        if not isinstance(message, Chunk):
            return True
        request = self.queue.requests.get(message.id)
        return request is not None and request.kind.is_stream

    def handle_message(self, event: e.WorkerMessage, now_s: float) -> list[e.Effect]:
        """A message from a worker, or from another holder of a key."""
        worker = self.workers.get(event.connection)
        effects: list[e.Effect] = []
        if worker is not None and worker.route.public_key != event.public_key:
            effects = self.remove(event.connection, now_s, "its connection was reused")
            worker = None
        if isinstance(event.message, WorkerBeat):
            return [*effects, *self._beat(event, event.message, worker, now_s)]
        if worker is None:
            return effects  # from before this gateway knew it; the next beat resolves that
        worker.heard_s = now_s
        if isinstance(event.message, Chunk):
            return continue_stream(self.queue, worker, event.message, now_s)
        return self._finished(worker, event.message, now_s)

    # --- answers

    def _finished(
        self, worker: WorkerState, message: Reply | Failure, now_s: float
    ) -> list[e.Effect]:
        if message.id not in worker.in_flight:
            return []
        worker.in_flight.discard(message.id)
        service = self.queue.services[worker.service]
        has_changed = False
        request = self.queue.requests.get(message.id)
        compares = message.id in self.queue.copies.at_model or (
            request is not None and request.kind.method == COMPARE
        )
        message = service.measured(worker, message, now_s, is_output=not compares)
        if message.id < 0 and is_comparison(self.queue.copies, worker, message):
            worker.quiet_since_s = now_s
            return [*self.compare_copies(now_s), *self.queue.pump(service, now_s)]
        if is_final(message):  # what it drops is no progress: its model may hang all the same
            worker.quiet_since_s = now_s
            has_changed, worker.is_stalled = worker.is_stalled, False
        if isinstance(message, Reply):
            has_changed |= worker.circuit.note(failed=False)
        elif message.reason == "model_error":
            has_changed |= worker.circuit.note(failed=True)
        if has_changed:
            service.refresh(now_s)
        if worker not in service.tried:
            workers = len(service.serving)
            service.rate.finished(now_s, workers=workers, saturated=bool(service.waiting))
        if message.id < 0:
            self._copy_answered(message, now_s)
        effects = [] if request is None else self._settled(request, worker, message, now_s)
        if has_changed or service.waiting or service.reserved is not None:
            effects.extend(self.queue.pump(service, now_s))
        return effects

    def _settled(
        self, request: Request, worker: WorkerState, message: Reply | Failure, now_s: float
    ) -> list[e.Effect]:
        """Apply an answer to its request, which another worker may have as well."""
        is_main, is_other = request.worker == worker.connection, request.other == worker.connection
        if not is_main and not is_other and not isinstance(message, Reply):
            return []  # a failed probe
        service = self.queue.services[request.service]
        if request.has_begun:
            if not is_main:
                return []
            service.count(request, worker, now_s, message)
            return [self.queue.answer(request, end_of_stream(message))]
        if isinstance(message, Failure) and service.is_tried(worker):
            self._failed_on_trial(request, worker, message)
            return []
        if not is_final(message):
            if is_other:
                request.other = None
                return []
            if self._continues_elsewhere(request):
                return []
            if isinstance(message, Failure) and message.reason in NEVER_RAN:
                return self._returned(request, worker)
        if isinstance(message, Reply) and request.kind.method == PREDICT:
            service.hedging.answered(now_s - request.since_s)
        service.count(request, worker, now_s, message)
        effects: list[e.Effect] = []
        if not is_main or request.other is not None:
            request.worker = None if is_main else request.worker
            request.other = None if is_other else request.other
            effects = self.queue.drop(request)
        return [*effects, self.queue.answer(request, outcome(message))]

    def _returned(self, request: Request, worker: WorkerState) -> list[e.Effect]:
        """A worker did not run it: one that drains, or whose server is busy or broke off."""
        if worker.takes_new and request.returned_by is not None:
            request.worker = None
            refusal = e.Refusal("worker_lost", "two workers could not run it", retry_after_s=1)
            return [self.queue.answer(request, refusal)]
        if worker.takes_new:
            request.returned_by = worker.connection
        self.queue.requeue(request)
        return []

    def _failed_on_trial(self, request: Request, worker: WorkerState, message: Failure) -> None:
        """The pool answers it, at once or already."""
        if message.reason not in NEVER_RAN:
            request.failed_revision = worker.revision
        if request.other == worker.connection:
            request.other = None
        elif not self._continues_elsewhere(request):
            self.queue.requeue(request)

    def _copy_answered(self, message: Reply | Failure, now_s: float) -> None:
        if isinstance(message, Reply):
            self.queue.copies.answered(-message.id, message.output, now_s)
        elif message.reason in NEVER_RAN:
            self.queue.copies.dropped(-message.id)
        else:
            self.queue.copies.answered(-message.id, None, now_s)

    def compare_copies(self, now_s: float) -> list[e.Effect]:
        """Have models compare the outputs that wait for that."""
        self.queue.copies.expire(now_s)
        return send_pairs(self.queue.copies, self.workers, now_s) if self.queue.copies.due else []

    def _continues_elsewhere(self, request: Request) -> bool:
        """Whether a second worker that works still has it; it is then the only one."""
        other = self.workers.get(request.other or b"")
        if other is None or other.is_stalled:
            return False
        request.worker, request.other = request.other, None
        return True

    # --- beats

    def _beat(
        self, event: e.WorkerMessage, beat: WorkerBeat, worker: WorkerState | None, now_s: float
    ) -> list[e.Effect]:
        if worker is not None and worker.revoked_s is not None:
            worker.heard_s = now_s
            return []  # its grace time ends it
        why = self._objection(event.public_key, beat)
        if why:
            return [
                *self.remove(event.connection, now_s, why),
                e.Send(event.connection, WorkerRefused(why)),
                e.WorkerRejected(event.connection, event.public_key, why),
            ]
        effects: list[e.Effect] = []
        if worker is None and self.is_handing_over:
            why = "a successor at this address takes the workers"
            return [e.Send(event.connection, WorkerRefused(why))]
        if worker is None:
            worker, effects = self._join(event.connection, event.public_key, now_s)
        return [*effects, *self._update(worker, beat, now_s)]

    def _objection(self, public_key: str, beat: WorkerBeat) -> str:
        if not common_version(beat.protocol, beat.newest):
            return no_common_version(beat.protocol, beat.newest, "this gateway", "the worker")
        if public_key not in self._routes_by_key:
            return "no running task has this key"
        service, _ = self._routes_by_key[public_key]
        if service != beat.service:
            return f"this key belongs to service {service!r}, not {beat.service[:100]!r}"
        return ""

    def _join(
        self, connection: e.Connection, public_key: str, now_s: float
    ) -> tuple[WorkerState, list[e.Effect]]:
        service_name, route = self._routes_by_key[public_key]
        effects: list[e.Effect] = []
        for other in [w for w in self.workers.values() if w.route.public_key == public_key]:
            effects.extend(self.remove(other.connection, now_s, "it reconnected", "alive"))
        worker = WorkerState(connection, route, service_name, heard_s=now_s)
        self.workers[connection] = worker
        self.queue.services[service_name].workers[connection] = worker
        effects.append(e.Send(connection, self._gateway_beat()))
        effects.append(e.WorkerJoined(connection, route, service_name))
        return worker, effects

    def _update(self, worker: WorkerState, beat: WorkerBeat, now_s: float) -> list[e.Effect]:
        worker.heard_s = now_s
        worker.capacity = max(0, min(beat.capacity, MAX_WORKER_CAPACITY))
        batch_s, lone_s = (max(0.0, min(s, MAX_BATCH_S)) for s in (beat.batch_s, beat.lone_s))
        worker.pace = BatchPace(max(2, worker.capacity // 2), batch_s, lone_s)
        if 0 < beat.batch_age_s < now_s - worker.quiet_since_s:
            # It has begun a batch since: it works, if only for another gateway.
            worker.quiet_since_s, worker.is_stalled = now_s - beat.batch_age_s, False
        elif not beat.running and not worker.in_flight:
            worker.is_stalled = False
        worker.serves_two = beat.serves_two
        worker.methods = beat.methods[:MAX_METHODS]
        worker.takes_bytes = beat.takes_bytes
        worker.compares = beat.compares
        worker.progress = beat.progress[:MAX_DETAIL_CHARS]
        effects: list[e.Effect] = []
        if beat.is_draining and not worker.is_draining:
            worker.is_draining = True
            effects.append(e.Send(worker.connection, self._gateway_beat(drain_seen=True)))
        service = self.queue.services[worker.service]
        service.idled(worker, beat.idle_uj, now_s)
        service.refresh(now_s)
        return [*effects, *self.queue.pump(service, now_s)]

    # --- stalls

    def move_stalled(self, now_s: float) -> list[e.Effect]:
        """Try requests elsewhere whose worker shows no progress; the first answer counts."""
        effects: list[e.Effect] = []
        for worker in list(self.workers.values()):
            service = self.queue.services[worker.service]
            stuck = self._stuck(worker, now_s)
            if not worker.is_stalled and (stuck or self._keeps_waiting(worker, service, now_s)):
                worker.is_stalled = True
                service.refresh(now_s)
            others = [w for w in service.serving if not w.is_stalled]
            if stuck and others:
                for request in reversed(stuck):  # so that the oldest is first
                    request.was_moved, request.other = True, worker.connection
                    if service.is_tried(worker):
                        request.failed_revision = worker.revision
                    self.queue.requeue(request)
                moved = len(stuck)
                effects.append(
                    e.WorkerStalled(worker.connection, worker.route, service.name, moved)
                )
            if worker.is_stalled:
                effects.extend(self.queue.pump(service, now_s))
        return effects

    @staticmethod
    def _keeps_waiting(worker: WorkerState, service: ServiceState, now_s: float) -> bool:
        """Whether it makes no progress with slots of abandoned requests, while others wait."""
        quiet_s = now_s - worker.quiet_since_s
        first = service.waiting.first()
        if first is None or not worker.in_flight or quiet_s < STALL_FACTOR * worker.pace.batch_s:
            return False
        return min(quiet_s, now_s - first.since_s) >= first.patience_s

    def _stuck(self, worker: WorkerState, now_s: float) -> list[Request]:
        """Requests of a worker that wait longer for progress than they can afford, oldest first."""
        quiet_s = now_s - worker.quiet_since_s
        if not worker.in_flight or quiet_s < STALL_FACTOR * worker.pace.batch_s:
            return []
        held = (self.queue.requests.get(request_id) for request_id in sorted(worker.in_flight))
        return [
            request
            for request in held
            if request is not None
            and request.worker == worker.connection
            and not request.was_moved
            and not request.has_begun
            and not request.losses  # it may be the reason that its worker hangs
            and min(quiet_s, now_s - request.sent_s) >= request.patience_s
        ]

    # --- ends

    def remove(
        self,
        connection: e.Connection,
        now_s: float,
        why: str = "its connection ended",
        end: WorkerEnd = "ended",
    ) -> list[e.Effect]:
        """Remove a worker from the books; each of its requests is retried once, or given up.

        `end`: "ended" by itself, perhaps because of a request; "silent", with its host or frozen;
        "alive", removed for another reason.
        """
        worker = self.workers.pop(connection, None)
        if worker is None:
            return []
        service = self.queue.services[worker.service]
        del service.workers[connection]
        service.refresh(now_s)
        self.queue.copies.lost(connection)
        effects: list[e.Effect] = []
        retried = 0
        for request_id in sorted(worker.in_flight, reverse=True):  # so that the oldest is first
            request = self.queue.requests.get(request_id)
            if request is None:
                continue
            if request.worker != connection or self._continues_elsewhere(request):
                request.other = None if request.other == connection else request.other
                request.losses += end != "alive"
                request.ended += end == "ended"
            else:
                lost = self._lost(request, service, worker, now_s, end)
                effects.extend(lost)
                retried += not lost
        left = e.WorkerLeft(connection, worker.route, worker.service, why, retried)
        return [*effects, left, *self.queue.pump(service, now_s)]

    def _lost(
        self,
        request: Request,
        service: ServiceState,
        worker: WorkerState,
        now_s: float,
        end: WorkerEnd,
    ) -> list[e.Effect]:
        if request.has_begun:
            request.worker = None
            service.traffic_of(worker.revision).failed()
            return [self.queue.answer(request, e.Refusal("worker_lost", STREAM_LOST))]
        if service.is_tried(worker):
            request.failed_revision = worker.revision if end != "alive" else 0
            self.queue.requeue(request)
            return []
        if end == "alive" and service.takes_new:
            self.queue.requeue(request)
            return []
        request.losses += 1
        request.ended += end == "ended"
        if request.losses == 1 and not request.was_moved and service.takes_new:
            self.queue.requeue(request)
            return []
        if request.was_alone and request.ended == request.losses:
            self.queue.refuse_as_poison(request, now_s)
            refusal = poison()
        else:
            refusal = worker_lost(request)
        request.worker = None
        return [*self.queue.drop(request), self.queue.answer(request, refusal)]

    def beat_workers(self, now_s: float) -> list[e.Effect]:
        """Once a beat period: send a beat to each worker, and remove silent ones."""
        effects: list[e.Effect] = []
        for worker in list(self.workers.values()):
            if now_s - worker.heard_s > WORKER_SILENCE_S:
                effects.extend(self.remove(worker.connection, now_s, "no heartbeat", "silent"))
            elif why := self._may_leave(worker, now_s):
                effects.append(e.Send(worker.connection, WorkerRefused(why)))
                effects.extend(self.remove(worker.connection, now_s, why, "alive"))
            else:
                beat = self._gateway_beat(drain_seen=worker.is_draining, move=self.is_handing_over)
                effects.append(e.Send(worker.connection, beat))
                effects.extend(_note_circuit(worker))
        self._forget_ended_services()
        return effects

    def _may_leave(self, worker: WorkerState, now_s: float) -> str:
        """Why this worker is no longer needed here; empty = it is."""
        if worker.revoked_s is not None:
            is_over = now_s - worker.revoked_s > REVOKED_GRACE_S
            return "its task has ended" if is_over or not worker.in_flight else ""
        if self.has_successor and not worker.serves_two and not worker.in_flight:
            return "another gateway serves at this address now"
        return ""

    def _gateway_beat(self, *, drain_seen: bool = False, move: bool = False) -> GatewayBeat:
        oldest, newest = OLDEST_WORKER_PROTOCOL_VERSION, WORKER_PROTOCOL_VERSION
        return GatewayBeat(oldest, drain_seen, move, newest, self.ports)

    # --- handover

    def handover_changed(
        self, phase: Literal["begun", "ready", "ended"], now_s: float
    ) -> list[e.Effect]:
        """Send beats at once: they request the workers' second connections, or no longer do."""
        self.is_handing_over = phase != "ended"
        self.has_successor = phase == "ready"
        return self.beat_workers(now_s)

    @property
    def movable(self) -> int:
        """Number of ready workers that connect to a successor while they are connected here."""
        return sum(worker.takes_new and worker.serves_two for worker in self.workers.values())

    # --- routes

    def routes_changed(self, event: e.RoutesChanged, now_s: float) -> list[e.Effect]:
        """Apply the new set of routes; workers without a route get no new requests."""
        services, routes = self.queue.services, event.services
        self._routes_by_key = {
            route.public_key: (name, route) for name, named in routes.items() for route in named
        }
        for service in services.values():
            service.is_listed = service.name in routes
        for name, named in routes.items():
            if name not in services:
                services[name] = ServiceState(name, self.hold_s)
                services[name].hold(now_s)
            services[name].routes = named
            services[name].trial.change(event.splits.get(name))
        for worker in self.workers.values():
            route_service, _ = self._routes_by_key.get(worker.route.public_key, ("", None))
            if route_service != worker.service and worker.revoked_s is None:
                worker.revoked_s = now_s
        effects: list[e.Effect] = []
        if self.queue.early is not None:
            effects.extend(self.queue.admit_early(now_s))
        for service in services.values():
            service.refresh(now_s)
            service.forget_revisions()
            effects.extend(self.queue.pump(service, now_s))
        self._forget_ended_services()
        return effects

    def _forget_ended_services(self) -> None:
        services = self.queue.services
        for name in [s.name for s in services.values() if not s.is_listed and not s.workers]:
            del services[name]  # its queue is empty: without workers nothing waits


def _note_circuit(worker: WorkerState) -> list[e.Effect]:
    circuit = worker.circuit
    if circuit.is_open == circuit.noted_open:
        return []
    circuit.noted_open = circuit.is_open
    return [e.CircuitChanged(worker.connection, worker.route, worker.service, circuit.why)]
