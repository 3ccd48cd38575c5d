"""Reads a request of an HTTP client: headers and the body."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.types import Receive, Scope

from wattline_protocol.http.limits import client_key
from wattline_runtime.gateway.config import GatewayConfig
from wattline_runtime.gateway.connections.direct import arrived_body
from wattline_runtime.gateway.errors import BadRequest
from wattline_runtime.gateway.events import RequestKind, Trace
from wattline_runtime.trace_context import TRACEPARENT, valid_traceparent

ASKED = "wattline.asked"
"""In the scope of a request, for the access log: name of its API key, and of the service."""
TOKENS = "wattline.tokens"
"""Those of its output."""
TRACE = "wattline.trace"
"""The trace that it is part of, once that was looked for."""
HEADERS = "wattline.headers"
"""Its headers by name, once any was read."""
TRACE_HEADER = TRACEPARENT.encode()
BODY_TIMEOUT_S = 30.0
"""Time for a client to send its body."""

MOST_RECEIVING_BYTES = 256 * 1024**2
"""Of all bodies that are being received, in each process of a gateway, without the first
`SMALL_BYTES` of each."""
SMALL_BYTES = 64 * 1024
"""A body up to this size is received all the same."""


@dataclass(slots=True, eq=False)
class ReceivedBody:
    """A body that is being received."""

    client: str
    size: int = 0
    """So far."""
    is_refused: bool = False
    timeout: asyncio.Timeout = field(default_factory=lambda: asyncio.timeout(BODY_TIMEOUT_S))

    @property
    def held_bytes(self) -> int:
        """What it holds of the memory of large bodies."""
        return max(self.size - SMALL_BYTES, 0)

    def refuse(self) -> None:
        """End its reception, also while that waits for its client."""
        self.is_refused = True
        if not self.timeout.expired():
            self.timeout.reschedule(0.0)


class BodyMemory:
    """Memory of the bodies that are being received: clients may send slowly, and many at once.

    While it is full, the client that holds most of it loses its largest body, so that clients share
    it evenly: what some never end refuses no body of another that holds less. Only what a body has
    above `SMALL_BYTES` counts, so that the client that holds most always has one to lose.
    """

    def __init__(self, most_bytes: int = MOST_RECEIVING_BYTES) -> None:
        self._most_bytes = most_bytes
        self.held_bytes: Counter[str] = Counter()
        """By client that holds any."""
        self._bodies: defaultdict[str, set[ReceivedBody]] = defaultdict(set)
        self._total_bytes = 0

    def hold(self, body: ReceivedBody, more_bytes: int) -> None:
        """Count a further part of a body. Raises BadRequest."""
        if not body.is_refused:
            self._count(body, body.size + more_bytes)
            while self._total_bytes > self._most_bytes and body.held_bytes:
                self._refuse(self._largest(body))
        if body.is_refused:
            raise self.refusal()

    def _largest(self, newest: ReceivedBody) -> ReceivedBody:
        """That of the client that holds most; of its own bodies a client loses the newest."""
        client = max(self.held_bytes, key=self.held_bytes.__getitem__)
        if client == newest.client:
            return newest
        return max(self._bodies[client], key=lambda body: body.size)

    def _refuse(self, body: ReceivedBody) -> None:
        self.release(body)
        body.refuse()

    def refusal(self) -> BadRequest:
        """Of a body that lost its memory."""
        used = f"{self._total_bytes >> 20} of {self._most_bytes >> 20} MiB"
        text = f"{used} for bodies that are being received are in use; retry"
        return BadRequest("bodies_full", text, retry_after_s=1)

    def release(self, body: ReceivedBody) -> None:
        """The body is complete, or refused."""
        self._count(body, 0)
        self._bodies[body.client].discard(body)
        if not self._bodies[body.client]:
            del self._bodies[body.client], self.held_bytes[body.client]

    def _count(self, body: ReceivedBody, size: int) -> None:
        before = body.held_bytes
        body.size = size
        more_bytes = body.held_bytes - before
        if more_bytes:
            self._bodies[body.client].add(body)
            self._total_bytes += more_bytes
            self.held_bytes[body.client] += more_bytes


class ClientDisconnected(Exception):
    """The client disconnected before its answer."""


def named_headers(scope: Scope) -> Mapping[bytes, bytes]:
    """The headers by name, of several the first; one pass for all that read them."""
    found: Mapping[bytes, bytes] | None = scope.get(HEADERS)
    if found is None:
        found = scope[HEADERS] = dict(reversed(scope["headers"]))
    return found


def header(scope: Scope, name: bytes) -> str | None:
    """A header's value, the first one; None: it has none."""
    value = named_headers(scope).get(name)
    return None if value is None else value.decode("latin-1")


def trace_of(scope: Scope) -> Trace | None:
    """The trace of a request. A header that is invalid, or there twice, is ignored."""
    found: Trace | None
    if TRACE in scope:
        found = scope[TRACE]
        return found
    text = header(scope, TRACE_HEADER)
    if text is None:
        return None
    is_only = sum(name == TRACE_HEADER for name, _ in scope["headers"]) == 1
    parent = valid_traceparent(text) if is_only else ""
    found = scope[TRACE] = Trace(parent) if parent else None
    return found


def traced(scope: Scope, kind: RequestKind) -> RequestKind:
    """The kind of a request with its trace, if it has one."""
    named = scope.get(HEADERS) or named_headers(scope)
    if TRACE_HEADER not in named and TRACE not in scope:  # as nearly all
        return kind
    trace = trace_of(scope)
    return kind if trace is None else msgspec.structs.replace(kind, trace=trace)


async def read_body(scope: Scope, receive: Receive, limit: int, memory: BodyMemory) -> bytes:
    """The whole body. Raises BadRequest and ClientDisconnected."""
    arrived = arrived_body(receive)
    if arrived is not None:
        if len(arrived) > limit:
            raise _too_large(limit)
        return arrived
    length = header(scope, b"content-length")
    if length is not None and length.isdecimal() and int(length) > limit:
        raise _too_large(limit)
    message = await receive()
    if not message.get("more_body", False) and message["type"] == "http.request":
        body: bytes = message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        return body
    client = scope.get("client")
    received = ReceivedBody(client_key(client[0]) if client else "")
    try:
        async with received.timeout:
            return await _rest_of_body(message, receive, limit, memory, received)
    except TimeoutError as error:
        if received.is_refused:
            raise memory.refusal() from error
        text = f"the body did not arrive within {BODY_TIMEOUT_S:.0f} s"
        raise BadRequest("body_too_slow", text) from error


def timeout_ms(
    scope: Scope,
    config: GatewayConfig,
    given: int | msgspec.UnsetType = msgspec.UNSET,
    default_ms: int = 0,
) -> int:
    """Time for the answer. `given`: in the body, which goes before the header. Raises
    BadRequest."""
    if isinstance(given, int):
        wanted_ms = given
    elif (text := header(scope, b"timeout-ms")) is not None:
        if not text.isdecimal() or len(text) > 9:
            raise BadRequest("malformed", "header timeout-ms is not a number of milliseconds")
        wanted_ms = int(text)
    else:
        return default_ms or config.default_timeout_ms
    if not 1 <= wanted_ms <= config.max_timeout_ms:
        limit = config.max_timeout_ms
        raise BadRequest("malformed", f"timeout_ms is {wanted_ms}; 1 to {limit} are accepted")
    return wanted_ms


async def _rest_of_body(
    first: Any, receive: Receive, limit: int, memory: BodyMemory, received: ReceivedBody
) -> bytes:
    chunks: list[bytes] = []
    message = first
    try:
        while True:
            if message["type"] == "http.disconnect":
                raise ClientDisconnected
            chunks.append(message.get("body", b""))
            memory.hold(received, len(chunks[-1]))
            if received.size > limit:
                raise _too_large(limit)
            if not message.get("more_body", False):
                return b"".join(chunks)
            message = await receive()
    finally:
        memory.release(received)


def _too_large(limit: int) -> BadRequest:
    return BadRequest("body_too_large", f"the body exceeds the limit of {limit} bytes")
