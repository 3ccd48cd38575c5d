"""Answers in one write, over a transport in memory."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from support.programs.memory_connection import FAST, Memory, connected, turns
from wattline_protocol.http.guard import HttpGuard, guarded
from wattline_protocol.http.limits import HttpLimits
from wattline_protocol.http.scope_notes import has_client_left
from wattline_runtime.gateway.client import (
    SMALL_BYTES,
    BodyMemory,
    ClientDisconnected,
    read_body,
)
from wattline_runtime.gateway.connections import direct
from wattline_runtime.gateway.connections.direct import MOST_BYTES, Noting, send_answer
from wattline_runtime.gateway.connections.http_protocol import (
    MOST_PIPELINED,
    without_timers,
)
from wattline_runtime.gateway.errors import BadRequest

BODY = b'{"output":1}'
NAMED = ((b"content-type", b"application/json"), (b"wattline-cache", b"miss"))
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nwattline-cache: miss\r\n"
WHOLE = HEAD + b"content-length: 12\r\n\r\n" + BODY


def request(line: str = "POST / HTTP/1.1", *headers: str) -> bytes:
    return "\r\n".join((line, "host: here", *headers, "content-length: 2", "", "{}")).encode()


def echo() -> Any:
    """Answers with the body as the gateway reads it."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send_answer(
            send, 200, NAMED, await read_body(scope, receive, 9, BodyMemory()), is_last=False
        )

    return app


def answering(body: bytes = BODY, *, is_last: bool = False) -> Any:
    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send_answer(send, 200, NAMED, body, is_last=is_last)

    return app


def written(app: Any, *data: bytes, protocol: type[Any] = FAST) -> Memory:
    async def run() -> Memory:
        connection, transport = await connected(app, protocol)
        for one in data:
            connection.data_received(one)
            await turns()
        return transport

    return asyncio.run(run())


def test_an_answer_is_one_write_and_the_connection_takes_the_next_request() -> None:
    assert written(answering(), request(), request()).writes == [WHOLE, WHOLE]


def test_a_body_is_read_whole_or_in_parts() -> None:
    whole, parts = written(echo(), request()), written(echo(), request()[:-1], b"}")
    assert whole.writes == parts.writes == [HEAD + b"content-length: 2\r\n\r\n{}"]


def test_bodies_that_are_being_received_are_bounded_but_for_small_ones() -> None:
    size = SMALL_BYTES
    memory = BodyMemory(most_bytes=size + 1)

    async def body(parts: "asyncio.Queue[Message]", first: int) -> bytes:
        parts.put_nowait({"type": "http.request", "body": bytes(first), "more_body": True})
        return await read_body({"headers": []}, parts.get, 9 * size, memory)

    async def run() -> None:
        queues: list[asyncio.Queue[Message]] = [asyncio.Queue() for _ in range(3)]
        last: Message = {"type": "http.request", "body": b"x", "more_body": False}
        large, small, gone = (
            asyncio.create_task(body(parts, first))
            for parts, first in zip(queues, (2 * size, size - 1, size), strict=True)
        )
        await turns()
        with pytest.raises(BadRequest, match="being received are in use; retry") as refused:
            await body(asyncio.Queue(), size + 2)
        assert (refused.value.reason, refused.value.retry_after_s) == ("bodies_full", 1)
        queues[1].put_nowait(last)
        assert len(await small) == size
        queues[2].put_nowait({"type": "http.disconnect"})
        with pytest.raises(ClientDisconnected):
            await gone
        queues[0].put_nowait(last)
        assert len(await large) == 2 * size + 1
        assert not memory.held_bytes

    asyncio.run(run())


@pytest.mark.parametrize("attackers", [1, 4, 15])
def test_bodies_that_some_clients_never_end_leave_memory_to_another(attackers: int) -> None:
    size, at_most = 2 * SMALL_BYTES, 60
    memory = BodyMemory(most_bytes=at_most * (size - SMALL_BYTES))

    async def body(client: str, *parts: int) -> bytes:
        """With 0 as its last part it ends."""
        received: asyncio.Queue[Message] = asyncio.Queue()
        for part in parts:
            message = {"type": "http.request", "body": bytes(part), "more_body": part > 0}
            received.put_nowait(message)
        scope = {"headers": [], "client": (client, 1)}
        return await read_body(scope, received.get, 9 * size, memory)

    async def run() -> None:
        sources = [f"2001:db8:0:{number}::1" for number in range(attackers)]
        begun = [body(sources[n % attackers], size) for n in range(at_most)]
        small = [body("198.51.100.1", SMALL_BYTES) for _ in range(3 * at_most)]
        held = [asyncio.create_task(one) for one in (*small, *begun)]
        await turns()
        last = sources[-1]
        for client in (last, last.replace("::1", "::2")):  # one network
            with pytest.raises(BadRequest, match="bodies that are being received") as refused:
                await body(client, size, 0)
            assert refused.value.reason == "bodies_full"
            assert len(await body(client, SMALL_BYTES, 0)) == SMALL_BYTES
        honest = [body("203.0.113.7", size, size, 0) for _ in range(2)]
        assert [len(one) for one in await asyncio.gather(*honest)] == [2 * size] * 2
        await turns()
        assert sum(one.done() for one in held) == 3, "as many as had to make room"
        for one in held:
            one.cancel()
        ended = await asyncio.gather(*held, return_exceptions=True)
        lost = [one for one in ended if isinstance(one, BadRequest)]
        assert [one.reason for one in lost] == ["bodies_full"] * 3
        assert not memory.held_bytes

    asyncio.run(run())


def test_a_client_is_found_to_have_left_after_its_body_was_taken() -> None:
    async def run() -> Message:
        received: asyncio.Queue[Message] = asyncio.Queue()

        async def app(scope: Scope, receive: Receive, _: Send) -> None:
            await read_body(scope, receive, 9, BodyMemory())
            received.put_nowait(await receive())

        connection, _ = await connected(app)
        connection.data_received(request())
        await turns()
        assert received.empty()
        connection.connection_lost(None)
        return await asyncio.wait_for(received.get(), 30)

    assert asyncio.run(run()) == {"type": "http.disconnect"}


@pytest.mark.parametrize("requests", [1, 2], ids=["one", "followed-by-another"])
@pytest.mark.parametrize("protocol", [FAST, H11Protocol])
def test_an_application_that_does_not_read_can_see_that_its_client_has_left(
    protocol: type[Any], requests: int
) -> None:
    async def run() -> tuple[bool, bool]:
        seen: list[Scope] = []
        may_end = asyncio.Event()

        async def app(scope: Scope, _: Receive, __: Send) -> None:
            seen.append(scope)
            await may_end.wait()

        connection, _ = await connected(app, guarded(protocol, HttpGuard(HttpLimits())))
        connection.data_received(request() * requests)
        await turns()
        before = has_client_left(seen[0])
        connection.connection_lost(None)
        may_end.set()
        await turns()
        return before, has_client_left(seen[0])

    assert asyncio.run(run()) == (False, True)


def test_an_idle_connection_is_closed_by_the_sweep() -> None:
    async def run() -> list[bool]:
        guard = HttpGuard(HttpLimits(idle_s=60.0))
        connection, transport = await connected(answering(), guarded(FAST, guard))
        closed = []

        def sweep(now_s: float) -> None:
            connection.check_timeout(now_s)
            closed.append(transport.is_closed)

        connection.data_received(request())
        await turns()
        sweep(100.0)
        sweep(159.0)
        connection.data_received(request())
        await turns()
        sweep(161.0)  # since its second request it has been idle for less
        sweep(220.0)
        sweep(222.0)
        connection.connection_lost(None)
        return closed

    assert asyncio.run(run()) == [False, False, False, False, True]


def test_requests_that_were_sent_together_are_answered_in_order() -> None:
    assert written(answering(), request() * 3).writes == [WHOLE] * 3


def test_the_end_of_a_connection_is_noted_for_the_request_that_others_wait_behind() -> None:
    async def run() -> tuple[list[str], list[bytes]]:
        heard: list[str] = []

        async def app(_: Scope, receive: Receive, send: Send) -> None:
            heard.append((await receive())["type"])
            heard.append((await receive())["type"])
            await send_answer(send, 200, NAMED, BODY, is_last=False)

        connection, transport = await connected(app)
        connection.data_received(request() * 2)
        await turns()
        connection.connection_lost(None)
        await turns()
        return heard, transport.writes

    assert asyncio.run(run()) == (["http.request", "http.disconnect"], [])


def test_a_connection_whose_requests_pile_up_is_ended() -> None:
    def sent(count: int) -> list[Any]:
        async def run() -> list[Any]:
            waiting = asyncio.Event()

            async def app(_: Scope, receive: Receive, send: Send) -> None:
                await waiting.wait()
                await receive()
                await send_answer(send, 200, NAMED, BODY, is_last=False)

            connection, transport = await connected(app)
            connection.data_received(request() * count)
            found = [len(connection.pipeline), transport.is_closed]
            waiting.set()
            for _ in range(count):
                await turns()
            return [*found, len(transport.writes)]

        return asyncio.run(run())

    assert sent(MOST_PIPELINED + 1) == [MOST_PIPELINED, False, MOST_PIPELINED + 1]
    waits, is_closed, _ = sent(10_000)
    assert (waits, is_closed) == (MOST_PIPELINED, True)


@pytest.mark.parametrize(
    ("app", "data", "protocol"),
    [
        (answering(is_last=True), request(), FAST),
        (answering(), request("POST / HTTP/1.1", "connection: close"), FAST),
        (answering(), request("POST / HTTP/1.0"), FAST),
        (answering(is_last=True), request(), H11Protocol),
    ],
    ids=["last", "client-closes", "http-1.0", "h11"],
)
def test_the_last_answer_of_a_connection_says_so_and_closes_it(
    app: Any, data: bytes, protocol: type[Any]
) -> None:
    transport = written(app, data, protocol=protocol)
    head, _, body = b"".join(transport.writes).partition(b"\r\n\r\n")
    assert body == BODY
    assert b"connection: close" in head.lower()
    assert transport.is_closed


def test_a_release_of_uvicorn_with_other_requests_sends_its_answers_itself() -> None:
    class Other:
        def __init__(self, scope: Scope, transport: asyncio.Transport) -> None: ...

    assert direct.known(Other) is None
    assert direct.CYCLE is direct.known(RequestResponseCycle)


def test_an_answer_to_head_has_no_body() -> None:
    text = b"".join(written(answering(), request("HEAD / HTTP/1.1")).writes)
    assert text == HEAD + b"content-length: 12\r\n\r\n"


def test_a_large_body_is_not_copied() -> None:
    body = b"x" * (MOST_BYTES + 1)
    _, last = written(answering(body), request()).writes
    assert last == body


def test_h11_sends_the_same_answer() -> None:
    assert b"".join(written(answering(), request(), protocol=H11Protocol).writes) == WHOLE


def test_a_program_between_that_replaces_send_sees_each_message() -> None:
    seen: list[str] = []

    async def between(scope: Scope, receive: Receive, send: Send) -> None:
        async def note(message: Message) -> None:
            seen.append(message["type"])
            await send(message)

        await answering()(scope, receive, note)

    assert b"".join(written(between, request()).writes) == WHOLE
    assert seen == ["http.response.start", "http.response.body"]


@pytest.mark.parametrize("protocol", [FAST, H11Protocol], ids=["httptools", "h11"])
def test_what_notes_an_answer_adds_its_header(protocol: type[Any]) -> None:
    statuses: list[int] = []

    async def between(scope: Scope, receive: Receive, send: Send) -> None:
        noting = Noting(send, 499, (b"wattline-request-id", b"7"))
        statuses.append(noting.status)
        await answering()(scope, receive, noting)
        statuses.append(noting.status)

    sent = written(between, request(), protocol=protocol).writes
    head = HEAD + b"content-length: 12\r\nwattline-request-id: 7\r\n\r\n"
    assert b"".join(sent) == head + BODY
    assert len(sent) == 1 or protocol is H11Protocol
    assert statuses == [499, 200]


def test_a_client_that_has_left_is_sent_nothing() -> None:
    async def run() -> list[bytes]:
        may_answer = asyncio.Event()

        async def app(_: Scope, __: Receive, send: Send) -> None:
            await may_answer.wait()
            await send_answer(send, 200, NAMED, BODY, is_last=False)

        connection, transport = await connected(app)
        connection.data_received(request())
        await turns()
        connection.connection_lost(None)
        may_answer.set()
        await turns()
        return transport.writes

    assert asyncio.run(run()) == []


def test_a_client_that_does_not_read_is_waited_for() -> None:
    async def run() -> tuple[list[bytes], list[bytes]]:
        connection, transport = await connected(answering())
        connection.pause_writing()
        connection.data_received(request())
        await turns()
        before = [*transport.writes]
        connection.resume_writing()
        await turns()
        return before, transport.writes

    before, after = asyncio.run(run())
    assert before == []
    assert b"".join(after) == WHOLE


# --- clients that leave


def test_this_release_of_uvicorn_needs_no_timers_and_an_unknown_one_keeps_its_own() -> None:
    class Other(HttpToolsProtocol):
        def on_response_complete(self) -> None:
            self.something_new()  # type: ignore[attr-defined]

    assert FAST is not HttpToolsProtocol
    assert without_timers(Other) is Other


@pytest.mark.parametrize("is_together", [True, False])
@pytest.mark.parametrize("framing", ["content-length: 63", "transfer-encoding: chunked"])
def test_a_body_behind_an_upgrade_is_no_request(framing: str, *, is_together: bool) -> None:
    asked: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope["path"])
        await answering()(scope, receive, send)

    upgrade = "connection: Upgrade\r\nupgrade: h2c"
    head = f"POST /first HTTP/1.1\r\nhost: here\r\n{upgrade}\r\n{framing}\r\n\r\n".encode()
    body = request("POST /second HTTP/1.1")

    async def run() -> Memory:
        connection, transport = await connected(app)
        for one in (head + body,) if is_together else (head, body):
            connection.data_received(one)  # the second before the first is answered
        await turns()
        return transport

    transport = asyncio.run(run())
    heard = b"".join(transport.writes)
    assert heard.count(b"HTTP/1.1 ") == heard.count(b"HTTP/1.1 400 ") == 1
    assert b"without the header `upgrade`" in heard
    assert (asked, transport.is_closed) == ([], True)


def test_an_upgrade_without_a_body_is_ignored_and_the_connection_ends() -> None:
    lines = "GET / HTTP/1.1\r\nhost: here\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"
    transport = written(answering(), lines.encode())
    heard = b"".join(transport.writes)
    assert heard.startswith(b"HTTP/1.1 200 ")
    assert (b"connection: close" in heard, transport.is_closed) == (True, True)
