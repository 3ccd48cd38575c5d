"""Starts and stops a gateway: sockets, HTTP server, route source, signals."""

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec

import structlog
import uvicorn
import zmq

from wattline_protocol.http.guard import HttpGuard, Reason, behind_proxies, guarded
from wattline_protocol.http.limits import networks
from wattline_protocol.http.server import GuardedServer
from wattline_protocol.trust.keys import KeyPair
from wattline_runtime.gateway.config import Endpoints, GatewayConfig
from wattline_runtime.gateway.core import Gateway
from wattline_runtime.gateway.events import GraceOver, StopStarted
from wattline_runtime.gateway.http import http_app
from wattline_runtime.gateway.routes import RouteSource
from wattline_runtime.gateway.shell import GatewayShell
from wattline_runtime.gateway.stats import Stats
from wattline_runtime.gateway.worker_socket import WorkerSocket

log = structlog.get_logger()

HTTP_END_S = 1
"""After the last answers: time for open connections to end before they are cut."""
KEEP_ALIVE_S = 60
BACKLOG = 1024


def run_gateway(
    config: GatewayConfig,
    routes: RouteSource,
    on_ready: Callable[[Endpoints], None] | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status.

    `on_ready` is called once both sockets are bound. Raises ValueError for a missing key, OSError
    or TransportError for an address that cannot be bound, and errors of the route source.
    """
    if not config.secret_key:
        raise ValueError("the gateway needs a CURVE secret key (40 characters, z85)")
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(config, routes, on_ready))


async def _serve(
    config: GatewayConfig, routes: RouteSource, on_ready: Callable[[Endpoints], None] | None
) -> int:
    with open_listener(config.http_host, config.http_port) as listener:
        shell = GatewayShell(
            Gateway(config.queue_limit, config.hold_s), worker_socket(config), Stats()
        )
        guard = HttpGuard(config.limits, networks(config.trusted_proxies), _note_refused)
        server = _Server(_uvicorn_config(shell, config, guard), listener, guard)
        shell.start()
        watching = asyncio.create_task(_watch(shell, routes, server), name="routes")
        with _signals(lambda: _stop(shell, server, config.stop_grace_s)):
            endpoints = _endpoints(listener, shell.socket)
            log.info("gateway_ready", http=endpoints.http_url, workers=endpoints.workers)
            if on_ready is not None:
                on_ready(endpoints)
            await server.serve(sockets=[])
        watching.cancel()
        (ended,) = await asyncio.gather(watching, return_exceptions=True)
        shell.close()
    log.info("gateway_stopped")
    if isinstance(ended, Exception):
        raise ended  # the route source failed, and that stopped the server
    return 0


def _endpoints(listener: socket.socket, workers: WorkerSocket) -> Endpoints:
    host, port = listener.getsockname()[:2]
    http_url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    return Endpoints(http_url, workers.server.endpoint, workers.public_key)


async def _watch(shell: GatewayShell, routes: RouteSource, server: uvicorn.Server) -> None:
    """Pass route changes to the shell; a source that fails stops the gateway."""
    try:
        async for services in routes.updates():
            shell.change_routes(services)
    except Exception:
        server.should_exit = True
        raise


def _stop(shell: GatewayShell, server: uvicorn.Server, grace_s: float) -> None:
    """Accept no new requests, answer admitted ones, refuse the rest after the grace time."""
    if shell.gateway.queue.is_stopping:
        return
    log.info("gateway_stopping", inside=len(shell.gateway.queue.requests))
    shell.handle(StopStarted())
    server.should_exit = True
    asyncio.get_running_loop().call_later(grace_s, shell.handle, GraceOver())


class _Server(GuardedServer, uvicorn.Server):
    """The server with its settings."""


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _note_refused(reasons: dict[Reason, int], address: str) -> None:
    log.warning("http_clients_refused", newest_address=address, **reasons)


def _uvicorn_config(shell: GatewayShell, config: GatewayConfig, guard: HttpGuard) -> uvicorn.Config:
    return uvicorn.Config(
        behind_proxies(http_app(shell, config, guard), guard),
        http=guarded(http_protocol(), guard),
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        ws="none",
        backlog=BACKLOG,
        h11_max_incomplete_event_size=config.max_header_bytes,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=round(config.stop_grace_s + 0.5) or HTTP_END_S,
    )


def open_listener(host: str, port: int) -> socket.socket:
    """Listen for clients. Raises OSError with the address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio turns Nagle's delay off only for sockets that name TCP.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)  # clients queue from here on, so the address may be published
    except OSError as error:
        listener.close()
        text = f"cannot serve HTTP on {host}:{port}: {error.strerror}"
        raise OSError(error.errno, text) from error
    return listener


def worker_socket(config: GatewayConfig) -> WorkerSocket:
    """Listen for workers. Raises TransportError."""
    public = zmq.curve_public(config.secret_key.encode("ascii")).decode("ascii")
    keys = KeyPair(public, config.secret_key)
    return WorkerSocket(config.worker_host, config.worker_port, keys)


def http_protocol() -> type[asyncio.Protocol]:
    """httptools where it is installed, else h11: as uvicorn chooses."""
    is_fast = find_spec("httptools") is not None
    name = "httptools_impl" if is_fast else "h11_impl"
    module = import_module(f"uvicorn.protocols.http.{name}")
    found: type[asyncio.Protocol] = module.HttpToolsProtocol if is_fast else module.H11Protocol
    return found


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed (with httptools twice the requests a second), else asyncio's."""
    if find_spec("uvloop") is None:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = import_module("uvloop").new_event_loop
    return factory
