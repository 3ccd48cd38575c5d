"""uvicorn's protocol class, as the gateway uses it."""

import asyncio
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from starlette.types import Receive, Scope, Send

from wattline_protocol.http.guard import HttpGuard, Reason
from wattline_protocol.http.scope_notes import LONG_BODY
from wattline_runtime.gateway.connections.direct import CLOSE

USED = {
    *(
        "_start_asgi_task",
        "_unset_keepalive_if_required",
        "call_later",
        "flow",
        "is_closing",
        "loop",
    ),
    *("pipeline", "pop", "resume_reading", "server_state", "timeout_keep_alive"),
    *("timeout_keep_alive_handler", "timeout_keep_alive_task", "total_requests", "transport"),
}
"""What uvicorn uses after an answer; no part of its API."""

MOST_PIPELINED = 64
"""Requests of one connection that wait behind the one that is answered."""

MOST_TRAILER_BYTES = 8 * 1024
"""Size of the fields behind a chunked body; they are dropped."""
FREE_CHUNKS = 16_384
"""Chunks of a body that may have any size: as many as one read has, of a record each."""
CHUNK_BYTES = 32
"""Minimum mean size of further chunks and their frames; one of a byte takes as much time."""


def http_protocol() -> type[asyncio.Protocol]:
    """That of httptools where it is installed, else of h11: as uvicorn chooses."""
    if find_spec("httptools") is None:
        h11: type[asyncio.Protocol] = import_module("uvicorn.protocols.http.h11_impl").H11Protocol
        return h11
    httptools = import_module("uvicorn.protocols.http.httptools_impl").HttpToolsProtocol
    noted = with_noted_end(without_upgrades(without_timers(httptools)))
    return with_bounded_chunks(with_short_pipeline(noted))


def without_timers(httptools: type[asyncio.Protocol]) -> type[asyncio.Protocol]:
    """uvicorn's class without a timer for each request; unchanged if this release of it does
    anything else after an answer."""
    complete: Any = getattr(httptools, "on_response_complete", None)
    if complete is None or {*complete.__code__.co_names} != USED:
        return httptools
    return type("WithoutTimers", (_WithoutTimers, httptools), {})


def without_upgrades(httptools: type[asyncio.Protocol]) -> type[asyncio.Protocol]:
    """uvicorn's class, where nothing behind a request with `Upgrade` is read as a request."""
    return type("WithoutUpgrades", (_WithoutUpgrades, httptools), {})


def with_noted_end(httptools: type[asyncio.Protocol]) -> type[asyncio.Protocol]:
    """uvicorn's class, which notes the end of a connection for the request that is answered."""
    return type("NotedEnd", (_NotedEnd, httptools), {})


def with_short_pipeline(httptools: type[asyncio.Protocol]) -> type[asyncio.Protocol]:
    """uvicorn's class, of which a connection has no more than `MOST_PIPELINED` requests waiting."""
    return type("ShortPipeline", (_ShortPipeline, httptools), {})


def with_bounded_chunks(httptools: type[asyncio.Protocol]) -> type[asyncio.Protocol]:
    """uvicorn's class, where a chunked body has a bounded number of chunks and trailer fields."""
    return type("BoundedChunks", (_BoundedChunks, httptools), {})


UPGRADE_WITH_BODY = (
    b'{"error":{"reason":"malformed","message":"a request that asks for an upgrade of the '
    b'connection has no body here; send it as HTTP/1.1, without the header `upgrade`"}}'
)
FRAMING = (b"content-length", b"transfer-encoding")


async def _refuse_body(_scope: Scope, _receive: Receive, send: Send) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(UPGRADE_WITH_BODY)),
        CLOSE,
    ]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": UPGRADE_WITH_BODY})


class TooManyPipelined(Exception):
    """Ends a connection with more requests than may wait; raised in the parser's call."""


class _ShortPipeline:
    """Precedes the class of httptools, whose attributes it uses.

    uvicorn parses whatever has arrived, 14,000 requests of 18 bytes at once, and reads on after
    each answer: without a limit one client takes 100 MiB a second, and the loop's time. The answers
    of those that wait are lost with the connection, as where a server ends it for another reason.
    """

    pipeline: Any
    guard: HttpGuard | None = None
    _address = ""

    def on_message_begin(self) -> None:
        """As uvicorn, up to the limit."""
        if len(self.pipeline) >= MOST_PIPELINED:
            if self.guard is not None:
                self.guard.count("too_many_pipelined", self._address)
            raise TooManyPipelined
        begin: Any = super()
        begin.on_message_begin()


class ChunksOutOfBounds(Exception):
    """Ends a connection whose chunked body is out of bounds; raised in the parser's call."""


class _BoundedChunks:
    """Precedes the class of httptools, whose attributes it uses.

    uvicorn appends trailer fields to the headers of the request: 2 MiB of empty ones, which need
    no key, took 45 MiB, and a trailer could add a header behind the checks of all. Each chunk is
    a call, so that 50 clients that sent chunks of a byte delayed others by two seconds. A body that
    is read as it arrives (`LongBody`) may have any number: a record each.
    """

    cycle: Any
    guard: HttpGuard | None = None
    _address = ""
    _bytes = 0
    _is_head = True
    _chunks = 0
    _trailer_bytes = 0

    def on_message_begin(self) -> None:
        """As uvicorn."""
        self._is_head, self._chunks, self._trailer_bytes = True, 0, 0
        begin: Any = super()
        begin.on_message_begin()

    def on_headers_complete(self) -> None:
        """As uvicorn."""
        complete: Any = super()
        complete.on_headers_complete()
        self._is_head = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """As uvicorn, but for trailer fields."""
        if self._is_head:
            header: Any = super()
            header.on_header(name, value)
            return
        self._trailer_bytes += len(name) + len(value) + len(b": \r\n")
        if self._trailer_bytes > MOST_TRAILER_BYTES:
            self._refuse_chunks("headers_too_large")

    def on_chunk_header(self) -> None:
        """Count a chunk; uvicorn takes no note of it."""
        self._chunks += 1
        if self._chunks <= FREE_CHUNKS + self._bytes / CHUNK_BYTES:
            return
        if self.cycle is None or LONG_BODY not in self.cycle.scope:
            self._refuse_chunks("chunks_too_small")

    def _refuse_chunks(self, reason: Reason) -> None:
        if self.guard is not None:
            self.guard.count(reason, self._address)
        raise ChunksOutOfBounds


class _NotedEnd:
    """Precedes the class of httptools, whose attributes it uses.

    uvicorn notes the end of a connection for the last request that it has read. An earlier request,
    whose answer is under way, would run on, and its answer would raise an error: a traceback in the
    log for each such connection.
    """

    _answered: Any = None

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """As uvicorn."""
        self._answered = cycle
        super()._start_asgi_task(cycle, app)  # type: ignore[misc]

    def connection_lost(self, error: Exception | None) -> None:
        """As uvicorn, for the request that is answered too."""
        lost: Any = super()
        lost.connection_lost(error)
        if self._answered is not None and not self._answered.response_complete:
            self._answered.disconnected = True
            self._answered.message_event.set()


class _WithoutUpgrades:
    """Precedes the class of httptools, whose attributes it uses.

    Its parser takes a request with `Connection: upgrade` for one without a body. What a client has
    sent as the body would be read as the next request: a proxy that passes these headers on, and
    shares its connections, would mix up the answers of its clients.
    """

    parser: Any
    cycle: Any
    headers: Any
    app: Any

    def on_headers_complete(self) -> None:
        """As uvicorn, but the connection ends with the answer."""
        complete: Any = super()
        if not self.parser.should_upgrade():
            complete.on_headers_complete()
            return
        app = self.app
        if any(name in FRAMING for name, _ in self.headers):
            self.app = _refuse_body
        complete.on_headers_complete()
        self.app = app
        if self.cycle is not None:
            self.cycle.keep_alive = False


class _WithoutTimers:
    """Precedes the class of httptools, whose attributes it uses.

    uvicorn sets a timer after each answer, which ends an idle connection, and cancels it with the
    next request. Here the sweep of the guard ends idle connections (`HttpLimits.idle_s`).
    """

    server_state: Any
    transport: asyncio.Transport
    flow: Any
    pipeline: Any
    _start_asgi_task: Any

    def on_response_complete(self) -> None:
        """As uvicorn, but for the timer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
