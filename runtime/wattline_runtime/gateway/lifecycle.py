"""Start, succession and end of a gateway."""

import asyncio
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from math import inf
from typing import Protocol

import structlog
import uvicorn

from wattline_protocol.http.server import GuardedServer
from wattline_protocol.text.wording import counted
from wattline_runtime.gateway.config import Endpoints, GatewayConfig
from wattline_runtime.gateway.connections.listeners import Listeners
from wattline_runtime.gateway.connections.takeover import Offer, Predecessor, TakeoverFailed
from wattline_runtime.gateway.events import GraceOver, StopStarted
from wattline_runtime.gateway.shell import GatewayShell

log = structlog.get_logger()

STOP_LINGER_S = 1.0
"""After SIGTERM open connections are served so long, each with one more answer: a client may be
sending a request on a connection that would be closed."""
LOOK_S = 0.05
CATCH_UP_S = 10.0
"""A successor whose workers and routes are not there by then does not replace its predecessor."""


class Server(GuardedServer, uvicorn.Server):
    """The HTTP server; calls `on_started` once it accepts connections."""

    on_started: Callable[[], Awaitable[None]]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn."""
        await super().startup(sockets)
        await self.on_started()


@contextmanager
def stop_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` on SIGTERM and SIGINT."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


class Succession(Protocol):
    """A gateway's part in replacing another one."""

    offer: Offer

    async def end_predecessor(self) -> None:
        """This gateway is ready; returns once the other accepts no more clients."""


class Lifecycle:
    """A gateway from its start to its end."""

    def __init__(
        self, shell: GatewayShell, server: Server, listeners: Listeners, config: GatewayConfig
    ) -> None:
        self._shell, self._server, self._listeners = shell, server, listeners
        self._config = config
        self._has_successor = self._is_stopping = False
        self._drains: list[asyncio.Task[None]] = []
        self._predecessor: Predecessor | None = None

    async def run(
        self, successor: Succession | None, on_ready: Callable[[Endpoints], None] | None
    ) -> None:
        """Serve until `stop`, or until a successor has replaced this gateway.

        `successor`: this gateway's part in replacing another one, once its routes and workers are
        there. Raises TakeoverFailed.
        """

        async def started() -> None:
            if successor is not None:
                await successor.end_predecessor()
            if self._config.processes == 1:
                self._wait_for_successor()
            endpoints = self._endpoints()
            log.info("gateway_ready", http=endpoints.http_url, workers=endpoints.workers)
            if on_ready is not None:
                on_ready(endpoints)

        self._server.on_started = started
        if successor is None or await self._caught_up(successor.offer.ready_workers):
            await self._server.serve(sockets=[])
        if self._predecessor is not None:
            self._predecessor.close()

    async def _caught_up(self, workers: int) -> bool:
        """Routes and workers are there; False: the gateway was stopped meanwhile."""
        end_s = time.monotonic() + CATCH_UP_S
        gateway = self._shell.gateway
        while not self._server.should_exit:
            has_routes = gateway.queue.early is None
            if has_routes and gateway.pool.movable >= workers:
                return True
            if time.monotonic() >= end_s:
                if not has_routes or not gateway.pool.movable:
                    of_all = f"none of {counted(workers, 'worker')} connected"
                    missing = of_all if has_routes else "no routes came"
                    text = f"{missing} within {CATCH_UP_S:.0f} s; the running gateway serves on"
                    raise TakeoverFailed(text)
                return True  # those that are missing have ended, or will come
            await asyncio.sleep(LOOK_S)
        return False

    def _endpoints(self) -> Endpoints:
        host, port = self._listeners.http.getsockname()[:2]
        scheme = "https" if self._config.tls_cert else "http"
        http_url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
        return Endpoints(
            http_url, self._shell.socket.server.endpoint, self._shell.socket.public_key
        )

    # --- succession

    def _wait_for_successor(self) -> None:
        try:
            self._predecessor = Predecessor(
                self._listeners,
                self._config.http_host,
                self.hand_over,
                self.continue_serving,
                self.leave,
            )
        except OSError as error:
            log.warning("no_takeover", detail=f"no successor can connect: {error}")

    def hand_over(self) -> int:
        """A successor has begun; the number of workers that it will have."""
        workers = self._shell.gateway.pool.movable
        self._shell.change_handover("begun")
        return workers

    def continue_serving(self) -> None:
        """The successor has ended."""
        self._shell.change_handover("ended")

    def leave(self) -> None:
        """A successor is ready: finish what was accepted, however long that takes."""
        self._has_successor = True
        self._shell.change_handover("ready")
        log.info("gateway_succeeded", inside=len(self._shell.gateway.queue.requests))
        self._drain(inf)

    # --- end

    def stop(self) -> None:
        """Accept no new connections, answer what was accepted, refuse the rest after the grace."""
        if self._is_stopping:
            return
        self._is_stopping = True
        grace_s = self._config.stop_grace_s
        log.info("gateway_stopping", inside=len(self._shell.gateway.queue.requests))
        asyncio.get_running_loop().call_later(grace_s, self._shell.handle, GraceOver())
        self._drain(min(grace_s, STOP_LINGER_S))

    def _drain(self, linger_s: float) -> None:
        self._shell.is_draining = True
        is_last = not self._has_successor and not self._listeners.is_lasting
        self._server.stop_accepting(accept_queued=is_last)
        self._listeners.close_spare()
        self._drains.append(asyncio.create_task(self._end_after(linger_s), name="drain"))

    async def _end_after(self, linger_s: float) -> None:
        """End once all connections have, or after `linger_s`."""
        end_s = time.monotonic() + linger_s
        await asyncio.sleep(LOOK_S)  # connections that were just accepted are known then
        open_ = self._server.server_state.connections
        while open_ and time.monotonic() < end_s:  # noqa: ASYNC110 - uvicorn has no event
            await asyncio.sleep(LOOK_S)
        self._shell.handle(StopStarted())
        self._server.should_exit = True
