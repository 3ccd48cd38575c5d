"""uvicorn behind the guard: `accept` accepts its connections, the program handles signals.

Nothing of uvicorn is imported: the agent does not have it.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from wattline_protocol.http.accept import HttpAcceptor
from wattline_protocol.http.guard import App, HttpGuard, Scope

CANCELLED_S = 0.5
"""For what cancelled requests clean up, such as the remains of an upload."""


class GuardedServer:
    """Precedes `uvicorn.Server`, whose attributes and methods it uses. Serves listening sockets,
    which it closes when it stops; SIGTERM and SIGINT are left to the program, which has more
    than HTTP to stop."""

    config: Any
    server_state: Any
    lifespan: Any

    def __init__(
        self,
        config: Any,
        listeners: Iterable[socket.socket],
        guard: HttpGuard,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        config.app = refused_at_stop(config.app)
        super().__init__(config)  # type: ignore[call-arg]  # uvicorn's
        self._listeners, self._guard, self._tls = tuple(listeners), guard, tls
        self._acceptors: list[HttpAcceptor] = []
        self._spare: dict[socket.socket, HttpAcceptor] = {}
        self._is_accepting = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn, then start accepting connections."""
        await super().startup(sockets)  # type: ignore[misc]  # uvicorn's
        self._acceptors.extend(self._acceptor(listener) for listener in self._listeners)
        self._is_accepting = True

    def _acceptor(self, listener: socket.socket) -> HttpAcceptor:
        return HttpAcceptor(listener, self._guard, self._protocol, self._tls)

    def accept_also(self, spare: Collection[socket.socket]) -> None:
        """Accept from sockets of other processes as well, until a call without them."""
        if not self._is_accepting:
            return
        for listener, acceptor in self._spare.items():
            if listener in spare:
                acceptor.resume()
            else:
                acceptor.pause()
        for listener in spare:
            if listener not in self._spare:
                self._spare[listener] = self._acceptor(listener)

    def stop_accepting(self, *, accept_queued: bool) -> None:
        """Accept no more connections; those that are open are served. See `HttpAcceptor.stop`."""
        self._is_accepting = False
        for acceptor in (*self._spare.values(), *self._acceptors):
            acceptor.stop(accept_queued=accept_queued)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, then as uvicorn; requests that it cancels have a moment to end."""
        self.stop_accepting(accept_queued=False)
        await super().shutdown(sockets)  # type: ignore[misc]  # uvicorn's
        if self.server_state.tasks:
            await asyncio.wait([*self.server_state.tasks], timeout=CANCELLED_S)

    def _protocol(self) -> asyncio.Protocol:
        protocol: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
        return protocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None: the program handles signals."""
        yield


STOPPING = b'{"error":{"reason":"stopping","message":"the server is stopping; retry"}}'
STOPPING_HEADERS = [
    (b"content-type", b"application/json"),
    (b"content-length", b"%d" % len(STOPPING)),
    (b"retry-after", b"1"),
    (b"connection", b"close"),
]


def refused_at_stop(app: App) -> App:
    """The application, for a server that cancels what has not ended in time when it stops.

    A request whose body has not come, or whose answer is not read, is no failure of the
    application, as which uvicorn logs each one: it is refused, or cut off in its answer.
    """

    async def answer(scope: Scope, receive: Any, send: Any) -> None:
        try:
            await app(scope, receive, send)
        except asyncio.CancelledError:
            request = send.__self__  # uvicorn's
            if request.response_started or request.flow.write_paused:
                request.disconnected = True
                request.transport.abort()
                return
            start = {"type": "http.response.start", "status": 503, "headers": STOPPING_HEADERS}
            await send(start)
            await send({"type": "http.response.body", "body": STOPPING})

    return answer
