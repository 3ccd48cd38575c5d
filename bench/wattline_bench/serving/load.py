"""HTTP clients of a server on loopback: users in a closed loop, or Poisson arrivals."""

import selectors
import socket
import time
from collections.abc import Iterable, Iterator
from random import Random
from typing import cast
from urllib.parse import urlsplit

SERVICE = "echo"
INFER = f"/v1/services/{SERVICE}/infer"
BODY = b'{"input":"%064d"}'
PATIENT_MS = 30_000

Answers = list[tuple[int, float]]
"""(HTTP status, seconds) of each request."""

HEALTH_EVERY_S = 0.05


def posts(
    bodies: Iterable[bytes], timeout_ms: int = PATIENT_MS, key: str = "", path: str = INFER
) -> Iterator[bytes]:
    """Whole requests."""
    with_key = f"authorization: Bearer {key}\r\n" if key else ""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
        f"timeout-ms: {timeout_ms}\r\n{with_key}content-length: "
    ).encode()
    for body in bodies:
        yield b"%b%d\r\n\r\n%b" % (head, len(body), body)


class Load:
    """Users over keep-alive HTTP, one request a connection at a time."""

    def __init__(
        self, url: str, connections: int, requests: Iterator[bytes], *, asks_health: bool = False
    ) -> None:
        """`asks_health`: beside an open loop `/healthz` is requested, over a further connection."""
        parts = urlsplit(url)
        self._requests = requests
        self._selector = selectors.DefaultSelector()
        address = parts.hostname, parts.port
        self._sockets = [socket.create_connection(address) for _ in range(connections)]
        self._health = socket.create_connection(address) if asks_health else None
        self.health_s: list[float] = []
        """Times of `/healthz` from when each was due."""
        self._health_due_s = 0.0
        self._is_health_out = False
        every = self._sockets if self._health is None else [*self._sockets, self._health]
        self._buffers = {connection: bytearray() for connection in every}
        self._since_s: dict[socket.socket, float] = {}
        """When the request that is out on a connection was due."""
        for connection in every:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(connection, selectors.EVENT_READ)

    def closed_loop(self, seconds: float, users: int | None = None) -> Answers:
        """Every user (None: all connections) sends again once answered."""
        for connection in self._sockets[:users]:
            self._send(connection, time.perf_counter())
        end_s = time.perf_counter() + seconds
        done: Answers = []
        while self._since_s:
            for connection, status, took_s in self._answers(None):
                done.append((status, took_s))
                if time.perf_counter() < end_s:
                    self._send(connection, time.perf_counter())
        return done

    def open_loop(self, seconds: float, rate_per_s: float, seed: int = 1) -> Answers:
        """Poisson arrivals, each counted from when it was due."""
        random = Random(seed)
        due_s = self._health_due_s = time.perf_counter()
        end_s = due_s + seconds
        free = list(self._sockets)
        done: Answers = []
        while self._since_s or due_s < end_s:
            self._ask_health()
            while free and due_s <= time.perf_counter() and due_s < end_s:
                self._send(free.pop(), due_s)
                due_s += random.expovariate(rate_per_s)
            next_s = [due_s] if free and due_s < end_s else []
            next_s += [self._health_due_s] if self._health and not self._is_health_out else []
            wait_s = max(0.0, min(next_s) - time.perf_counter()) if next_s else None
            for connection, status, took_s in self._answers(wait_s):
                done.append((status, took_s))
                free.append(connection)
        return done

    def _send(self, connection: socket.socket, due_s: float) -> None:
        self._since_s[connection] = due_s
        connection.sendall(next(self._requests))

    def _ask_health(self) -> None:
        is_due = not self._is_health_out and self._health_due_s <= time.perf_counter()
        if self._health is not None and is_due:
            self._is_health_out = True
            self._health.sendall(b"GET /healthz HTTP/1.1\r\nhost: bench\r\n\r\n")

    def _answers(self, wait_s: float | None) -> Iterator[tuple[socket.socket, int, float]]:
        for key, _ in self._selector.select(wait_s):
            connection = cast("socket.socket", key.fileobj)
            buffer = self._buffers[connection]
            received = connection.recv(65536)
            if not received:
                raise ConnectionError("the server closed a connection")
            buffer += received
            if not _is_whole(buffer):
                continue
            status = int(buffer[9:12])
            buffer.clear()
            if connection is self._health:
                self.health_s.append(time.perf_counter() - self._health_due_s)
                self._is_health_out = False
                self._health_due_s = max(self._health_due_s + HEALTH_EVERY_S, time.perf_counter())
            else:
                yield connection, status, time.perf_counter() - self._since_s.pop(connection)

    def close(self) -> None:
        self._selector.close()
        for connection in self._buffers:
            connection.close()


def _is_whole(buffer: bytearray) -> bool:
    head = buffer.find(b"\r\n\r\n")
    if head < 0:
        return False
    start = buffer.lower().index(b"content-length: ") + 16
    return len(buffer) == head + 4 + int(buffer[start : buffer.index(b"\r\n", start)])
