"""Chunked bodies: their chunks and the fields behind them are bounded."""

import asyncio

import pytest
from starlette.types import Receive, Scope, Send

from support.programs.memory_connection import FAST, connected, turns
from wattline_protocol.http.guard import HttpGuard, Reason, guarded
from wattline_protocol.http.limits import HttpLimits
from wattline_protocol.http.scope_notes import LONG_BODY, LongBody
from wattline_runtime.gateway.connections.direct import send_answer
from wattline_runtime.gateway.connections.http_protocol import (
    CHUNK_BYTES,
    FREE_CHUNKS,
    MOST_TRAILER_BYTES,
)

CHUNKED = b"POST / HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n"
SMALL_CHUNK = b"1\r\n \r\n"


def test_trailer_fields_become_no_headers() -> None:
    seen: list[list[tuple[bytes, bytes]]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["more_body"]:
            pass
        seen.append(scope["headers"])
        await send_answer(send, 200, (), b"", is_last=False)

    async def run() -> None:
        connection, _ = await connected(app)
        connection.data_received(CHUNKED + b"0\r\nauthorization: Bearer x\r\n\r\n")
        await turns()
        connection.data_received(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n")
        await turns()

    asyncio.run(run())
    host = (b"host", b"here")
    assert seen == [[host, (b"transfer-encoding", b"chunked")], [host]]


def chunked_body(*data: bytes, is_long: bool = False) -> tuple[bool, dict[Reason, int]]:
    """Whether its connection is ended, and what is counted."""

    async def run() -> tuple[bool, dict[Reason, int]]:
        async def app(scope: Scope, receive: Receive, _: Send) -> None:
            if is_long:
                scope[LONG_BODY] = LongBody(1e9, is_paced=True)
            while (await receive())["type"] != "http.disconnect":
                pass

        guard = HttpGuard(HttpLimits())
        connection, transport = await connected(app, guarded(FAST, guard))
        for one in (CHUNKED, *data):
            connection.data_received(one)
            await turns()
        outcome = (transport.is_closed, {**guard.refused})
        connection.connection_lost(None)
        await turns()
        return outcome

    return asyncio.run(run())


def test_trailer_fields_beyond_the_limit_end_the_connection() -> None:
    field = b"x:\r\n"
    most = MOST_TRAILER_BYTES // (len(field) + 1)
    assert chunked_body(b"0\r\n", field * most) == (False, {})
    refused = {"headers_too_large": 1}
    assert chunked_body(b"0\r\n", field * most, field, field) == (True, refused)


@pytest.mark.parametrize("is_long", [False, True])
def test_bodies_in_tiny_chunks_are_refused_unless_read_as_they_arrive(*, is_long: bool) -> None:
    some = SMALL_CHUNK * FREE_CHUNKS
    assert chunked_body(some, is_long=is_long) == (False, {})
    refused = (True, {"chunks_too_small": 1})
    assert chunked_body(some, some, is_long=is_long) == ((False, {}) if is_long else refused)


def test_bodies_in_larger_chunks_may_have_any_number() -> None:
    chunk = b"1b\r\n" + b" " * 27 + b"\r\n"
    assert len(chunk) >= CHUNK_BYTES
    assert chunked_body(*[chunk * 8_000] * 5) == (False, {})
