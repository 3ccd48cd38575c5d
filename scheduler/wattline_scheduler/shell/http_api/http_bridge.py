"""Bridge between the HTTP server's thread and the scheduler's loop: requests in, answers back.

The server runs in a thread of its own and is stateless: it turns HTTP into requests, which the loop
handles like any client's, and waits for the answers. Without `[http]` in the site file nothing is
started, loaded or listened on.
"""

import socket
import threading
from collections import deque
from contextlib import suppress
from typing import Protocol

from wattline_protocol.site.model import HttpApi
from wattline_protocol.text.endpoints import split_endpoint
from wattline_protocol.wire.client_messages import Answer
from wattline_scheduler.shell.http_api.exchange import ApiRequest, ApiUnusable, Deliver, token_of

MAX_WAITING = 64
"""Requests queued for the loop; further ones are refused as busy."""


class Server(Protocol):
    """HTTP server in the background."""

    def start(self) -> None: ...
    def stop(self) -> None: ...


class HttpBridge:
    """Requests from the HTTP server, taken by the loop."""

    def __init__(self, api: HttpApi | None) -> None:
        """Listens at once, so that an address in use stops the start. Raises ApiUnusable."""
        self.api = api
        self._lock = threading.Lock()
        self._asked: deque[tuple[int, ApiRequest]] = deque()
        self._waiting: dict[int, Deliver] = {}
        self._asks = 0
        self._refused: deque[str] = deque(maxlen=MAX_WAITING)
        self._server: Server | None = None
        self._listener: socket.socket | None = None
        if api is not None:
            token_of(api)
            self._listener = _listen(api.listen)
        self._bell_out, self._bell_in = socket.socketpair()
        self._bell_out.setblocking(False)
        self._bell_in.setblocking(False)

    def fileno(self) -> int:
        """Readable when a request is queued."""
        return self._bell_out.fileno()

    @property
    def url(self) -> str:
        """URL of the server; empty without one."""
        if self._listener is None:
            return ""
        host, port = self._listener.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def start(self) -> None:
        """Start to serve."""
        if self.api is None or self._listener is None:
            return
        from wattline_scheduler.shell.http_api.http_server import HttpServer

        self._server = HttpServer(self, self.api, self._listener)
        self._server.start()

    def ask(self, request: ApiRequest, reply: Deliver) -> int | None:
        """From the server's thread: queue a request; None: too many. `reply` gets the answer."""
        with self._lock:
            if len(self._waiting) >= MAX_WAITING:
                return None
            self._asks += 1
            self._waiting[self._asks] = reply
            self._asked.append((self._asks, request))
            number = self._asks
        with suppress(BlockingIOError):  # it is signalled already
            self._bell_in.send(b"!")
        return number

    def forget(self, number: int) -> None:
        """From the server's thread: the answer is no longer needed."""
        with self._lock:
            self._waiting.pop(number, None)

    def receive(self) -> list[tuple[int, ApiRequest]]:
        """Requests since the last call."""
        with suppress(BlockingIOError):
            self._bell_out.recv(4096)
        with self._lock:
            asked = list(self._asked)
            self._asked.clear()
        return asked

    def refuse(self, peer: str) -> None:
        """From the server's thread: a request had no valid token."""
        self._refused.append(peer)

    def take_refusals(self) -> list[str]:
        """Peers that sent an invalid token since the last call, at most `MAX_WAITING`."""
        return [self._refused.popleft() for _ in range(len(self._refused))]

    def reply(self, number: int, answer: Answer) -> None:
        """Pass an answer to its request, if that still waits."""
        with self._lock:
            reply = self._waiting.pop(number, None)
        if reply is not None:
            reply(answer)

    def close(self) -> None:
        """Stop serving."""
        if self._server is not None:
            self._server.stop()
        if self._listener is not None:
            self._listener.close()
        self._bell_out.close()
        self._bell_in.close()


def _listen(address: str) -> socket.socket:
    host, port = split_endpoint(f"tcp://{address}")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, 0 if port == "*" else int(port)))
        listener.listen(MAX_WAITING)
    except OSError as error:
        listener.close()
        raise ApiUnusable(f"cannot serve HTTP on {address}: {error.strerror or error}") from error
    return listener
