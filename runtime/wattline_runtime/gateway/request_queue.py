"""Requests of all services: admission, dispatch to workers, deadlines."""

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from hashlib import sha256
from heapq import heapify, heappop, heappush
from math import inf

from wattline_runtime.gateway import events as e
from wattline_runtime.gateway.admission import retry_after_s
from wattline_runtime.gateway.balance.class_queue import ClassQueue
from wattline_runtime.gateway.revisions.copies import Copies, Copy
from wattline_runtime.gateway.state import Request, ServiceState, WorkerState
from wattline_runtime.wire import MAX_DETAIL_CHARS, PREDICT, CancelInfer, Infer, MoreChunks

ADMIT_SHARE = 0.8
"""Share of its time budget a request may expect to wait: an estimate that just fits often fails."""
BATCH_ADMIT_SHARE = 0.5
"""The same for priority `batch`: later requests of other classes will be sent before it."""
PATIENCE_SHARE = 1 / 3
"""Share of its time budget after which a request in a stalled worker is tried elsewhere."""
EXPIRE_SLACK_S = 0.005
"""A deadline this close counts as reached: the timer need not fire again for it."""
POISON_S = 60.0
"""How long an input that ended two workers is refused."""
STALE_DEADLINES_MAX = 4096
"""Deadlines of answered requests in the heap before it is cleaned up."""


@dataclass(slots=True)
class RequestQueue:
    """Each request is in one place: in its service's queue, or with a worker."""

    queue_limit: int
    early: OrderedDict[int, Request] | None = field(default_factory=OrderedDict)
    """Requests before the first routes, of whatever service; None once these are known."""
    services: dict[str, ServiceState] = field(default_factory=dict)
    requests: dict[int, Request] = field(default_factory=dict)
    copies: Copies = field(default_factory=Copies)
    """Copies of requests at workers of revisions on trial."""
    public: Collection[str] = ()
    """Names of routes, which clients know as services."""
    is_stopping: bool = False
    _deadlines: list[tuple[float, int]] = field(default_factory=list)
    _dispatches: int = 0
    _poison: dict[tuple[str, bytes], float] = field(default_factory=dict)
    """Services and digests of inputs that are refused, and until when."""

    # --- arrival

    def submit(self, event: e.Submitted, now_s: float) -> list[e.Effect]:
        """Send to a free worker, queue, or refuse at once."""
        service = self.services.get(event.service) if self.early is None else None
        if service is not None:
            service.load.arrived(event.kind)
        return self._admit(event, now_s)

    def _admit(self, event: e.Submitted, now_s: float) -> list[e.Effect]:
        refusal = self._refusal(event, now_s)
        if refusal is None:
            return self._enter(event, now_s)
        if refusal.reason == "queue_full" and self.early is None:
            service = self.services[event.service]
            lower = service.waiting.newest_below(event.kind.rank)
            budget_s = event.deadline_s - now_s
            slow = self._too_slow(service, event.kind.rank, budget_s, service.in_flight)
            if lower is not None and slow is None:
                # Only one, also where those of a lost worker exceed the limit by thousands.
                service.waiting.remove(lower)
                return [self.answer(lower, refusal), *self._enter(event, now_s)]
        if self.early is None and event.service in self.services:
            self.services[event.service].load.ended(event.kind, refusal)
        return [e.Answer(event.id, event.service, refusal)]

    def _enter(self, event: e.Submitted, now_s: float) -> list[e.Effect]:
        request = Request(event.id, event.service, event.input, event.deadline_s, now_s)
        request.budget_s = event.deadline_s - now_s
        request.patience_s = request.budget_s * PATIENCE_SHARE
        request.kind = event.kind
        self.requests[request.id] = request
        self._note_deadline(request)
        if self.early is not None:
            self.early[request.id] = request
            return []
        service = self.services[event.service]
        if not service.offers(request):
            return [self.answer(request, no_method(service, request))]
        service.hedging.arrived()
        if service.tried:
            copied = self._copy(request, service, now_s)
            if service.trial.takes_request() and (tried := service.worker_on_trial(request)):
                return [*copied, self._dispatch(request, tried, now_s)]
            return [*copied, *self._place(request, service, now_s)]
        return self._place(request, service, now_s)

    def _place(self, request: Request, service: ServiceState, now_s: float) -> list[e.Effect]:
        worker = None if service.waiting else service.free_worker(request)
        if worker is None:
            service.waiting.add(request)
            return self.pump(service, now_s) if len(service.serving) > 1 else []
        if service.probed and _is_plain(request) and (probed := service.due_probe(now_s)):
            return [self._dispatch(request, worker, now_s), self._probe(request, probed, now_s)]
        return [self._dispatch(request, worker, now_s)]

    def _copy(self, request: Request, service: ServiceState, now_s: float) -> list[e.Effect]:
        """Send a copy to the revision on trial, if it gets one and has a free slot."""
        worker = service.worker_on_trial(request) if service.trial.takes_copy() else None
        if worker is None or not _is_plain(request):
            return []
        traffic = service.traffic_of(worker.revision)
        copy = Copy(traffic, worker.connection, now_s, service.trial.tolerance)
        self.copies.sent(request.id, copy)
        return [self._probe(request, worker, now_s, -request.id)]

    def _refusal(self, event: e.Submitted, now_s: float) -> e.Refusal | None:
        if self.is_stopping:
            return stopping()
        if self.early is not None:
            return self._early_refusal(self.early, event.deadline_s - now_s)
        service = self.services.get(event.service)
        if service is None or not service.is_listed:
            return e.Refusal("unknown_service", self._known_services(event))
        if event.deadline_s <= now_s:
            return e.Refusal("deadline", "the deadline had passed before the request arrived")
        if self._poison and self._digest(event.service, event.input) in self._poison:
            return poison()
        if not service.takes_new:
            return no_worker(service)
        return self._overload(service, event.kind.rank, event.deadline_s - now_s)

    def _early_refusal(self, early: OrderedDict[int, Request], budget_s: float) -> e.Refusal | None:
        if budget_s <= 0:
            return late()
        if len(early) < self.queue_limit:
            return None
        text = f"{len(early)} requests wait for the first routes of this gateway, the maximum"
        return e.Refusal("queue_full", text, 1)

    def admit_early(self, now_s: float) -> list[e.Effect]:
        """The first routes are known: what waited for them arrives now."""
        early = [] if self.early is None else [*self.early.values()]
        self.early = None
        effects: list[e.Effect] = []
        for request in early:
            del self.requests[request.id]  # its deadline stays noted
            arrival = e.Submitted(
                request.id, request.service, request.input, request.deadline_s, kind=request.kind
            )
            effects.extend(self.submit(arrival, now_s))
        return effects

    def _overload(self, service: ServiceState, rank: int, budget_s: float) -> e.Refusal | None:
        waiting, in_flight = service.queued, service.in_flight
        if not waiting and not in_flight:
            return None  # whatever was measured before: only a run can show that it has changed
        if waiting >= self.queue_limit:
            text = f"{waiting} requests are queued for service {service.name!r}, the maximum"
            wait_s = service.wait_s(waiting + in_flight)
            return e.Refusal("queue_full", text, retry_after_s(wait_s))
        return self._too_slow(service, rank, budget_s, in_flight)

    @staticmethod
    def _too_slow(
        service: ServiceState, rank: int, budget_s: float, in_flight: int
    ) -> e.Refusal | None:
        ahead = service.waiting.ahead(rank) + len(service.alone) + in_flight
        wait_s = service.wait_s(ahead)
        share = BATCH_ADMIT_SHARE if rank == e.BATCH else ADMIT_SHARE
        if wait_s is None or wait_s <= budget_s * share:
            return None
        text = (
            f"service {service.name!r} would answer in about {wait_s:.1f} s, "
            f"the deadline is in {budget_s:.1f} s"
        )
        return e.Refusal("too_slow", text, retry_after_s(wait_s))

    def _known_services(self, event: e.Submitted) -> str:
        listed = {service.name for service in self.services.values() if service.is_listed}
        listed.update(self.public)
        seen = listed if event.seen is None else listed & event.seen
        names = ", ".join(sorted(seen)) or "none"
        return f"there is no service {event.service!r}; known services: {names}"[:MAX_DETAIL_CHARS]

    # --- end

    def answer(self, request: Request, outcome: e.Outcome) -> e.Answer:
        """The only answer of this request; it is removed, though a worker may still process it."""
        del self.requests[request.id]
        service = self.services.get(request.service)
        if service is not None:
            service.load.ended(request.kind, outcome)
        if self.copies.by_request:
            if isinstance(outcome, e.Output):
                self.copies.request_answered(request.id, outcome.body)
            else:
                self.copies.dropped(request.id)
        return e.Answer(request.id, request.service, outcome)

    def answered_instead(self, name: str, kind: e.RequestKind, took_s: float) -> None:
        """A fallback has answered a refused request: where no replica is ready, in its place."""
        service = self.services.get(name)
        if service is not None and not service.serving:
            service.load.answered_instead(kind, took_s)

    def drop(self, request: Request) -> list[e.Effect]:
        """Its answer is no longer needed: remove it from the queue, or cancel it at its worker."""
        if request.worker is None and self.early is not None:
            self.early.pop(request.id, None)
        elif request.worker is None:
            service = self.services[request.service]
            service.waiting.remove(request)
            service.alone.remove(request)
        holders = (request.worker, request.other)
        return [e.Send(w, CancelInfer(request.id)) for w in holders if w is not None]

    def abandon(self, request_id: int, now_s: float) -> list[e.Effect]:
        """Its client has disconnected; unknown ids were answered already."""
        request = self.requests.pop(request_id, None)
        service = None if request is None else self.services.get(request.service)
        if request is not None and service is not None:
            waited_s = None if request.has_begun else now_s - request.since_s
            service.load.abandoned(request.kind, waited_s)
        self.copies.dropped(request_id)
        return [] if request is None else self.drop(request)

    def answer_all(self, refusal: e.Refusal) -> list[e.Effect]:
        """Refuse all remaining requests."""
        effects: list[e.Effect] = []
        for request in list(self.requests.values()):
            effects.extend(self.drop(request))
            effects.append(self.answer(request, refusal))
        return effects

    def empty_queue(self, service: ServiceState) -> list[e.Effect]:
        """Refuse all queued requests: there is no worker to wait for."""
        lost, waiting = [*service.alone.values()], [*service.waiting.values()]
        service.alone.clear()
        service.waiting.clear()
        refusal = no_worker(service)
        answers = [self.answer(request, worker_lost(request)) for request in lost]
        return [*answers, *(self.answer(request, refusal) for request in waiting)]

    # --- dispatch

    def pump(self, service: ServiceState, now_s: float) -> list[e.Effect]:
        """Send queued requests to free workers; to be called whenever either may have changed."""
        effects: list[e.Effect] = []
        while (request := self._first(service, service.alone, effects)) is not None:
            worker = service.reserve(request)
            if worker is None or worker.in_flight:
                break
            request.was_alone = True
            service.alone.remove(request)
            effects.append(self._send_next(request, worker, now_s))
        self._end_reservation(service)
        while (request := self._first(service, service.waiting, effects)) is not None:
            worker = service.free_worker(request)
            if worker is None:
                break
            service.waiting.remove(request)
            effects.append(self._send_next(request, worker, now_s))
        if service.queued and not service.takes_new:
            effects.extend(self.empty_queue(service))
        return effects

    def _first(
        self, service: ServiceState, queue: ClassQueue[Request], effects: list[e.Effect]
    ) -> Request | None:
        """The first request of a queue; those that no worker can answer are refused."""
        while (request := queue.first()) is not None:
            if service.offers(request):
                return request
            queue.remove(request)
            effects.append(self.answer(request, no_method(service, request)))
        return None

    def _send_next(self, request: Request, worker: WorkerState, now_s: float) -> e.Effect:
        if request.deadline_s <= now_s:
            return self.answer(request, late())
        return self._dispatch(request, worker, now_s)

    def _end_reservation(self, service: ServiceState) -> None:
        """The reserved worker takes other requests again once it has none of a lost worker."""
        worker = None if service.reserved is None else service.workers.get(service.reserved)
        if not service.alone and (worker is None or not worker.in_flight):
            service.reserved = None

    def requeue(self, request: Request) -> None:
        """Return it to the head of its queue: it has waited longest. May exceed the queue's limit
        by the requests of a lost worker, which are retried alone."""
        request.worker = None
        service = self.services[request.service]
        queue = service.alone if request.losses else service.waiting
        queue.add_first(request)

    def refuse_as_poison(self, request: Request, now_s: float) -> None:
        """Two workers were lost with it, and the second had no other: refuse it for a time."""
        self._poison[self._digest(request.service, request.input)] = now_s + POISON_S

    @staticmethod
    def _digest(service: str, body: bytes) -> tuple[str, bytes]:
        return service, sha256(body).digest()

    def _dispatch(self, request: Request, worker: WorkerState, now_s: float) -> e.Send:
        if request.other == worker.connection:
            request.other = None  # it takes a repeat for the same request
        request.sent_s = now_s
        request.worker = worker.connection
        return self._probe(request, worker, now_s)

    def _probe(
        self, request: Request, worker: WorkerState, now_s: float, number: int | None = None
    ) -> e.Send:
        """Send it, with the time that is left; it stays with the worker that it is with. `number`:
        of a copy."""
        number = request.id if number is None else number
        self._dispatches += 1
        worker.last_sent = self._dispatches
        if not worker.in_flight:
            worker.quiet_since_s = now_s
        worker.in_flight.add(number)
        budget_ms = max(1, int((request.deadline_s - now_s) * 1000))
        kind = request.kind
        if kind is e.PLAIN:
            return e.Send(worker.connection, Infer(number, budget_ms, request.input))
        parent = "" if kind.trace is None else kind.trace.parent
        message = Infer(
            number, budget_ms, request.input, kind.method, kind.is_stream, kind.is_bytes, parent
        )
        if kind.trace is not None and not kind.trace.sent_s:
            kind.trace.sent_s = now_s
        return e.Send(worker.connection, message)

    def release_chunks(self, event: e.ChunksRead) -> list[e.Effect]:
        """The client of a stream has read so many chunks; its worker may send as many more."""
        request = self.requests.get(event.id)
        if request is None or request.worker is None:
            return []
        request.unread -= event.count
        request.unread_bytes -= event.size_bytes
        return [e.Send(request.worker, MoreChunks(event.id, event.count))]

    @property
    def may_hedge(self) -> bool:
        """Whether any request that is late may be sent to a second worker."""
        return any(service.may_hedge for service in self.services.values())

    def hedge_late(self, now_s: float) -> list[e.Effect]:
        """Send what waits longer than the p95 of its service to a second worker that is free; the
        first answer counts. Never what a lost worker had, and at most one request of 20."""
        services = [s for s in self.services.values() if s.may_hedge]
        first_s = min((s.hedging.p95_s or 0.0 for s in services), default=inf)
        effects: list[e.Effect] = []
        for request in self.requests.values():  # in order of arrival
            if now_s - request.since_s <= first_s:
                break
            service = self.services.get(request.service)
            if service in services and self._is_late(request, service, now_s):
                second = service.free_worker(request, but=request.worker)
                if second is not None and second.pace.lone_s < request.deadline_s - now_s:
                    service.hedging.take()
                    request.was_moved, request.other = True, request.worker
                    effects.append(self._dispatch(request, second, now_s))
        return effects

    @staticmethod
    def _is_late(request: Request, service: ServiceState, now_s: float) -> bool:
        p95_s = service.hedging.p95_s
        return (
            service.may_hedge
            and p95_s is not None
            and now_s - request.since_s > p95_s
            and request.worker is not None
            and not request.was_moved
            and not request.losses
            and all(worker.connection != request.worker for worker in service.tried)
            and _is_plain(request)
        )

    # --- deadlines

    def end_holds(self, now_s: float) -> list[e.Effect]:
        """Refuse what has waited too long for a ready worker."""
        effects: list[e.Effect] = []
        for service in self.services.values():
            if 0 < service.hold_until_s <= now_s:
                service.hold_until_s = 0.0
                effects.extend(self.pump(service, now_s))
        return effects

    def first_deadline_s(self) -> float | None:
        """When `expire` is needed at the earliest."""
        return self._deadlines[0][0] if self._deadlines else None

    def expire(self, now_s: float) -> list[e.Effect]:
        """Answer every request whose deadline has passed."""
        if self._poison:
            self._poison = {k: until_s for k, until_s in self._poison.items() if until_s > now_s}
        effects: list[e.Effect] = []
        while self._deadlines and self._deadlines[0][0] <= now_s + EXPIRE_SLACK_S:
            _, request_id = heappop(self._deadlines)
            request = self.requests.get(request_id)
            if request is None:
                continue
            if request.deadline_s > now_s + EXPIRE_SLACK_S:  # its stream continued
                heappush(self._deadlines, (request.deadline_s, request_id))
                continue
            self._note_late(request)
            effects.extend(self.drop(request))
            effects.append(self.answer(request, late()))
        return effects

    def _note_late(self, request: Request) -> None:
        """No answer in time is an error of the revision that has it, or had it on trial."""
        service = self.services.get(request.service)
        worker = None if service is None else service.workers.get(request.worker or b"")
        revision = request.failed_revision or (0 if worker is None else worker.revision)
        if service is not None and revision:
            service.traffic_of(revision).failed()

    def _note_deadline(self, request: Request) -> None:
        heappush(self._deadlines, (request.deadline_s, request.id))
        if len(self._deadlines) > 2 * len(self.requests) + STALE_DEADLINES_MAX:
            self._deadlines = [(r.deadline_s, r.id) for r in self.requests.values()]
            heapify(self._deadlines)


def _is_plain(request: Request) -> bool:
    """Whether a second worker may run it as well: long generations would take a slot twice."""
    return request.kind.method == PREDICT


def no_method(service: ServiceState, request: Request) -> e.Refusal:
    """Refusal of a request that the service's model cannot answer."""
    offered = sorted({method for worker in service.serving for method in worker.methods})
    method = request.kind.method
    what = "bytes as input" if method in offered else f"the method {method!r}"
    text = f"service {service.name!r} does not offer {what}; it offers: {', '.join(offered)}"
    return e.Refusal("no_method", text)


def late() -> e.Refusal:
    """Refusal of a request whose deadline has passed."""
    return e.Refusal("deadline", "no answer before the deadline")


def stopping() -> e.Refusal:
    """Refusal of all requests by a gateway that stops."""
    return e.Refusal("stopping", "this gateway is stopping", retry_after_s=1)


def poison() -> e.Refusal:
    """Refusal of a request that ends the workers that run it."""
    text = f"two workers ended while they ran this input; it is refused for {POISON_S:.0f} s"
    return e.Refusal("poison", text)


def worker_lost(request: Request) -> e.Refusal:
    """Refusal of a request whose workers were lost."""
    text = "its worker was lost and no other is ready"
    if request.losses > 1 or request.was_moved:
        text = f"{request.losses} workers were lost while they had this request"
    return e.Refusal("worker_lost", text, retry_after_s=1)


def no_worker(service: ServiceState) -> e.Refusal:
    """Refusal of all requests while a service has no ready worker."""
    loading = sum(1 for worker in service.workers.values() if worker.capacity == 0)
    text = f"no worker of service {service.name!r} is ready ({loading} loading)"
    return e.Refusal("no_worker", text, retry_after_s=1)
