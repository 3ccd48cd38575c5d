"""Starts and stops a gateway: sockets, HTTP server, route source, signals."""

import asyncio
import gc
import os
import socket
import time
from collections.abc import Callable
from contextlib import closing
from importlib import import_module
from importlib.util import find_spec

import msgspec
import structlog
import uvicorn
import zmq
from starlette.types import ASGIApp

from wattline_protocol.http.guard import HttpGuard, Reason, guarded
from wattline_protocol.http.held_bodies import without_held_bodies
from wattline_protocol.http.limits import networks
from wattline_protocol.http.proxies import behind_proxies
from wattline_protocol.trust.keys import KeyPair
from wattline_runtime.gateway.access.abuse import AbuseWatch, watch_abuse
from wattline_runtime.gateway.access.check import Access
from wattline_runtime.gateway.access.key_ring import ApiKeyRing
from wattline_runtime.gateway.access.use_report import report_uses
from wattline_runtime.gateway.answers.answers import Answers
from wattline_runtime.gateway.batches.keeper import BatchKeeper
from wattline_runtime.gateway.config import KEEP_ALIVE_S, Endpoints, GatewayConfig
from wattline_runtime.gateway.connections import takeover
from wattline_runtime.gateway.connections.http_protocol import http_protocol
from wattline_runtime.gateway.connections.listeners import (
    Listeners,
    open_for_workers,
    open_listeners,
)
from wattline_runtime.gateway.connections.open_files import raise_limit
from wattline_runtime.gateway.connections.tls import RELOAD_S, Certificate
from wattline_runtime.gateway.connections.worker_socket import WorkerSocket
from wattline_runtime.gateway.core import Gateway
from wattline_runtime.gateway.http import http_app
from wattline_runtime.gateway.lifecycle import (
    STOP_LINGER_S,
    Lifecycle,
    Server,
    Succession,
    stop_signals,
)
from wattline_runtime.gateway.processes.member import Member
from wattline_runtime.gateway.processes.parent import serve_by_processes
from wattline_runtime.gateway.revisions.reporting import (
    REPORT_PERIOD_S,
    RiseReporter,
    TrafficReporter,
)
from wattline_runtime.gateway.revisions.rises import LOOK_S
from wattline_runtime.gateway.routes import RouteSource
from wattline_runtime.gateway.shell import GatewayShell
from wattline_runtime.gateway.stats import Stats
from wattline_runtime.gateway.telemetry.recorders import Recorders
from wattline_runtime.gateway.telemetry.snapshot import Observer

log = structlog.get_logger()

HTTP_END_S = 1
"""After the last answers: time for open connections to end before they are cut."""
GC_THRESHOLDS = (20_000, 20, 20)
"""Of `gc.set_threshold`. Requests make no cycles, but 32 at once have more objects than CPython's
700: collections that find nothing would take a tenth of the CPU."""


def run_gateway(
    config: GatewayConfig,
    routes: RouteSource,
    on_ready: Callable[[Endpoints], None] | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status.

    `on_ready` is called once it accepts connections. Raises ValueError for a missing key, OSError
    or TransportError for an address that cannot be bound, TakeoverFailed, and errors of the route
    source.
    """
    if not config.secret_key:
        raise ValueError("the gateway needs a CURVE secret key (40 characters, z85)")
    if config.processes > 1:
        return asyncio.run(serve_by_processes(config, routes, on_ready))
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(serve(config, routes, on_ready))


async def serve(
    config: GatewayConfig,
    routes: RouteSource,
    on_ready: Callable[[Endpoints], None] | None,
    member: Member | None = None,
) -> int:
    """As `run_gateway`, in one process. `member`: it is one of several."""
    successor: Succession | None = None
    if member is not None:
        listeners, successor = member.listeners, member.succession
    elif config.takeover and (found := takeover.connect(config.http_host, config.http_port)):
        first, *others = found.clients
        workers = open_for_workers(config)
        listeners = Listeners(first, workers, found.offer.is_lasting, tuple(others))
        successor = found
    else:
        listeners = open_listeners(config, os.environ)
    with closing(listeners):
        gateway = Gateway(config.queue_limit, config.hold_s)
        keys = None if config.open else ApiKeyRing(config.keys_valid_s)
        shell = GatewayShell(gateway, worker_socket(config, listeners.workers), Stats(), keys)
        connections = raise_limit(config.max_connections)
        limits = msgspec.structs.replace(config.limits, connections=connections)
        guard = HttpGuard(limits, networks(config.trusted_proxies), _note_refused)
        answers = Answers(shell, config.cache_bytes, config.processes)
        proxies = networks(config.trusted_proxies)
        abuse = AbuseWatch(config.abuse, keys, proxies) if config.abuse else None
        access = Access(shell.keys, shell.wait_for_routes, abuse)
        observer = Observer(shell, answers, guard, access)
        look = observer.look if member is None else member.look
        batches = BatchKeeper(config, shell, answers, keys) if config.batch_dir else None
        recorders = Recorders(config, is_first=member is None or member.number == 0)
        app = http_app(shell, answers, config, access, look, batches)
        app = recorders.around(app, shell)
        certificate = Certificate(config.tls_cert, config.tls_key) if config.tls_cert else None
        tls = None if certificate is None else certificate.context
        settings = _uvicorn_config(app, config, guard)
        server = Server(settings, listeners.clients, guard, tls)
        lifecycle = Lifecycle(shell, server, listeners, config)
        if member is not None:
            member.attach(shell, observer, server, lifecycle)
        settle_memory()
        if config.open:
            log.warning("gateway_open", detail="it accepts every request, without an API key")
        shell.start()
        works = {
            "routes": _watch(answers, routes, server, recorders),
            "traffic": _report(shell, routes),
            "rises": _report_rises(shell, routes),
            "api-key-use": _report_uses(keys, routes, server),
            "abuse": _watch_abuse(abuse, routes),
            "certificate": _renew(certificate),
            "records": recorders.run(),
            "batches": _run_batches(batches),
        }
        tasks = [asyncio.create_task(work, name=name) for name, work in works.items()]
        try:
            with stop_signals(lifecycle.stop):
                await lifecycle.run(successor, on_ready)
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            shell.close()
    log.info("gateway_stopped")
    for ended in ends:
        if isinstance(ended, Exception):
            raise ended  # the route source failed, and that stopped the server
    return 0


def settle_memory() -> None:
    """Exempt objects that live as long as the process from garbage collection."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


async def _watch(
    answers: Answers, routes: RouteSource, server: uvicorn.Server, recorders: Recorders
) -> None:
    """Pass on changes of routes and settings; a source that fails stops the gateway."""
    try:
        async for newest in routes.updates():
            answers.change_routes(newest)
            recorders.change_settings(newest.settings)
    except Exception:
        server.should_exit = True
        raise


async def _renew(certificate: Certificate | None) -> None:
    """Take over new certificates."""
    while certificate is not None:
        await asyncio.sleep(RELOAD_S)
        certificate.reload()


async def _run_batches(batches: BatchKeeper | None) -> None:
    if batches is not None:
        await batches.run()


async def _report(shell: GatewayShell, routes: RouteSource) -> None:
    """Report the traffic of revisions, until a successor does."""
    reporter = TrafficReporter(shell.gateway, shell.stats)
    reported_s = time.monotonic()
    while True:
        await asyncio.sleep(REPORT_PERIOD_S)
        if not shell.is_draining:
            now_s = time.monotonic()
            routes.report(reporter.take(now_s - reported_s))
            reported_s = now_s


async def _report_rises(shell: GatewayShell, routes: RouteSource) -> None:
    """Report services whose load has just risen, likewise."""
    reporter = RiseReporter(shell.gateway, time.monotonic())
    while True:
        await asyncio.sleep(LOOK_S)
        report = reporter.look(time.monotonic())
        if report is not None and not shell.is_draining:
            routes.report(report)


async def _watch_abuse(abuse: AbuseWatch | None, routes: RouteSource) -> None:
    if abuse is not None:
        await watch_abuse(abuse, routes.report)


async def _report_uses(
    keys: ApiKeyRing | None, routes: RouteSource, server: uvicorn.Server
) -> None:
    """Report the use of API keys; an error stops the gateway."""
    if keys is None:
        return
    try:
        await report_uses(keys, routes)
    except Exception:
        server.should_exit = True
        raise


def _note_refused(reasons: dict[Reason, int], address: str) -> None:
    log.warning("http_clients_refused", newest_address=address, **reasons)


def _uvicorn_config(app: ASGIApp, config: GatewayConfig, guard: HttpGuard) -> uvicorn.Config:
    return uvicorn.Config(
        without_held_bodies(behind_proxies(app, guard)),
        interface="asgi3",
        http=guarded(http_protocol(), guard),
        lifespan="off",
        access_log=False,
        log_config=None,
        log_level="error",  # its warnings are of clients, which could fill the log
        server_header=False,
        date_header=False,
        proxy_headers=False,
        ws="none",
        h11_max_incomplete_event_size=config.max_header_bytes,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=round(config.stop_grace_s + 0.5 - STOP_LINGER_S) or HTTP_END_S,
    )


def worker_socket(config: GatewayConfig, listener: socket.socket) -> WorkerSocket:
    """The socket for workers, behind a listening one."""
    public = zmq.curve_public(config.secret_key.encode("ascii")).decode("ascii")
    return WorkerSocket(listener, KeyPair(public, config.secret_key))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed (with httptools twice the requests a second), else asyncio's."""
    if find_spec("uvloop") is None:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = import_module("uvloop").new_event_loop
    return factory
