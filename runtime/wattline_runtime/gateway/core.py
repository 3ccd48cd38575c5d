"""Core of the gateway, the only entry for changes: events in, effects out, no I/O.

Every Submitted is answered exactly once, unless it is Abandoned.
"""

from dataclasses import dataclass, field
from math import inf
from typing import assert_never

from wattline_runtime.gateway import events as e
from wattline_runtime.gateway.request_queue import RequestQueue, stopping
from wattline_runtime.gateway.state import ServiceState
from wattline_runtime.gateway.workers import WorkerPool

BEAT_PERIOD_S = 0.25
"""Interval of beats to workers; a send to a dead connection fails and reveals its end."""

STALL_CHECK_S = 0.1
"""Interval of checks for stalled workers, and for requests that wait for one too long."""

HEDGE_CHECK_S = 0.02
"""Interval of checks for requests that are late, while any service may hedge."""


@dataclass(slots=True)
class Gateway:
    """The complete state of a gateway; changes only through handle()."""

    queue_limit: int
    """Maximum of queued requests of one service; the next is refused at once."""
    hold_s: float
    """How long the requests of a service wait for a worker while none is ready."""
    queue: RequestQueue = field(init=False)
    pool: WorkerPool = field(init=False)
    _next_beat_s: float = 0.0
    _next_check_s: float = 0.0
    _next_hedge_s: float = inf

    def __post_init__(self) -> None:
        self.queue = RequestQueue(self.queue_limit)
        self.pool = WorkerPool(self.queue, self.hold_s)

    def handle(self, event: e.Event, now_s: float) -> list[e.Effect]:
        """Handle one event; the effects are to be executed in order."""
        match event:
            case e.Submitted():
                return self.queue.submit(event, now_s)
            case e.WorkerMessage():
                return self.pool.handle_message(event, now_s)
            case e.ChunksRead():
                return self.queue.release_chunks(event)
            case e.Abandoned():
                return self.queue.abandon(event.id, now_s)
            case e.Ticked():
                return self._ticked(now_s)
            case e.WorkerDisconnected():
                return self.pool.remove(event.connection, now_s)
            case e.RoutesChanged():
                return self.pool.routes_changed(event, now_s)
            case e.StopStarted():
                self.queue.is_stopping = True
                return []
            case e.HandoverChanged():
                return self.pool.handover_changed(event.phase, now_s)
            case e.GraceOver():
                return self.queue.answer_all(stopping())
            case _:
                assert_never(event)

    def wake_at_s(self) -> float:
        """When Ticked is due at the latest."""
        first_s = self.queue.first_deadline_s()
        due_s = min(self._next_beat_s, self._next_check_s, self._next_hedge_s)
        return due_s if first_s is None else min(first_s, due_s)

    def _ticked(self, now_s: float) -> list[e.Effect]:
        effects = self.queue.expire(now_s)
        if now_s >= self._next_check_s:
            self._next_check_s = now_s + STALL_CHECK_S
            effects.extend(self.queue.end_holds(now_s))
            effects.extend(self.pool.move_stalled(now_s))
            effects.extend(self.pool.compare_copies(now_s))
            self._next_hedge_s = min(self._next_hedge_s, now_s) if self.queue.may_hedge else inf
        if now_s >= self._next_hedge_s:
            self._next_hedge_s = now_s + HEDGE_CHECK_S
            effects.extend(self.queue.hedge_late(now_s))
        if now_s >= self._next_beat_s:
            self._next_beat_s = now_s + BEAT_PERIOD_S
            effects.extend(self.pool.beat_workers(now_s))
        return effects

    @staticmethod
    def _has_free(service: ServiceState) -> bool:
        first = service.waiting.first()
        return first is not None and service.free_worker(first) is not None

    def check_invariants(self) -> None:
        """Raise AssertionError unless the books agree: each request is in exactly one place."""
        waiting = {i for s in self.queue.services.values() for i in (*s.waiting, *s.alone)}
        waiting.update(self.queue.early or ())
        held = {(i, w.connection) for w in self.pool.workers.values() for i in w.in_flight}
        for request in self.queue.requests.values():
            if (request.worker is None) != (request.id in waiting):
                raise AssertionError(f"request {request.id} is not where it says it is")
            for holder in (request.worker, request.other):
                if holder is not None and (request.id, holder) not in held:
                    raise AssertionError(f"request {request.id} is not with its worker")
        if stray := waiting - self.queue.requests.keys():
            raise AssertionError(f"answered but still waiting: {stray}")
        for service in self.queue.services.values():
            reserved = service.workers.get(service.reserved or b"")
            every = [worker for worker in service.workers.values() if worker.takes_new]
            takers, tried = service.divided(every)
            if not all(worker in tried for worker in service.tried):
                raise AssertionError(f"service {service.name} tries workers of its pool")
            active = [worker for worker in takers if not worker.is_stalled] or takers
            if service.serving != ([w for w in active if not w.circuit.is_open] or active):
                raise AssertionError(f"service {service.name} has a stale list of workers")
            if service.serving and service.hold_until_s:
                raise AssertionError(f"requests of {service.name} wait for a worker that is ready")
            is_held = service.hold_until_s > 0
            if service.alone and not is_held and (reserved is None or not reserved.in_flight):
                raise AssertionError(f"requests of {service.name} wait for no reserved worker")
            if service.waiting and (not service.takes_new or self._has_free(service)):
                raise AssertionError(f"requests of {service.name} wait for nothing")
        for request_id, copy in self.queue.copies.by_request.items():
            is_out = copy.given is None and not copy.has_failed
            if is_out and (-request_id, copy.worker) not in held:
                raise AssertionError(f"the copy of request {request_id} is with no worker")
            if request_id not in self.queue.requests and copy.expected is None:
                raise AssertionError(f"the copy of request {request_id} is compared with nothing")
        for pair in self.queue.copies.at_model.values():
            if (pair.number, pair.worker) not in held:
                raise AssertionError(f"no worker compares the outputs of copy {pair.number}")
        for worker in self.pool.workers.values():
            if self.queue.services[worker.service].workers.get(worker.connection) is not worker:
                raise AssertionError(f"service {worker.service} does not know its worker")
