"""Runs the gateway's core on an asyncio loop: clock, worker socket, and the futures of clients."""

import asyncio
import secrets
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec
import structlog
from starlette.types import Receive

from wattline_protocol.routing.model import PublicRoute
from wattline_protocol.wire.codec import MalformedMessage
from wattline_protocol.wire.rollouts import RouteSplit
from wattline_protocol.wire.routes import Routes
from wattline_protocol.wire.transport import Incoming
from wattline_runtime.gateway import events as e
from wattline_runtime.gateway.access.key_ring import ApiKeyRing
from wattline_runtime.gateway.client import BodyMemory
from wattline_runtime.gateway.connections.client_watch import ClientWatch, ClientWatches
from wattline_runtime.gateway.connections.unsolicited import MUTED_S, UnsolicitedLimit
from wattline_runtime.gateway.connections.worker_socket import WorkerSocket
from wattline_runtime.gateway.core import Gateway
from wattline_runtime.gateway.stats import UNKNOWN_SERVICE, Stats
from wattline_runtime.wire import FrameCodec, FromWorker, ToWorker

log = structlog.get_logger()

Waiter = asyncio.Future[e.Outcome | None]
"""Awaited by a client's handler; None: the client has disconnected."""


class OutcomeSink(Protocol):
    """Receives the outcome of a request, once."""

    def done(self) -> bool:
        """Whether it has one."""

    def set_result(self, outcome: e.Outcome | None, /) -> None:
        """Its outcome, None once the client has disconnected."""


class Stream:
    """Chunks of an answer for a client's handler, then its outcome."""

    def __init__(self) -> None:
        self._parts: asyncio.Queue[bytes | e.Outcome | None] = asyncio.Queue()
        self._is_done = False

    async def next(self) -> list[bytes | e.Outcome | None]:
        """All chunks that have come, at least one part; the last one may be the outcome, or None
        once the client has disconnected."""
        parts = [await self._parts.get()]
        while not self._parts.empty():
            parts.append(self._parts.get_nowait())
        return parts

    def push(self, chunk: bytes) -> None:
        """Add a chunk; the core bounds how many wait here."""
        self._parts.put_nowait(chunk)

    def done(self) -> bool:
        """Whether it has its outcome."""
        return self._is_done

    def set_result(self, outcome: e.Outcome | None) -> None:
        """End it."""
        self._is_done = True
        self._parts.put_nowait(outcome)


class Submitting(ABC):
    """Takes requests of which each has its outcome later."""

    def submit(
        self,
        service: str,
        body: bytes,
        deadline_s: float,
        seen: frozenset[str] | None = None,
        kind: e.RequestKind = e.PLAIN,
    ) -> tuple[int, Waiter]:
        """Submit one input; `deadline_s` is monotonic time. `seen`: services that the client may
        know of; None = all."""
        waiter: Waiter = asyncio.get_running_loop().create_future()
        return self.submit_for(waiter, service, body, deadline_s, seen, kind), waiter

    def submit_for(
        self,
        waiter: OutcomeSink,
        service: str,
        body: bytes,
        deadline_s: float,
        seen: frozenset[str] | None = None,
        kind: e.RequestKind = e.PLAIN,
    ) -> int:
        """As `submit`, for something else that waits, which may get its outcome at once."""
        number = self.expect(waiter)
        self.arrived(e.Submitted(number, service, body, deadline_s, seen, kind))
        return number

    @abstractmethod
    def expect(self, waiter: OutcomeSink) -> int:
        """The number of a request that is about to arrive, whose outcome the waiter gets."""

    @abstractmethod
    def arrived(self, request: e.Submitted) -> None:
        """Pass it to the core."""


class GatewayShell(Submitting):
    """The core with its I/O. All methods run on the loop's thread."""

    def __init__(
        self,
        gateway: Gateway,
        socket: WorkerSocket,
        stats: Stats,
        keys: ApiKeyRing | None = None,
    ) -> None:
        self.gateway = gateway
        self.stats = stats
        self.socket = socket
        self.keys = keys
        """API keys of clients; None: the gateway is open to all."""
        self._routes_known = asyncio.Event()
        self._early = 0
        """Requests that wait for the first routes and keys."""
        self._loop = asyncio.get_running_loop()
        self._inbound: FrameCodec[FromWorker] = FrameCodec(FromWorker)
        self._outbound: FrameCodec[ToWorker] = FrameCodec(ToWorker)
        self._unsolicited = UnsolicitedLimit()
        self._outbox: defaultdict[e.Connection, list[ToWorker]] = defaultdict(list)
        self._waiters: dict[int, OutcomeSink] = {}
        self.clients = ClientWatches()
        self.bodies = BodyMemory()
        self._routes: e.ServiceRoutes = {}
        self._splits: Mapping[str, RouteSplit] = {}
        self.owners: Mapping[str, str] = {}
        """Users of services, and of routes."""
        self.public: Mapping[str, PublicRoute] = {}
        """Routes by name."""
        self.is_early = True
        """The first routes are not known yet."""
        self.is_draining = False
        """Each further answer is the last one on its connection."""
        self._allow_stale = False
        """True: some worker left, so fewer keys may have to be accepted."""
        self._turn_planned = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_s = 0.0
        # A random start: answers meant for an earlier gateway at this address match nothing.
        self._next_id = secrets.randbits(48)

    def start(self) -> None:
        """Start receiving from workers, and the timer."""
        self._loop.add_reader(self.socket.fileno(), self._turn)
        self._tick()

    def close(self) -> None:
        """Stop receiving; answers already passed to the socket are still sent."""
        self._loop.remove_reader(self.socket.fileno())
        if self._timer is not None:
            self._timer.cancel()
        self.clients.close()
        self._flush()
        self.socket.close()

    # --- for clients

    async def wait_for_routes(self, until_s: float) -> bool:
        """Wait for the first routes, which come with the API keys; False = not within the time, or
        too many wait."""
        if self._early >= self.gateway.queue_limit or self.gateway.queue.is_stopping:
            return False
        self._early += 1
        try:
            async with asyncio.timeout(until_s - time.monotonic()):
                return await self._routes_known.wait()
        except TimeoutError:
            return False
        finally:
            self._early -= 1

    def expect(self, waiter: OutcomeSink) -> int:
        number = self._next_id = self._next_id + 1
        self._waiters[number] = waiter
        return number

    def arrived(self, request: e.Submitted) -> None:
        self._apply(self.gateway.handle(request, time.monotonic()))
        if request.deadline_s < self._timer_at_s:  # nothing else changes in the core's alarm
            self._arm_timer()

    def open_stream(self, ask: e.Submitted) -> tuple[int, Stream]:
        """Submit a request, without its number, for an answer in chunks."""
        stream = Stream()
        number = self.expect(stream)
        self.handle(msgspec.structs.replace(ask, id=number))
        return number, stream

    def chunks_read(self, request_id: int, chunks: Sequence[bytes]) -> None:
        """The client of a stream has read these chunks."""
        self.handle(e.ChunksRead(request_id, len(chunks), sum(map(len, chunks))))

    def abandon(self, request_id: int) -> None:
        """The client of this request has disconnected; its waiter gets None."""
        waiter = self._waiters.pop(request_id, None)
        if waiter is not None:
            if not waiter.done():
                waiter.set_result(None)
            self.handle(e.Abandoned(request_id))

    def watch(self, receive: Receive, request_ids: list[int]) -> ClientWatch:
        """Abandon these requests once their client has disconnected, until the watch ends."""
        return self.clients.watch(self.abandon, receive, request_ids)

    def answered_instead(self, service: str, kind: e.RequestKind, took_s: float) -> None:
        """A fallback has answered a request that its service had refused."""
        self.gateway.queue.answered_instead(service, kind, took_s)

    def count(self, service: str, status: int, reason: str, start_s: float) -> None:
        """Count an HTTP request that was answered; `reason` is empty for one with output."""
        is_known = service in self.gateway.queue.services or service in self.public
        label = service if is_known else UNKNOWN_SERVICE
        self.stats.count(label, status, reason, time.monotonic() - start_s)

    # --- turning events into effects

    def handle(self, event: e.Event) -> None:
        """Pass an event to the core and execute its effects."""
        self._apply(self.gateway.handle(event, time.monotonic()))
        self._arm_timer()

    def change_routes(self, routes: Routes) -> None:
        """Apply new keys and routes; of routes for the handshake as well as for the core."""
        if self.keys is not None:
            self.keys.learn(routes.keys, time.monotonic())
        self._routes_known.set()
        self.is_early = False
        self.owners, self.public = routes.owners, routes.public
        self.gateway.queue.public = routes.public.keys()
        self.stats.keep_routes(routes.public)
        known = (self._routes, self._splits)
        if (routes.services, routes.splits) != known or self.gateway.queue.early is not None:
            self._routes, self._splits = routes.services, routes.splits
            self._allow()
            self.handle(e.RoutesChanged(routes.services, routes.splits))
        self.stats.keep_services({*self.gateway.queue.services, *routes.public})

    def change_handover(self, phase: Literal["begun", "ready", "ended"]) -> None:
        """A successor has begun, is ready, or has ended."""
        self.handle(e.HandoverChanged(phase))

    def _allow(self) -> None:
        """A worker that lost its route stays connected until the core is done with it."""
        self._allow_stale = False
        held = {worker.route.public_key for worker in self.gateway.pool.workers.values()}
        self.socket.allow(self._routes, held)

    def _apply(self, effects: list[e.Effect]) -> None:
        for effect in effects:
            if isinstance(effect, e.Send):
                self._outbox[effect.connection].append(effect.message)
                self._plan_turn()
            elif isinstance(effect, e.SendChunk):
                stream = self._waiters.get(effect.id)
                if isinstance(stream, Stream):
                    stream.push(effect.data)
            elif isinstance(effect, e.Answer):
                waiter = self._waiters.pop(effect.id, None)
                if waiter is not None and not waiter.done():
                    waiter.set_result(effect.outcome)
            else:
                self._note(effect)

    def _note(self, effect: e.Note) -> None:
        if isinstance(effect, e.WorkerRejected):
            self.stats.rejected += 1
            log.warning("worker_rejected", key=effect.public_key, why=effect.why)
        elif isinstance(effect, e.WorkerJoined):
            log.info("worker_joined", service=effect.service, task=str(effect.route.ref))
        elif isinstance(effect, e.WorkerStalled):
            self.stats.retried[effect.service] += effect.moved
            ref = str(effect.route.ref)
            log.warning("worker_stalled", service=effect.service, task=ref, moved=effect.moved)
        elif isinstance(effect, e.CircuitChanged):
            self.stats.circuits_opened[effect.service] += bool(effect.why)
            event = "circuit_opened" if effect.why else "circuit_closed"
            ref = str(effect.route.ref)
            log.warning(event, service=effect.service, task=ref, why=effect.why or "recovered")
        else:
            self._allow_stale = True
            self.stats.retried[effect.service] += effect.retried
            log.info(
                "worker_left",
                service=effect.service,
                task=str(effect.route.ref),
                why=effect.why,
                retried=effect.retried,
            )

    # --- the worker socket

    def _plan_turn(self) -> None:
        """Send once for everything in this pass of the loop, not once per request."""
        if not self._turn_planned:
            self._turn_planned = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Send and receive everything pending. The descriptor signals changes only once, and
        sending may consume that, so each turn ends with a check for more input."""
        self._turn_planned = False
        self._flush()
        now_s = time.monotonic()
        if has_more := self.socket.has_more:
            for incoming in self.socket.receive():
                self._take(incoming, now_s)
            has_more = self.socket.has_more
        if self._outbox or has_more:
            self._plan_turn()
        elif self._allow_stale:
            self._allow()
        self._arm_timer()

    def _take(self, incoming: Incoming, now_s: float) -> None:
        key = incoming.member.public_key
        if self._unsolicited.is_muted(key, now_s):
            return
        try:
            messages = self._inbound.messages(incoming.data)
        except MalformedMessage as error:
            self.socket.server.refuse(incoming, "malformed", str(error))
            self._allows(incoming, None, now_s)
            return
        connection = incoming.routing_id
        for message in messages:
            is_due = self.gateway.pool.is_due(connection, message)
            if not is_due and not self._allows(incoming, message, now_s):
                return
            event = e.WorkerMessage(connection, key, message)
            self._apply(self.gateway.handle(event, now_s))

    def _allows(self, incoming: Incoming, message: FromWorker | None, now_s: float) -> bool:
        """Whether a worker may send this unasked; it is muted, and that is logged, otherwise."""
        if self._unsolicited.allows(incoming.member.public_key, message, now_s):
            return True
        text = f"beats, or answers to none of its requests, without end: muted for {MUTED_S:.0f} s"
        self.socket.server.refuse(incoming, "rate", text)
        return False

    def _flush(self) -> None:
        outbox, self._outbox = self._outbox, defaultdict(list)
        for connection, messages in outbox.items():
            for frame in self._outbound.frames(messages):
                if not self.socket.server.send(connection, frame):
                    gone = self.gateway.handle(e.WorkerDisconnected(connection), time.monotonic())
                    self._apply(gone)
                    break

    # --- time

    def _arm_timer(self) -> None:
        wake_at_s = self.gateway.wake_at_s()
        if self._timer is not None:
            if self._timer_at_s <= wake_at_s:
                return
            self._timer.cancel()
        self._timer_at_s = wake_at_s
        delay_s = max(0.0, wake_at_s - time.monotonic())
        self._timer = self._loop.call_later(delay_s, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.handle(e.Ticked())
        for refusal in self.socket.server.take_refusals():
            log.warning("refused", reason=refusal.reason, who=refusal.peer, detail=refusal.detail)
