"""Whole requests and answers, past the messages of ASGI.

uvicorn writes headers and body by a system call each, checks each header by regular expressions,
and the client wakes up twice: 10 µs of a request. Here they are written together, and a body that
has arrived is taken as it is; uvicorn's request is left as its own `receive` and `send` leave it.
Where anything is not as usual, these are used: a client that has left or does not read, a
connection that is to be closed, a program between that has replaced them, other than `Noting`.
"""

from collections.abc import Sequence
from functools import lru_cache
from http import HTTPStatus
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from typing import Any

from starlette.types import Message, Receive, Send

Headers = Sequence[tuple[bytes, bytes]]
CLOSE = (b"connection", b"close")
STATUS_LINE = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}
MOST_BYTES = 64 * 1024
"""Larger bodies are not copied behind their headers."""


USED = {
    *("access_log", "default_headers", "flow", "keep_alive", "message_event", "on_response"),
    *("scope", "transport"),
}
"""Attributes of uvicorn's request that are used here; they are not part of its API."""


def known(cycle: Any) -> Any:
    """uvicorn's class of a request and its answer; None: this release of it is another one."""
    return cycle if signature(cycle).parameters.keys() >= USED else None


def _cycle_of_httptools() -> Any:
    """None: httptools is not installed either."""
    if find_spec("httptools") is None:
        return None
    return known(import_module("uvicorn.protocols.http.httptools_impl").RequestResponseCycle)


CYCLE = _cycle_of_httptools()


class Noting:
    """A `send` that notes the status of an answer, and adds a header to it."""

    __slots__ = ("_header", "inner", "status")

    def __init__(self, inner: Send, status: int, header: tuple[bytes, bytes]) -> None:
        """`status` holds until there is an answer."""
        self.inner, self.status, self._header = inner, status, header

    def noted(self, status: int) -> bytes:
        """Note it; the line of the header."""
        self.status = status
        return b"%b: %b\r\n" % self._header

    async def __call__(self, message: Message) -> None:
        """As `inner`."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], self._header]
        await self.inner(message)


def arrived_body(receive: Receive) -> bytes | None:
    """The body, where all of it has arrived; None: `receive` returns it, perhaps in parts."""
    cycle: Any = getattr(receive, "__self__", None)
    if type(cycle) is not CYCLE or cycle.more_body or cycle.disconnected:
        return None
    if cycle.response_started or cycle.waiting_for_100_continue:
        return None
    cycle.flow.resume_reading()
    cycle.message_event.clear()
    body, cycle.body = bytes(cycle.body), bytearray()
    return body


async def send_answer(
    send: Send, status: int, headers: Headers, body: bytes, *, is_last: bool
) -> None:
    """Send an answer. `headers` are the program's own and never what a client sent: they are not
    checked. `is_last`: the connection is closed after it."""
    noting = send if isinstance(send, Noting) else None
    cycle: Any = getattr(send if noting is None else noting.inner, "__self__", None)
    if type(cycle) is CYCLE and not is_last and len(body) <= MOST_BYTES and _is_usual(cycle):
        more = b"" if noting is None else noting.noted(status)
        head = _head(status, *headers)
        _write(cycle, b"%b%d\r\n%b\r\n%b" % (head, len(body), more, body))
        return
    named = [*headers, (b"content-length", b"%d" % len(body))]
    if is_last:
        named.append(CLOSE)
    await send({"type": "http.response.start", "status": status, "headers": named})
    await send({"type": "http.response.body", "body": body})


@lru_cache(maxsize=256)
def _head(status: int, *headers: tuple[bytes, bytes]) -> bytes:
    """Up to the length of the body."""
    lines = [b"%b: %b\r\n" % header for header in headers]
    return b"".join((STATUS_LINE[status], *lines, b"content-length: "))


def _is_usual(cycle: Any) -> bool:
    return not (
        cycle.disconnected
        or cycle.response_started
        or not cycle.keep_alive
        or cycle.flow.write_paused
        or cycle.default_headers
        or cycle.access_log
        or cycle.scope["method"] == "HEAD"
    )


def _write(cycle: Any, data: bytes) -> None:
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    cycle.transport.write(data)
    cycle.message_event.set()
    cycle.on_response()
