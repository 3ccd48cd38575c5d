"""Bodies that clients hold back by `Expect: 100-continue`."""

import asyncio
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from wattline_protocol.http.held_bodies import without_held_bodies

HELD = b"POST /first HTTP/1.1\r\nhost: here\r\nexpect: 100-continue\r\ncontent-length: 63\r\n\r\n"
NEXT = b"GET /second HTTP/1.1\r\nhost: here\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

both = pytest.mark.parametrize("kind", [H11Protocol, HttpToolsProtocol])


class Memory(asyncio.Transport):
    """Takes what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.2", 1), "sockname": ("127.0.0.1", 80)})
        self.sent = b""
        self.is_closed = False

    def write(self, data: Any) -> None:
        self.sent += data

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


async def _answer(send: Any) -> None:
    headers = [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def refusing(_scope: Any, _receive: Any, send: Any) -> None:
    await _answer(send)


async def reading(_scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await _answer(send)


def exchanged(app: Any, kind: Any, *data: bytes) -> Memory:
    async def run() -> Memory:
        config = uvicorn.Config(
            without_held_bodies(app), http=kind, interface="asgi3", lifespan="off", log_config=None
        )
        config.load()
        connection, transport = kind(config, ServerState(), {}), Memory()
        connection.connection_made(transport)
        for one in data:
            connection.data_received(one)
            for _ in range(6):
                await asyncio.sleep(0)
        return transport

    return asyncio.run(run())


@both
def test_an_answer_before_a_body_that_is_held_back_ends_the_connection(kind: Any) -> None:
    """Else the next request, perhaps of another client, would be read as that body."""
    transport = exchanged(refusing, kind, HELD)
    assert transport.sent.startswith(b"HTTP/1.1 401 ")
    assert transport.sent.lower().count(b"connection: close") == 1
    assert transport.is_closed


@both
@pytest.mark.parametrize("is_asked", [True, False])
def test_a_body_that_its_client_has_sent_leaves_the_connection_open(
    kind: Any, *, is_asked: bool
) -> None:
    """Whether or not it waited until it was asked for."""
    body = bytes(63)
    transport = exchanged(reading, kind, *((HELD, body) if is_asked else (HELD + body,)), NEXT)
    assert transport.sent.startswith(CONTINUE)
    assert transport.sent.count(b"HTTP/1.1 401 ") == 2
    assert b"connection: close" not in transport.sent.lower()
    assert not transport.is_closed


@both
def test_an_answer_to_a_request_without_expect_leaves_the_connection_open(kind: Any) -> None:
    transport = exchanged(refusing, kind, HELD.replace(b"expect", b"x-any") + bytes(63), NEXT)
    assert transport.sent.count(b"HTTP/1.1 401 ") == 2
    assert not transport.is_closed
