"""One request to the HTTP server behind the bridge, on a thread of its own."""

import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse

import msgspec

from wattline_runtime.serve.batcher import Failed, Key, Outcome, Output
from wattline_runtime.trace_context import TRACEPARENT, valid_traceparent
from wattline_runtime.wire import (
    CHAT,
    CHUNK_WINDOW,
    CHUNK_WINDOW_BYTES,
    COMPLETE,
    EMBED,
    MAX_DETAIL_CHARS,
    MAX_ITEM_BYTES,
    Infer,
)

PATHS: dict[str, str] = {
    CHAT: "/v1/chat/completions",
    COMPLETE: "/v1/completions",
    EMBED: "/v1/embeddings",
}
CONNECT_S = 5.0
DONE = b"[DONE]"
BUSY = (429, 503)
OCTETS = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Chunk:
    """The data of an event of the server's stream."""

    key: Key
    data: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """The server has answered, or the request has failed here."""

    key: Key
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Broken:
    """The connection to the server ended before the answer did."""

    key: Key
    has_begun: bool
    """The client has a part of the answer."""
    detail: str


News = Chunk | Ended | Broken


class _Usage(msgspec.Struct):
    total_tokens: int = 0


class _Body(msgspec.Struct):
    usage: _Usage | None = None


class Exchange:
    """Sends a request and passes on the answer. `post` is called by its thread."""

    def __init__(
        self,
        key: Key,
        message: Infer,
        address: tuple[str, int],
        path: str,
        post: Callable[[News], None],
    ) -> None:
        self._key = key
        self._message = message
        self._address = address
        self._path = path
        self._post = post
        self._socket: socket.socket | None = None
        self._is_cancelled = False
        self._unread: deque[int] = deque()
        self._may_continue = threading.Condition()
        self._has_begun = False
        self._tokens = 0
        self._thread = threading.Thread(target=self._run, name=f"request-{key.id}", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def cancel(self) -> None:
        """End it: the server sees its client leave."""
        with self._may_continue:
            self._is_cancelled = True
            self._may_continue.notify()
            if self._socket is not None:
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def release(self, count: int) -> None:
        """The client has read so many chunks."""
        with self._may_continue:
            for _ in range(min(count, len(self._unread))):
                self._unread.popleft()
            self._may_continue.notify()

    def _run(self) -> None:
        try:
            news: News = Ended(self._key, self._ask())
        except (OSError, HTTPException, ValueError) as error:
            text = f"{type(error).__name__}: {error}"[:MAX_DETAIL_CHARS]
            news = Broken(self._key, self._has_begun, text)
        if self._is_cancelled:
            news = Ended(self._key, Failed("cancelled"))
        self._post(news)

    def _ask(self) -> Outcome:
        message = self._message
        connection = HTTPConnection(*self._address, timeout=CONNECT_S)
        try:
            connection.connect()
            with self._may_continue:
                self._socket = connection.sock
                if self._is_cancelled:
                    return Failed("cancelled")
            connection.sock.settimeout(None)  # the gateway knows the deadline, and cancels
            kind = OCTETS if message.is_bytes else "application/json"
            headers = {"content-type": kind, "connection": "close"}
            if parent := valid_traceparent(message.traceparent):
                headers[TRACEPARENT] = parent
            connection.request("POST", self._path, message.input, headers)
            response = connection.getresponse()
            with response:
                if response.status >= 300:
                    return _refusal(response)
                return self._stream(response) if message.stream else self._whole(response)
        finally:
            connection.close()

    def _whole(self, response: HTTPResponse) -> Outcome:
        body = response.read(MAX_ITEM_BYTES + 1)
        if len(body) > MAX_ITEM_BYTES:
            return Failed("output_too_large", f"the answer exceeds {MAX_ITEM_BYTES} bytes")
        if response.length:
            raise HTTPException(f"{response.length} bytes of the answer are missing")
        if response.headers.get_content_type() == OCTETS:
            return Output(body, is_bytes=True) if self._message.is_bytes else _no_json("bytes")
        if why := _not_json(body):
            return _no_json(why)
        self._note_usage(body)
        return Output(body, tokens=self._tokens)

    def _stream(self, response: HTTPResponse) -> Outcome:
        if response.headers.get_content_type() != "text/event-stream":
            return Failed("model_error", "the server does not stream")
        for data in events(response):
            if data == DONE:
                return Output(b"", tokens=self._tokens)
            if len(data) > MAX_ITEM_BYTES:
                return Failed("output_too_large", f"an event exceeds {MAX_ITEM_BYTES} bytes")
            if why := _not_json(data):
                return _no_json(why)
            self._note_usage(data)
            if not self._wait_for_client(len(data)):
                return Failed("cancelled")
            self._has_begun = True
            self._post(Chunk(self._key, data))
        raise HTTPException("the server's stream ended without [DONE]")

    def _wait_for_client(self, size: int) -> bool:
        """Wait until the client has read enough. False: it has left."""
        with self._may_continue:
            while not self._is_cancelled:
                if len(self._unread) < CHUNK_WINDOW and sum(self._unread) < CHUNK_WINDOW_BYTES:
                    self._unread.append(size)
                    return True
                self._may_continue.wait()
        return False

    def _note_usage(self, data: bytes) -> None:
        if b'"usage"' in data:
            with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                usage = msgspec.json.decode(data, type=_Body).usage
                self._tokens = self._tokens if usage is None else usage.total_tokens


def events(response: HTTPResponse) -> Iterator[bytes]:
    """Data of server-sent events, each as one line; comments and other fields are left out. One
    that is too large is cut off as soon as it is."""
    lines: list[bytes] = []
    size = 0
    while line := response.readline(MAX_ITEM_BYTES + 1024):
        # A line may end with CR alone, which would end one of the client's, too.
        for text in line.removesuffix(b"\n").removesuffix(b"\r").split(b"\r"):
            if text.startswith(b"data:"):
                lines.append(text[5:].strip())
                size += len(lines[-1]) + 1
            if lines and (not text or size > MAX_ITEM_BYTES + 1):
                yield b" ".join(lines)
                lines, size = [], 0
    # An event without the empty line that ends it is incomplete.


def _refusal(response: HTTPResponse) -> Failed:
    """The server's own error."""
    text = response.read(64 * 1024).decode("utf-8", "replace").strip()[:MAX_DETAIL_CHARS]
    detail = f"{response.status} of the server: {text}"[:MAX_DETAIL_CHARS]
    if response.status in BUSY:
        return Failed("overloaded", detail)
    return Failed("bad_input" if 400 <= response.status < 500 else "model_error", detail)


def _not_json(data: bytes) -> str:
    """Empty: it is JSON."""
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return str(error)
    return ""


def _no_json(why: str) -> Failed:
    return Failed("model_error", f"the server's answer is not JSON: {why}"[:MAX_DETAIL_CHARS])
