"""Restart without a gap: a successor takes over from a gateway that runs.

A gateway waits for a successor on a UNIX socket named after its HTTP address. A successor connects
and gets the listening socket for clients itself, so that no connection in its queue is ever lost:
two sockets with SO_REUSEPORT would have a queue each, and the kernel drops one with its socket.
Workers connect again by themselves, so for them SO_REUSEPORT serves: the predecessor's beats
request a second connection of each, and it refuses those that reach itself. Once they are there the
successor reports that it is ready; the predecessor stops accepting clients, answers on open
connections until these have ended, and ends. A successor that ends before that changes nothing.
"""

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

import msgspec
import structlog

from wattline_protocol.wire.rollouts import MAX_PROCESSES
from wattline_runtime.gateway.connections.listeners import Listeners

log = structlog.get_logger()

VERSION = 1
READY = b"ready"
ANSWER_S = 5.0
"""A predecessor that does not answer for so long cannot be succeeded."""
MAX_BYTES = 1024
_PEER = struct.Struct("3i")


class Offer(msgspec.Struct, frozen=True):
    """Message of a predecessor, sent with its sockets."""

    version: int
    ready_workers: int
    """Its workers that will connect to a successor."""
    is_lasting: bool


class TakeoverFailed(RuntimeError):
    """The running gateway cannot be succeeded; it continues. The text has the reason."""


class Predecessor:
    """A gateway's side: waits for a successor."""

    def __init__(
        self,
        listeners: Listeners,
        host: str,
        begin: Callable[[], int],
        give_up: Callable[[], None],
        leave: Callable[[], None],
    ) -> None:
        """`host`: of the HTTP address, as configured. `begin`: leave new workers to the successor;
        the number that will connect to it. `give_up`: the successor ended too soon. `leave`: it is
        ready.

        Raises OSError.
        """
        self._listeners = listeners
        self._begin, self._give_up, self._leave = begin, give_up, leave
        self._loop = asyncio.get_running_loop()
        self._successor: socket.socket | None = None
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.setblocking(False)
        try:
            self._listener.bind(_name(host, listeners.http.getsockname()[1]))
            self._listener.listen(1)
        except OSError:
            self._listener.close()
            raise
        self._loop.add_reader(self._listener.fileno(), self._accept)

    def close(self) -> None:
        """Accept no successor any more."""
        for one in (self._listener, self._successor):
            if one is not None and one.fileno() >= 0:
                self._loop.remove_reader(one.fileno())
                one.close()

    def _accept(self) -> None:
        with suppress(BlockingIOError):
            connection, _ = self._listener.accept()
            if self._successor is not None or not _is_trusted(connection):
                connection.close()
                return
            connection.setblocking(False)
            self._successor = connection
            self._loop.add_reader(connection.fileno(), self._receive)
            offer = Offer(VERSION, self._begin(), self._listeners.is_lasting)
            log.info("successor_connected", workers=offer.ready_workers)
            with suppress(OSError):  # it has ended; `_receive` reads that
                socket.send_fds(
                    connection,
                    [msgspec.json.encode(offer)],
                    [one.fileno() for one in self._listeners.clients],
                )

    def _receive(self) -> None:
        connection = self._successor
        if connection is None:
            return
        try:
            is_ready = connection.recv(MAX_BYTES) == READY
        except BlockingIOError:
            return
        except OSError:
            is_ready = False
        if is_ready:
            self.close()
            self._leave()
        else:
            self._loop.remove_reader(connection.fileno())
            connection.close()
            self._successor = None
            log.warning("successor_lost")
            self._give_up()


class Successor:
    """The other side: what a predecessor gave."""

    def __init__(
        self, connection: socket.socket, clients: list[socket.socket], offer: Offer
    ) -> None:
        self._connection = connection
        self.clients = clients
        """Its listening sockets; a gateway of several processes has several."""
        self.offer = offer

    async def end_predecessor(self) -> None:
        """Report that this gateway is ready; returns once the other accepts no more clients."""
        loop = asyncio.get_running_loop()
        self._connection.setblocking(False)
        with suppress(OSError, TimeoutError):  # it has ended by itself
            self._connection.send(READY)
            async with asyncio.timeout(ANSWER_S):
                await loop.sock_recv(self._connection, MAX_BYTES)
        self.close()

    def close(self) -> None:
        """End the connection to the predecessor, which continues unless it was ended."""
        self._connection.close()


def connect(host: str, port: int) -> Successor | None:
    """Get the socket of the gateway that serves HTTP there; None: none does.

    Raises TakeoverFailed.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.settimeout(ANSWER_S)
    try:
        connection.connect(_name(host, port))
    except OSError:
        connection.close()
        return None
    numbers: list[int] = []
    try:
        if not _is_trusted(connection):
            raise TakeoverFailed("the gateway that runs belongs to another user")
        data, numbers, *_ = socket.recv_fds(connection, MAX_BYTES, MAX_PROCESSES)
        if not data:
            raise TakeoverFailed("the gateway that runs is being replaced by another one, or ends")
        offer = msgspec.json.decode(data, type=Offer)
        if offer.version != VERSION or not numbers:
            raise TakeoverFailed(f"the gateway that runs uses version {offer.version} of takeovers")
    except (OSError, msgspec.DecodeError, TakeoverFailed) as error:
        connection.close()
        for number in numbers:
            os.close(number)
        if isinstance(error, TakeoverFailed):
            raise
        raise TakeoverFailed(f"the gateway that runs gave no socket: {error}") from error
    return Successor(connection, [socket.socket(fileno=number) for number in numbers], offer)


def _is_trusted(connection: socket.socket) -> bool:
    """The other process belongs to this one's user, or to root."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    _, uid, _ = _PEER.unpack(raw)
    return uid in (0, os.geteuid())


def _name(host: str, port: int) -> str:
    """In the abstract namespace: it ends with its process, and needs no directory."""
    return f"\0wattline-gateway/{host}:{port}"
