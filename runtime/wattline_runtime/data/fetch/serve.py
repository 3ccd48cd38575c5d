"""The loop of the fetch process: orders of the agent in, reports out."""

import contextlib
import os
import selectors
import socket
import struct
import sys
import time
from pathlib import Path

import msgspec
from msgspec.structs import replace

from wattline_protocol.wire.agents.data_messages import MAX_LINE_BYTES, CacheReport, FetchOrder
from wattline_runtime.data.cache.folder import CacheFolder, CacheInUse
from wattline_runtime.data.fetch.copying import Copying
from wattline_runtime.data.fetch.holding import Holding
from wattline_runtime.data.fetch.outputs import Outputs
from wattline_runtime.data.fetch.pace import Pace

REPORT_GAP_S = 0.2
"""Interval of reports about progress alone."""
URGENT = b"!"
ALONE_S = 600.0
"""Without an agent for so long, it ends."""
SEND_S = 5.0
RECEIVE_BYTES = 256 * 1024
EXIT_OK, EXIT_CACHE = 0, 74

_decode_order = msgspec.json.Decoder(FetchOrder).decode
_encode = msgspec.json.Encoder().encode


def serve(path: Path, cache_dir: Path, limit_bytes: int, rate_bytes_s: int) -> int:
    """Serve one agent at a time. Returns the exit status."""
    try:
        folder = CacheFolder(cache_dir, limit_bytes)
    except CacheInUse as error:  # by a process that serves the socket, or is about to end
        print(error, file=sys.stderr, flush=True)
        return EXIT_CACHE
    except (OSError, ValueError) as error:
        return _serve_error(listen(path), f"no cache at {cache_dir}: {error}")
    server = _Server(listen(path))
    server.holding = Holding(folder, Pace(rate_bytes_s), server.wake)
    server.copying = Copying(server.wake, rate_bytes_s)
    server.outputs = Outputs(server.wake, rate_bytes_s)
    server.run()
    return EXIT_OK


def _serve_error(listener: socket.socket, text: str) -> int:
    """Give the reason to the first agent that connects, and end."""
    print(text, file=sys.stderr, flush=True)
    listener.settimeout(SEND_S)
    with contextlib.suppress(OSError):
        link, _ = listener.accept()
        link.settimeout(SEND_S)
        link.sendall(_encode(CacheReport((), 0, 0, text)) + b"\n")
        link.recv(1)
    return EXIT_CACHE


class _Server:
    holding: Holding
    copying: Copying
    outputs: Outputs

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._client: socket.socket | None = None
        self._received = bytearray()
        self._wake, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._is_due = False
        self._sent_s = 0.0
        self._alone_s = time.monotonic()
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._wake, selectors.EVENT_READ, self._woken)

    def wake(self, *, is_urgent: bool) -> None:
        """From any thread: the state has changed, or only the progress of a fetch."""
        with contextlib.suppress(BlockingIOError):  # the pipe is full: it is awake
            os.write(self._waker, URGENT if is_urgent else b".")

    def run(self) -> None:
        """Until no agent has been connected for long."""
        while self._client is not None or time.monotonic() - self._alone_s < ALONE_S:
            for entry, _ in self._selector.select(self._wait_s()):
                entry.data()
            if self._is_due and self._wait_s() == 0:
                self._send_report()

    def _wait_s(self) -> float:
        if not self._is_due:
            return ALONE_S / 10
        return max(0.0, self._sent_s + REPORT_GAP_S - time.monotonic())

    def _woken(self) -> None:
        if URGENT in os.read(self._wake, 4096):
            self._sent_s = 0.0
        self._is_due = True

    def _accept(self) -> None:
        link, _ = self._listener.accept()
        user = struct.unpack("3i", link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
        if user not in (0, os.geteuid()):
            link.close()
            return
        self._drop()
        link.settimeout(SEND_S)
        self._client, self._is_due = link, True
        self._selector.register(link, selectors.EVENT_READ, self._receive)

    def _drop(self) -> None:
        if self._client is not None:
            self._selector.unregister(self._client)
            self._client.close()
            self._client, self._alone_s = None, time.monotonic()
            self._received.clear()

    def _receive(self) -> None:
        assert self._client is not None  # noqa: S101 - registered while it is there
        try:
            data = self._client.recv(RECEIVE_BYTES)
        except OSError:
            data = b""
        self._received += data
        if not data or len(self._received) > MAX_LINE_BYTES:
            self._drop()
            return
        *lines, rest = bytes(self._received).split(b"\n")
        self._received = bytearray(rest)
        if lines:  # each is the whole list
            self._obey(lines[-1])

    def _obey(self, line: bytes) -> None:
        try:
            order = _decode_order(line)
        except msgspec.MsgspecError as error:
            print(f"not a list: {error}", file=sys.stderr, flush=True)
            self._drop()
            return
        self.copying.obey(order.hold.to_store, order.secrets)
        self.holding.obey(order)
        self.outputs.obey(order)

    def _send_report(self) -> None:
        self._is_due, self._sent_s = False, time.monotonic()
        if self._client is None:
            return
        try:
            others = {"stored": self.copying.report(), "outputs": self.outputs.report()}
            report = replace(self.holding.report(), **others)
            self._client.sendall(_encode(report) + b"\n")
        except OSError:
            self._drop()


def listen(path: Path) -> socket.socket:
    """A socket of mode 0600, in place of one that a dead process left."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    before = os.umask(0o177)
    try:  # via the descriptor, because a socket path is limited to 107 characters
        listener.bind(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.umask(before)
        os.close(folder)
    listener.listen(1)
    return listener
