"""The gateway's HTTP edge over a connection that is only memory: parser, guard and application."""

import asyncio
import logging
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from wattline_protocol.http.guard import HttpGuard, guarded
from wattline_protocol.http.limits import networks
from wattline_protocol.http.proxies import behind_proxies
from wattline_protocol.trust.keys import KeyPair
from wattline_runtime.gateway.access.check import Access
from wattline_runtime.gateway.answers.answers import Answers
from wattline_runtime.gateway.config import GatewayConfig
from wattline_runtime.gateway.connections.http_protocol import http_protocol
from wattline_runtime.gateway.connections.listeners import open_listener
from wattline_runtime.gateway.core import Gateway
from wattline_runtime.gateway.http import http_app
from wattline_runtime.gateway.run import worker_socket
from wattline_runtime.gateway.shell import GatewayShell
from wattline_runtime.gateway.stats import Stats
from wattline_runtime.gateway.telemetry.snapshot import Observer

CHUNK_BYTES = 4096
TURNS = 4
"""Rounds of the event loop that an application without workers needs to answer."""


class _Memory(asyncio.Transport):
    """Takes what is written, reads nothing."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.2", 1), "sockname": ("127.0.0.1", 80)})
        self._is_closing = False

    def write(self, data: Any) -> None: ...
    def close(self) -> None:
        self._is_closing = True

    def abort(self) -> None:
        self._is_closing = True

    def is_closing(self) -> bool:
        return self._is_closing

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...
    def get_write_buffer_size(self) -> int:
        return 0


END_S = 2.0


class HttpTarget:
    """One gateway, a new connection for each input."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def feed(self, data: bytes) -> None:
        """Send `data` over a connection and close it. Raises what the server did not handle."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._loop.set_exception_handler(self._failed)
            self._loop.run_until_complete(self._open())
        self._error: BaseException | None = None
        self._loop.run_until_complete(self._connect(data))
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Give the gateway's sockets back."""
        if self._loop is not None:
            self._loop.run_until_complete(self._shut())
            self._loop.close()
            self._loop = None

    async def _shut(self) -> None:
        self._shell.close()

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        del loop
        self._error = context.get("exception") or RuntimeError(context["message"])

    async def _open(self) -> None:
        config = GatewayConfig(
            secret_key=KeyPair.generate().secret,
            trusted_proxies=("127.0.0.2/32",),
            max_timeout_ms=1000,
            default_timeout_ms=1,
        )
        with open_listener("127.0.0.1", 0) as listener:
            socket = worker_socket(config, listener)
        shell = GatewayShell(Gateway(config.queue_limit, config.hold_s), socket, Stats())
        shell.start()
        self._shell = shell
        guard = HttpGuard(config.limits, networks(config.trusted_proxies))
        answers = Answers(shell, config.cache_bytes)
        access = Access(shell.keys, shell.wait_for_routes)
        observer = Observer(shell, answers, guard, access)
        app = behind_proxies(http_app(shell, answers, config, access, observer.look), guard)
        self._config = uvicorn.Config(
            app, http=guarded(http_protocol(), guard), lifespan="off", log_config=None, ws="none"
        )
        self._config.load()
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # a line for each bad request

    async def _connect(self, data: bytes) -> None:
        made: Any = self._config.http_protocol_class
        state = ServerState()
        protocol = made(config=self._config, server_state=state, app_state={})
        transport = _Memory()
        protocol.connection_made(transport)
        for at in range(0, len(data), CHUNK_BYTES):
            if transport.is_closing():
                break
            protocol.data_received(data[at : at + CHUNK_BYTES])
            await asyncio.sleep(0)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        protocol.connection_lost(None)
        if state.tasks:  # a request without its client ends at once
            await asyncio.wait(state.tasks, timeout=END_S)
