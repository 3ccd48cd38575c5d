"""uvicorn behind the guard: `accept` accepts its connections, the program handles signals.

Nothing of uvicorn is imported: the agent does not have it.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from wattline_protocol.http.accept import HttpAcceptor
from wattline_protocol.http.guard import HttpGuard


class GuardedServer:
    """Precedes `uvicorn.Server`, whose attributes and methods it uses. Serves one listening socket,
    which it closes when it stops; SIGTERM and SIGINT are left to the program, which has more
    than HTTP to stop."""

    config: Any
    server_state: Any
    lifespan: Any

    def __init__(
        self,
        config: Any,
        listener: socket.socket,
        guard: HttpGuard,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(config)  # type: ignore[call-arg]  # uvicorn's
        self._listener, self._guard, self._tls = listener, guard, tls
        self._acceptor: HttpAcceptor | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn, then start accepting connections."""
        await super().startup(sockets)  # type: ignore[misc]  # uvicorn's
        self._acceptor = HttpAcceptor(self._listener, self._guard, self._protocol, self._tls)

    def stop_accepting(self, *, accept_queued: bool) -> None:
        """Accept no more connections; those that are open are served. See `HttpAcceptor.stop`."""
        if self._acceptor is not None:
            self._acceptor.stop(accept_queued=accept_queued)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, then as uvicorn."""
        self.stop_accepting(accept_queued=False)
        await super().shutdown(sockets)  # type: ignore[misc]  # uvicorn's

    def _protocol(self) -> asyncio.Protocol:
        protocol: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
        return protocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None: the program handles signals."""
        yield
