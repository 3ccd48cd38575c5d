"""Accepts connections for a guarded HTTP server, one in each turn of its event loop, more in a slow
one.

asyncio itself accepts all pending connections at once and creates a protocol for each: a flood of a
thousand connections delays all others for a tenth of a second. A request takes half a dozen turns,
so it is delayed by as many connections, of 20 to 50 us each. In a busy loop a turn takes some 40
ms: one in each alone would be 25 connections a second, and further ones would wait for ever. Here a
connection that the guard would refuse costs three system calls.
"""

import asyncio
import errno
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from wattline_protocol.http.guard import HttpGuard
from wattline_protocol.http.limits import HttpLimits, client_key

FURTHER_S = 0.0025
"""For each such time since the last turn that accepted, a further connection is accepted."""
MAX_AT_ONCE = 16
HANDSHAKES = HttpLimits(connections=512, connections_per_address=256)
"""TLS handshakes at a time, of all and of one address. A connection counts in the guard only after
its handshake: an address that begins many and ends none must leave some to others."""
AGAIN_S = 0.1
"""Retry interval where the process or the host is out of files or memory."""
OUT_OF = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class HttpAcceptor:
    """Acceptor of one listening socket, within a running loop."""

    def __init__(
        self,
        listener: socket.socket,
        guard: HttpGuard,
        protocol: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tls, self._clock, self._accepted_s = tls, clock, clock()
        self._listener, self._guard, self._protocol = listener, guard, protocol
        self._loop = asyncio.get_running_loop()
        self._taken: set[asyncio.Task[object]] = set()
        self._handshakes: Counter[str] = Counter()
        """By client; those of trusted proxies together."""
        self._is_stopped = self._is_paused = False
        listener.setblocking(False)
        self._listen()

    def stop(self, *, accept_queued: bool) -> None:
        """Stop accepting; the socket is closed.

        `accept_queued`: accept what the kernel has queued, for it drops that with the last
        descriptor of the socket; else it is left to another process that has the socket.
        """
        if self._is_stopped:
            return
        self._is_stopped = True
        self._loop.remove_reader(self._listener.fileno())
        for _ in range(self._guard.limits.connections if accept_queued else 0):
            if not self._accept_one():
                break
        self._listener.close()

    def pause(self) -> None:
        """Leave connections to other processes that have the socket, until `resume`."""
        self._is_paused = True
        self._loop.remove_reader(self._listener.fileno())

    def resume(self) -> None:
        """Accept again."""
        self._is_paused = False
        self._listen()

    def _listen(self) -> None:
        if not self._is_stopped and not self._is_paused:
            self._loop.add_reader(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        now_s = self._clock()
        further = int((now_s - self._accepted_s) / FURTHER_S)
        self._accepted_s = now_s
        for _ in range(min(1 + further, MAX_AT_ONCE)):
            if not self._accept_one():
                return

    def _accept_one(self) -> bool:
        """Accept one connection; False: there is none now."""
        try:
            connection, peer = self._listener.accept()
        except (BlockingIOError, InterruptedError):
            return False
        except ConnectionAbortedError:
            return True
        except OSError as error:
            if error.errno not in OUT_OF:
                raise
            self._loop.remove_reader(self._listener.fileno())
            self._loop.call_later(AGAIN_S, self._listen)
            return False
        self._take(connection, str(peer[0]))
        return True

    def _take(self, connection: socket.socket, address: str) -> None:
        connection.setblocking(False)
        client = "" if self._guard.is_proxy(address) else client_key(address)
        refusal = self._guard.refusal(address)
        if not refusal and self._has_too_many_handshakes(client):
            self._guard.count("too_many_connections", address)
        elif not refusal:
            self._begin(connection, client)
            return
        with suppress(OSError):
            connection.send(b"" if self._tls is not None else refusal)
        connection.close()

    def _has_too_many_handshakes(self, client: str) -> bool:
        if self._tls is None:
            return False
        most = HANDSHAKES.most_of_one(len(self._taken))
        return not most or bool(client and self._handshakes[client] >= most)

    def _begin(self, connection: socket.socket, client: str) -> None:
        handshake_s = None if self._tls is None else self._guard.limits.head_s
        taking = self._loop.connect_accepted_socket(
            self._protocol, connection, ssl=self._tls, ssl_handshake_timeout=handshake_s
        )
        task: asyncio.Task[object] = self._loop.create_task(taking, name="http-connection")
        self._taken.add(task)
        self._handshakes[client] += 1
        task.add_done_callback(partial(self._ended, client))

    def _ended(self, client: str, task: asyncio.Task[object]) -> None:
        self._taken.discard(task)
        self._handshakes[client] -= 1
        if not self._handshakes[client]:
            del self._handshakes[client]
        if not task.cancelled():
            task.exception()  # of a failed handshake, which concerns its client alone
