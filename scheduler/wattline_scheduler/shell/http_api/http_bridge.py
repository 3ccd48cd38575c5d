"""Between the HTTP server's thread and the scheduler's loop: questions in, answers back.

The server runs in a thread of its own and holds nothing: it turns HTTP into requests, which the
loop takes like any client's, and waits for the answers. Without `[http]` in the site file nothing
is started, loaded or listened to.
"""

import socket
import threading
from collections import deque
from contextlib import suppress
from typing import Protocol

from wattline_protocol.site.model import HttpDoor
from wattline_protocol.text.endpoints import split_endpoint
from wattline_protocol.wire.client_messages import Answer
from wattline_scheduler.shell.http_api.exchange import DoorRequest, DoorUnusable, Tell, token_of

DOOR = b"http-door"
"""Stands for the connection in `ClientAsked` and `Reply`; ZeroMQ's own ids are 5 bytes."""

MAX_WAITING = 64
"""Requests that wait for the loop; more are told that it is busy."""


class Server(Protocol):
    """What serves HTTP in the background."""

    def start(self) -> None: ...
    def stop(self) -> None: ...


class DoorDesk:
    """Questions from the HTTP server, taken by the loop."""

    def __init__(self, door: HttpDoor | None) -> None:
        """Listens already, so that a taken address stops the start. Raises DoorUnusable."""
        self.door = door
        self._lock = threading.Lock()
        self._asked: deque[tuple[int, DoorRequest]] = deque()
        self._tells: dict[int, Tell] = {}
        self._asks = 0
        self._refused: deque[str] = deque(maxlen=MAX_WAITING)
        self._server: Server | None = None
        self._listener: socket.socket | None = None
        if door is not None:
            token_of(door)
            self._listener = _listen(door.listen)
        self._bell_out, self._bell_in = socket.socketpair()
        self._bell_out.setblocking(False)
        self._bell_in.setblocking(False)

    def fileno(self) -> int:
        """Readable when a question waits."""
        return self._bell_out.fileno()

    @property
    def url(self) -> str:
        """Where it is reached; empty without a door."""
        if self._listener is None:
            return ""
        host, port = self._listener.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def start(self) -> None:
        """Begin to serve."""
        if self.door is None or self._listener is None:
            return
        from wattline_scheduler.shell.http_api.http_server import HttpServer

        self._server = HttpServer(self, self.door, self._listener)
        self._server.start()

    def ask(self, request: DoorRequest, tell: Tell) -> int | None:
        """From the server's thread: a question; None: too many wait. `tell` gets the answer."""
        with self._lock:
            if len(self._tells) >= MAX_WAITING:
                return None
            self._asks += 1
            self._tells[self._asks] = tell
            self._asked.append((self._asks, request))
            number = self._asks
        with suppress(BlockingIOError):  # it rings already
            self._bell_in.send(b"!")
        return number

    def forget(self, number: int) -> None:
        """From the server's thread: nobody waits for this answer any more."""
        with self._lock:
            self._tells.pop(number, None)

    def receive(self) -> list[tuple[int, DoorRequest]]:
        """Questions since the last call."""
        with suppress(BlockingIOError):
            self._bell_out.recv(4096)
        with self._lock:
            asked = list(self._asked)
            self._asked.clear()
        return asked

    def refuse(self, peer: str) -> None:
        """From the server's thread: somebody showed no right token."""
        self._refused.append(peer)

    def take_refusals(self) -> list[str]:
        """From where wrong tokens were shown since the last call, at most `MAX_WAITING`."""
        return [self._refused.popleft() for _ in range(len(self._refused))]

    def tell(self, number: int, answer: Answer) -> None:
        """Give an answer to whoever still waits for it."""
        with self._lock:
            tell = self._tells.pop(number, None)
        if tell is not None:
            tell(answer)

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
        raise DoorUnusable(f"cannot serve HTTP on {address}: {error.strerror or error}") from error
    return listener
