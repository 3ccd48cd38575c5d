"""Connections of uvicorn behind the guard, over a transport in memory."""

import asyncio
import gc
import logging
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from wattline_protocol.http.guard import SMALL_BYTES, HttpGuard, guarded
from wattline_protocol.http.limits import HttpLimits
from wattline_protocol.http.server import GuardedServer
from wattline_protocol.http.unread import UnreadAnswers

GET = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n"
TURNS = 4
LARGE = 4 * SMALL_BYTES


class Memory(asyncio.Transport):
    """Takes what is written."""

    def __init__(self, address: str = "127.0.0.2") -> None:
        super().__init__({"peername": (address, 1), "sockname": ("127.0.0.1", 80)})
        self.sent = b""
        self.unsent_bytes = 0
        self.is_aborted = self.is_closed = False

    def write(self, data: Any) -> None:
        self.sent += data

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_aborted = True

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


@pytest.fixture(autouse=True)
def no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def _app(scope: Any, receive: Any, send: Any) -> None:
    del scope, receive
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize("error", [None, ConnectionResetError()])
def test_a_connection_that_has_ended_is_freed_without_a_collection(
    error: Exception | None,
) -> None:
    """The scheduler collects once an hour: clients could fill its memory by connecting."""

    async def connect() -> "weakref.ref[Any]":
        guard = HttpGuard(HttpLimits())
        config = uvicorn.Config(_app, http=guarded(H11Protocol, guard), log_config=None)
        config.load()
        made: Any = config.http_protocol_class
        protocol = made(config=config, server_state=ServerState(), app_state={})
        transport = Memory()
        protocol.connection_made(transport)
        protocol.data_received(GET)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        assert transport.sent.startswith(b"HTTP/1.1 204")
        protocol.connection_lost(error)
        return weakref.ref(protocol)

    assert asyncio.run(connect())() is None


def test_of_too_many_unread_answers_the_client_that_holds_most_loses_its_own() -> None:
    """Each client reads fast enough; its 256 connections would hold answers of 16 MiB each."""

    async def run() -> None:
        guard = HttpGuard(HttpLimits(unread_bytes=5 * LARGE))
        config = uvicorn.Config(_app, http=guarded(H11Protocol, guard), log_config=None)
        config.load()
        made: Any = config.http_protocol_class
        found: list[tuple[Any, Memory]] = []
        for address in ("127.0.0.2", "127.0.0.3", "127.0.0.2", "127.0.0.2", "127.0.0.2"):
            protocol = made(config=config, server_state=ServerState(), app_state={})
            found.append((protocol, Memory(address)))
            protocol.connection_made(found[-1][1])

        def lost() -> list[int]:
            for protocol, _ in found:
                protocol.check_timeout(asyncio.get_running_loop().time())
            return [n for n, (_, transport) in enumerate(found) if transport.is_aborted]

        for size, transport in zip((2, 2, 1, 0, 0), (t for _, t in found), strict=True):
            transport.unsent_bytes = size * LARGE
        assert lost() == []
        found[3][1].unsent_bytes = LARGE
        found[3][0].pause_writing()
        found[3][1].unsent_bytes = 0
        assert lost() == [3], "it is the newest of the client that holds most"
        found[1][1].unsent_bytes = 3 * LARGE
        assert lost() == [1, 3], "the other one holds as much now"
        for protocol, _ in found:
            protocol.connection_lost(None)
        assert not guard.unread.are_too_many("127.0.0.2")
        assert guard.unread == UnreadAnswers(5 * LARGE)

    asyncio.run(run())


@pytest.mark.parametrize("at_once", [2, 8])
def test_an_error_of_one_connection_ends_no_check_of_the_others(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr("wattline_protocol.http.guard.AT_ONCE", at_once)

    class Failing:
        def __init__(self) -> None:
            self.checked = asyncio.Event()

        def check_timeout(self, now_s: float) -> None:
            self.checked.set()
            raise RuntimeError(now_s)

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        guard = HttpGuard(HttpLimits(head_s=0.004))
        failing: list[Any] = [Failing() for _ in range(5)]
        for one in failing:
            guard.opened(one)
        for _ in range(3):  # sweeps, without a connection that is new
            for one in failing:
                await asyncio.wait_for(one.checked.wait(), 30)
                one.checked.clear()

    asyncio.run(run())


class Server(GuardedServer, uvicorn.Server):
    """uvicorn's, as programs have it."""


@pytest.mark.parametrize("kind", [H11Protocol, HttpToolsProtocol])
@pytest.mark.parametrize("is_started", [False, True])
def test_a_body_that_has_not_come_when_the_server_stops_is_refused_and_cleaned_up(
    caplog: pytest.LogCaptureFixture, kind: type[asyncio.Protocol], *, is_started: bool
) -> None:
    """uvicorn logs each as an error of the application, and leaves without waiting for it."""
    cleaned = []

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        if is_started:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while (await receive()).get("more_body"):
                pass
        finally:
            for _ in range(TURNS):
                await asyncio.sleep(0)
            cleaned.append(True)

    async def stop() -> Memory:
        guard = HttpGuard(HttpLimits())
        config = uvicorn.Config(
            app,
            http=guarded(kind, guard),
            lifespan="off",
            timeout_graceful_shutdown=0,
            log_config=None,
        )
        server, transport = Server(config, (), guard), Memory()
        config.load()
        server.servers, server.lifespan = [], config.lifespan_class(config)
        protocol: Any = server._protocol()
        protocol.connection_made(transport)
        protocol.data_received(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf")
        for _ in range(TURNS):
            await asyncio.sleep(0)
        await server.shutdown()
        return transport

    with caplog.at_level(logging.ERROR):
        transport = asyncio.run(stop())
    assert cleaned
    assert not [one for one in caplog.records if one.exc_info]
    assert transport.is_aborted == is_started
    assert transport.sent.startswith(b"HTTP/1.1 200" if is_started else b"HTTP/1.1 503")
    assert is_started or b'"reason":"stopping"' in transport.sent


CHUNKED = b"POST / HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n"


def _connected(kind: type[asyncio.Protocol], app: Any) -> tuple[Any, Memory]:
    """A guarded connection to the application, for a running loop."""
    protocol = guarded(kind, HttpGuard(HttpLimits()))
    config = uvicorn.Config(app, http=protocol, lifespan="off", log_config=None)
    config.load()
    made: Any = protocol
    connection, transport = made(config, ServerState(), {}), Memory()
    connection.connection_made(transport)
    return connection, transport


@pytest.mark.parametrize("kind", [H11Protocol, HttpToolsProtocol])
@pytest.mark.parametrize(
    ("request_", "is_whole", "statuses"),
    [(CHUNKED, True, [b"200"]), (CHUNKED, False, [b"200"]), (GET, True, [b"200", b"400"])],
    ids=["answered-early", "being-answered", "behind-an-answer"],
)
def test_what_is_malformed_is_refused_only_where_nothing_else_is_answered(
    kind: type[asyncio.Protocol], request_: bytes, statuses: list[bytes], *, is_whole: bool
) -> None:
    """h11 raises an error for an answer that it does not expect; httptools sends it."""

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})
        while not is_whole and (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.body", "body": b"}"})

    async def run() -> tuple[bytes, bool]:
        connection, transport = _connected(kind, app)
        for one in (request_, b"no chunk\r\n\r\n"):
            connection.data_received(one)
            for _ in range(TURNS):
                await asyncio.sleep(0)
        is_closed = transport.is_closed
        connection.connection_lost(None)
        await asyncio.sleep(0)
        return transport.sent, is_closed

    sent, is_closed = asyncio.run(run())
    assert [one[:3] for one in sent.split(b"HTTP/1.1 ")[1:]] == statuses
    assert is_closed


@pytest.mark.parametrize("kind", [H11Protocol, HttpToolsProtocol])
def test_what_is_malformed_behind_its_own_headers_has_one_answer_and_logs_no_error(
    kind: type[asyncio.Protocol], caplog: pytest.LogCaptureFixture
) -> None:
    """The application begins after the refusal: its answer left a traceback for each request."""

    async def run() -> bytes:
        connection, transport = _connected(kind, _app)
        connection.data_received(CHUNKED + b"no chunk\r\n\r\n")
        for _ in range(TURNS):
            await asyncio.sleep(0)
        connection.connection_lost(None)
        await asyncio.sleep(0)
        return transport.sent

    with caplog.at_level(logging.ERROR):
        sent = asyncio.run(run())
    assert [one[:3] for one in sent.split(b"HTTP/1.1 ")[1:]] == [b"400"]
    assert not caplog.records
