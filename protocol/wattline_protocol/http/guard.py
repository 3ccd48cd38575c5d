"""Protects an HTTP server from clients that send too much, too little or too slowly.

`guarded(protocol, guard)` puts `GuardedHttp` before one of uvicorn's protocol classes, which by
themselves wait for ever for a header, a body or a reader, and accept headers of any size. It counts
bytes and records since when a connection waits for its client; a sweep a few times a second finds
those that wait too long, so that a request needs no timer. Nothing of uvicorn is imported.

uvicorn's newest request shows what a connection waits for. None yet, or one that is received and
answered: headers. One that is incomplete: its body, which is read and dropped where the answer is
sent already. Otherwise the application is at work, and input belongs to a further request.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Literal, Protocol, cast

from wattline_protocol.http import tcp_info
from wattline_protocol.http.limits import HttpLimits, Network, client_key, is_within
from wattline_protocol.http.scope_notes import CLIENT_LEFT, LONG_BODY, LongBody
from wattline_protocol.http.unread import UnreadAnswers

Reason = Literal[
    "too_many_connections",
    "headers_too_large",
    "headers_too_slow",
    "body_too_large",
    "body_too_slow",
    "answer_not_read",
    "too_many_pipelined",
    "chunks_too_small",
]
"""Reason of a refusal, as shown to clients and in metrics."""

STATUS: dict[Reason, str] = {
    "too_many_connections": "503 Service Unavailable",
    "headers_too_large": "431 Request Header Fields Too Large",
    "headers_too_slow": "408 Request Timeout",
    "body_too_slow": "408 Request Timeout",
}
"""Status of reasons that are answered; for others the connection is aborted."""

PROBE = b"HTTP/1.1 100 Continue\r\n\r\n"
"""An interim response, which clients ignore; the host of one that has left refuses it."""
PROBE_IN_CHUNKS = b"0"
"""The same within an answer: the first digit of the next chunk's size."""
CLOSE_S = 2.0
"""Time for a refusal to be read before the connection is aborted."""
READ_BYTES = 256 * 1024
"""Most that an event loop passes at once."""
SMALL_BYTES = 64 * 1024
"""So much of an answer may be unread whatever others have."""
MAX_PERIOD_S = 0.25
AT_ONCE = 8
"""Connections that a sweep checks in one turn of the loop: 50 us, of which a request takes some."""
MOST_AT_ONCE = 128
"""The same of a sweep that a busy loop has delayed by more than a period."""
NOTE_EVERY_S = 10.0

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]
Note = Callable[[dict[Reason, int], str], None]
"""Refusals by reason since the last note, and the newest address."""


class HttpGuard:
    """Limits of one server, its open connections, and counts of refusals."""

    def __init__(
        self,
        limits: HttpLimits,
        trusted: Sequence[Network] = (),
        note: Note = lambda _reasons, _address: None,
    ) -> None:
        self.limits = limits
        self.trusted = trusted
        self.refused: Counter[Reason] = Counter()
        """Refusals since the start."""
        self.unread = UnreadAnswers(limits.unread_bytes)
        self._open: set[GuardedHttp] = set()
        self._by_client: Counter[str] = Counter()
        self._note, self._noted_s = note, float("-inf")
        self._fresh: Counter[Reason] = Counter()
        self._newest = ""
        shortest_s = min(limits.head_s, limits.body_s, limits.unread_s)
        self.period_s = min(MAX_PERIOD_S, shortest_s / 4)
        self._sweep: asyncio.TimerHandle | None = None

    def enter(self, client: str) -> bool:
        """Count a new connection of a client; False = it has reached its limit."""
        if self._by_client[client] >= self.limits.most_of_one(len(self._open)):
            self.count("too_many_connections", client)
            return False
        self._by_client[client] += 1
        return True

    def admits(self, client: str | None, address: str) -> bool:
        """Whether a new connection is accepted. `client`: its key; None = not counted."""
        if client is not None:
            return self.enter(client)
        is_full = self.limits.most_of_one(len(self._open)) == 0
        if is_full:
            self.count("too_many_connections", address)
        return not is_full

    def refusal(self, address: str) -> bytes:
        """Refusal of a new connection beyond the limits, and counts it; empty = accepted."""
        client = None if self.is_proxy(address) else client_key(address)
        most = self.limits.most_of_one(len(self._open))
        if most and (client is None or self._by_client[client] < most):
            return b""
        self.count("too_many_connections", address)
        return TOO_MANY

    def is_proxy(self, address: str) -> bool:
        """Whether the address is a trusted proxy, which may name its clients."""
        return bool(self.trusted) and is_within(address, self.trusted)

    def leave(self, client: str) -> None:
        """One of the client's connections has ended."""
        self._by_client[client] -= 1
        if not self._by_client[client]:
            del self._by_client[client]

    def opened(self, connection: "GuardedHttp") -> None:
        """Watch a connection until it is closed."""
        self._open.add(connection)
        self._plan_sweep(self.period_s)

    def closed(self, connection: "GuardedHttp") -> None:
        """The connection has ended."""
        self._open.discard(connection)

    def count(self, reason: Reason, address: str) -> None:
        """Count a refusal."""
        self.refused[reason] += 1
        self._fresh[reason] += 1
        self._newest = address
        self._plan_sweep(self.period_s)

    def _plan_sweep(self, delay_s: float) -> None:
        if self._sweep is None:
            loop = asyncio.get_running_loop()
            self._sweep = loop.call_later(delay_s, lambda: self._check(loop, [*self._open]))

    def _check(
        self, loop: asyncio.AbstractEventLoop, left: list["GuardedHttp"], end_s: float | None = None
    ) -> None:
        """Some of those that are left, then the others, spread over a period until `end_s`: 4,096
        at once would delay all requests, and so would they in consecutive turns."""
        now_s = loop.time()
        if not left:
            self._end_sweep(now_s, self.period_s if end_s is None else 0.0)
            return
        end_s = now_s + self.period_s if end_s is None else end_s
        some = min(AT_ONCE if now_s <= end_s else MOST_AT_ONCE, len(left))
        # Before the checks: an error of one ends neither those of the others nor the next sweep.
        loop.call_later(max(0.0, end_s - now_s) * some / len(left), self._check, loop, left, end_s)
        for _ in range(some):
            connection = left.pop()
            if connection in self._open:
                connection.check_timeout(now_s)

    def _end_sweep(self, now_s: float, delay_s: float) -> None:
        self._sweep = None
        if self._fresh and now_s >= self._noted_s + NOTE_EVERY_S:
            fresh, self._fresh, self._noted_s = self._fresh, Counter(), now_s
            self._note(dict(fresh), self._newest)
        if self._open or self._fresh:
            self._plan_sweep(delay_s)


class _Cycle(Protocol):
    """A request and its answer, as in uvicorn."""

    scope: Scope
    keep_alive: bool
    more_body: bool
    response_started: bool
    response_complete: bool
    disconnected: bool


class GuardedHttp(asyncio.Protocol):
    """Precedes a protocol class of uvicorn, whose attributes and methods it uses."""

    guard: HttpGuard
    head_bytes: int
    transport: asyncio.Transport
    cycle: _Cycle | None
    flow: Any
    app_state: dict[str, Any]
    _unset_keepalive_if_required: Callable[[], None]

    _client: str | None = None
    """Key it counts under; None = a trusted proxy, which has many clients."""
    _address = ""
    _is_admitted = False
    _is_closing = False
    _is_half_closed = False
    """The client sends no more, but may read its answer."""
    _since_s: float | None = None
    """Since when it waits for its client, or is closing; None = it is idle, or at work."""
    _bytes = 0
    """Size so far of the header, or of the body, being received."""
    _early_bytes = 0
    """Size of a further request, received while one is answered."""
    _unsent_bytes = 0
    _acked_bytes = 0
    _unread_s = 0.0
    _idle_after: _Cycle | None = None
    """The newest request when a sweep found the connection idle."""
    _idle_since_s = 0.0

    # --- the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection, or refuse it."""
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if peer else ""
        guard = self.guard
        self._client = None if guard.is_proxy(self._address) else client_key(self._address)
        self._is_admitted = guard.admits(self._client, self._address)
        if not self._is_admitted:
            refused = cast("asyncio.WriteTransport", transport)
            refused.write(TOO_MANY)
            refused.close()
            return
        super().connection_made(transport)
        self.app_state = {**self.app_state, CLIENT_LEFT: asyncio.Event()}
        self._since_s = asyncio.get_running_loop().time()
        guard.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting the connection."""
        if not self._is_admitted:
            return
        if self._client is not None:
            self.guard.leave(self._client)
        self.guard.closed(self)
        self._note_unsent(0)
        self.app_state[CLIENT_LEFT].set()
        super().connection_lost(exc)
        # uvicorn leaves its timer running after an error, a cycle that only a collection frees:
        # the scheduler collects what is older than a second once an hour.
        self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        """Pass on what the limits admit. Most often that is a whole request."""
        cycle = self.cycle
        if cycle is None or (cycle.response_complete and not cycle.more_body):
            if self._bytes or self._early_bytes or len(data) > self.head_bytes:
                self._head_received(data)
                return
            super().data_received(data)
            if self.cycle is cycle:
                self._head_continues(len(data))
            else:
                self._begun()
        elif cycle.more_body:
            self._body_received(data)
        else:
            self._early_received(data)

    def eof_received(self) -> bool:
        """The client sends no more: False ends the connection, unless it waits for an answer.

        A client that has left looks the same until something is sent to it. So a probe is sent,
        and the sweep finds whether it was refused. HTTP/1.0 knows none, and Python's TLS no half
        of a connection: there the client has left.
        """
        cycle = self.cycle
        if cycle is None or cycle.more_body or cycle.response_complete or self._is_closing:
            return False
        if cycle.scope["http_version"] == "1.0" or not tcp_info.is_half_closed(self.transport):
            return False
        if self.transport.get_extra_info("sslcontext") is not None:
            return False
        self._is_half_closed, cycle.keep_alive = True, False
        if not getattr(self, "pipeline", None):  # else another answer may be under way
            self._probe(cycle)
        return True

    def _probe(self, cycle: _Cycle) -> None:
        if not cycle.response_started:
            self.transport.write(PROBE)
        elif getattr(cycle, "chunked_encoding", False):
            self.transport.write(PROBE_IN_CHUNKS)

    # --- input

    def _head_received(self, data: bytes) -> None:
        """Headers in pieces, or a request that is larger than headers may be."""
        self._bytes, self._early_bytes = self._bytes + self._early_bytes, 0
        before, room = self.cycle, max(0, self.head_bytes - self._bytes)
        super().data_received(data[:room])
        if self.cycle is before:
            self._head_continues(len(data))
            return
        self._begun()
        if len(data) > room and not self.transport.is_closing():
            self.data_received(data[room:])

    def _head_continues(self, more_bytes: int) -> None:
        self._bytes += more_bytes
        if self._since_s is None:
            self._since_s = asyncio.get_running_loop().time()
        if self._bytes > self.head_bytes:
            text = f"request line and headers exceed the limit of {self.head_bytes} bytes"
            self._refuse("headers_too_large", text)

    def _begun(self) -> None:
        """Headers are complete, and perhaps the whole request."""
        self._bytes = 0
        is_whole = self.cycle is not None and not self.cycle.more_body
        self._since_s = None if is_whole else asyncio.get_running_loop().time()

    def _body_received(self, data: bytes) -> None:
        before = self.cycle
        self._bytes += len(data)
        long = None if before is None else before.scope.get(LONG_BODY)
        most_bytes = 2 * self.guard.limits.body_bytes if long is None else long.most_bytes
        if self._bytes > most_bytes + READ_BYTES:
            self._refuse("body_too_large", "")
            return
        super().data_received(data)
        if self.cycle is not before or (before is not None and not before.more_body):
            self._begun()

    def _early_received(self, data: bytes) -> None:
        """uvicorn stops reading once the headers of a further request are received."""
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._early_bytes = 0
            self._begun()
            return
        self._early_bytes += len(data)
        if self._early_bytes > self.head_bytes + READ_BYTES:
            self._refuse("headers_too_large", "")

    # --- the sweep

    def check_timeout(self, now_s: float) -> None:
        """Close it if it has waited for its client for too long, or the client has left."""
        if self._is_half_closed and not tcp_info.is_half_closed(self.transport):
            self.transport.abort()
            return
        if self._is_unread() or self._is_too_large():
            self._abandon_answer()
            return
        cycle = self.cycle
        if self._is_closing:
            if self._waited_s(now_s) > CLOSE_S:
                self.transport.abort()
        elif cycle is None or (cycle.response_complete and not cycle.more_body):
            self._check_head(now_s)
            self._check_idle(now_s)
        elif cycle.more_body and not self._is_paced(cycle):
            self._check_body(now_s)

    @staticmethod
    def _is_paced(cycle: _Cycle) -> bool:
        long: LongBody | None = cycle.scope.get(LONG_BODY)
        return long is not None and long.is_paced and not cycle.response_complete

    def _waited_s(self, now_s: float) -> float:
        return 0.0 if self._since_s is None else now_s - self._since_s

    def _check_head(self, now_s: float) -> None:
        if self._early_bytes:
            self._bytes, self._early_bytes, self._since_s = self._early_bytes, 0, now_s
        limit_s = self.guard.limits.head_s
        if self._waited_s(now_s) > limit_s:
            self._refuse("headers_too_slow", f"the headers did not arrive within {limit_s:g} s")

    def _check_idle(self, now_s: float) -> None:
        if self._since_s is not None or self.cycle is not self._idle_after:
            self._idle_after, self._idle_since_s = self.cycle, now_s
        elif now_s - self._idle_since_s > self.guard.limits.idle_s:
            self.transport.close()

    def _check_body(self, now_s: float) -> None:
        limits = self.guard.limits
        if self.flow.read_paused and self._since_s is not None:
            self._since_s += self.guard.period_s  # it is the application that is slow
        elif self._waited_s(now_s) > limits.body_s + self._bytes / limits.bytes_per_s:
            more = f"and a second more for each {limits.bytes_per_s} bytes"
            self._refuse("body_too_slow", f"a body has {limits.body_s:g} s to arrive, {more}")

    def _is_unread(self) -> bool:
        """Whether the answer has been read too slowly for too long."""
        guard, unsent_bytes = self.guard, self.transport.get_write_buffer_size()
        least_bytes = guard.limits.bytes_per_s * guard.period_s
        is_stuck = unsent_bytes and unsent_bytes > self._unsent_bytes - least_bytes
        # What is unsent does not shrink either while more is written than the client reads.
        if is_stuck and not self._has_acknowledged(least_bytes):
            self._unread_s += guard.period_s
        else:
            self._unread_s = 0.0
        self._note_unsent(unsent_bytes)
        return self._unread_s > guard.limits.unread_s

    def pause_writing(self) -> None:
        """As uvicorn; an answer that does not fit into the socket's buffer counts at once."""
        super().pause_writing()
        self._note_unsent(self.transport.get_write_buffer_size())
        if self._is_too_large():
            self._abandon_answer()  # others may be written before the loop's next turn

    def _abandon_answer(self) -> None:
        self._refuse("answer_not_read", "")
        self._note_unsent(0)

    def _is_too_large(self) -> bool:
        """Whether it is to lose its answer, so that the memory of all of them has a bound."""
        is_small = self._unsent_bytes <= SMALL_BYTES
        return not is_small and self.guard.unread.are_too_many(self._address_key)

    @property
    def _address_key(self) -> str:
        """Of its client, or of its proxy, which is to read for all of its clients."""
        return self._client or self._address

    def _note_unsent(self, unsent_bytes: int) -> None:
        self.guard.unread.change(self._address_key, unsent_bytes - self._unsent_bytes)
        self._unsent_bytes = unsent_bytes

    def _has_acknowledged(self, least_bytes: float) -> bool:
        """Whether the client has acknowledged so much since the last call; False = unknown."""
        acked = tcp_info.acked_bytes(self.transport)
        if acked is None:
            return False
        before, self._acked_bytes = self._acked_bytes, acked
        return bool(acked - before >= max(1, least_bytes))

    def _refuse(self, reason: Reason, text: str) -> None:
        """Send the reason, where the client can still read it, and close; or abort."""
        if self._is_closing and reason != "answer_not_read":
            return
        self.guard.count(reason, self._address)
        self._is_closing, self._since_s = True, asyncio.get_running_loop().time()
        if not text or not self._may_refuse():
            self.transport.abort()
            return
        is_idle = reason == "headers_too_slow" and not self._bytes
        if not is_idle and not self.transport.is_closing():
            self.transport.write(_refusal(reason, text))
        self.transport.close()

    def _may_refuse(self) -> bool:
        """Whether a refusal would be read as an answer to what is being received."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return cycle is None or not cycle.more_body
        return cycle.more_body and not cycle.response_started and not getattr(self, "pipeline", ())

    def send_400_response(self, msg: str) -> None:
        """As uvicorn, where nothing else is answered: what is malformed may end an early answer."""
        refusing: Any = super()
        if not self._may_refuse():
            self.transport.close()
            return
        refusing.send_400_response(msg)
        if self.cycle is not None:
            # Where the rest arrived with the headers, the application begins only now. Its answer
            # would follow the refusal; h11 raises an error, whose traceback uvicorn logs.
            self.cycle.disconnected = True


def guarded(protocol: type[asyncio.Protocol], guard: HttpGuard) -> type[asyncio.Protocol]:
    """A protocol class of uvicorn behind the guard."""
    fixed = {"guard": guard, "head_bytes": guard.limits.head_bytes}
    return type(f"Guarded{protocol.__name__}", (GuardedHttp, protocol), fixed)


def refusal_body(reason: Reason, text: str) -> bytes:
    """JSON of a refusal."""
    return f'{{"error":{{"reason":"{reason}","message":"{text}"}}}}'.encode()


def _refusal(reason: Reason, text: str) -> bytes:
    body = refusal_body(reason, text)
    return (
        f"HTTP/1.1 {STATUS[reason]}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    ).encode() + body


TOO_MANY = _refusal("too_many_connections", "too many connections are open")
