"""The parent of a gateway's processes. It serves no client.

It holds the sockets, so that none is lost with a process, restarts processes, passes on routes
and signals, and adds up what they count.
"""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count, islice

import msgspec
import structlog

from wattline_protocol.wire.api_keys import ReportAbuse
from wattline_protocol.wire.rollouts import ReportRises, ReportTraffic
from wattline_runtime.gateway.config import Endpoints, GatewayConfig
from wattline_runtime.gateway.connections import takeover
from wattline_runtime.gateway.connections.listeners import (
    Listeners,
    from_systemd,
    open_for_workers,
    open_listener,
)
from wattline_runtime.gateway.connections.takeover import Predecessor, TakeoverFailed
from wattline_runtime.gateway.lifecycle import stop_signals
from wattline_runtime.gateway.processes import messages as m
from wattline_runtime.gateway.processes.sums import KeyUse, TrafficSum
from wattline_runtime.gateway.routes import RouteSource
from wattline_runtime.gateway.telemetry.figures import Figures
from wattline_runtime.gateway.telemetry.snapshot import Snapshot, whole

log = structlog.get_logger()

REPORT_S = 1.0
OBSERVE_S = 0.3
"""A process that does not answer for so long counts as it was."""
FIRST_DELAY_S = 0.1
MAX_DELAY_S = 30.0
"""Delays of restarts double up to this."""
STEADY_S = 30.0
"""A process that has run for so long is restarted at once."""
KILL_AFTER_S = 3.0
"""After the grace of a stop."""
SILENT_S = 4.0
"""Others stand in for a process that sends nothing for so long: its counts are due each second."""
HUNG_S = 30.0
"""One that is silent for so long is killed, so that its clients connect again."""
WATCH_S = 0.5


class ProcessFailed(RuntimeError):
    """A process could not start; the text has the reason."""


@dataclass(slots=True)
class _Process:
    number: int
    handle: asyncio.subprocess.Process
    channel: m.Channel[m.FromProcess]
    is_serving: bool = False
    newest: m.Observed | None = None
    observed: asyncio.Event = field(default_factory=asyncio.Event)
    why: str = ""
    silent_s: float = 0.0
    """Since its last message. Time in which the parent was frozen, too, does not count."""

    @property
    def accepts(self) -> bool:
        """Clients that connect to its socket."""
        return self.is_serving and self.silent_s < SILENT_S

    def send_signal(self, number: signal.Signals) -> None:
        """Send it, unless it has just ended."""
        with suppress(ProcessLookupError):
            self.handle.send_signal(number)


async def serve_by_processes(
    config: GatewayConfig, routes: RouteSource, on_ready: Callable[[Endpoints], None] | None
) -> int:
    """As `run_gateway`, with `config.processes` of them."""
    successor = takeover.connect(config.http_host, config.http_port) if config.takeover else None
    clients, is_lasting = _for_clients(config, successor, os.environ)
    workers: list[socket.socket] = []
    try:
        for port in _worker_ports(config):
            one = msgspec.structs.replace(config, worker_port=port)
            workers.append(open_for_workers(one))
        parent = _Parent(config, routes, clients, workers, is_lasting, successor, on_ready)
        with stop_signals(parent.stop):
            await parent.run()
    finally:
        for listener in (*clients, *workers):
            listener.close()
    log.info("gateway_stopped")
    return 0


def _worker_ports(config: GatewayConfig) -> list[int]:
    """Of each process: from the configured one on, but that of clients. 0 = a free one."""
    if not config.worker_port:
        return [0] * config.processes
    ports = (port for port in count(config.worker_port) if port != config.http_port)
    return [*islice(ports, config.processes)]


def _for_clients(
    config: GatewayConfig, successor: takeover.Successor | None, environ: Mapping[str, str]
) -> tuple[list[socket.socket], bool]:
    """Listening sockets, and whether they outlive this gateway."""
    if successor is not None:
        return successor.clients, successor.offer.is_lasting
    given = from_systemd(config, environ)
    if given is not None:
        return [given], True
    host, port = config.http_host, config.http_port
    if port:
        open_listener(host, port).close()  # the port is free
    found = [open_listener(host, port, is_shared=True)]
    port = found[0].getsockname()[1]
    while len(found) < config.processes:
        found.append(open_listener(host, port, is_shared=True))
    return found, False


class _Parent:
    def __init__(
        self,
        config: GatewayConfig,
        routes: RouteSource,
        clients: list[socket.socket],
        workers: list[socket.socket],
        is_lasting: bool,
        successor: takeover.Successor | None,
        on_ready: Callable[[Endpoints], None] | None,
    ) -> None:
        self._config, self._routes, self._on_ready = config, routes, on_ready
        self._clients, self._workers, self._is_lasting = clients, workers, is_lasting
        self._successor = successor
        self._processes: dict[int, _Process] = {}
        """Those that run."""
        self._waiting: set[int] = set(range(config.processes))
        """Numbers of those that have not caught up with the gateway that ran before."""
        self._endpoints: Endpoints | None = None
        """Set once all have served."""
        self._ended = Figures()
        """Counts of processes that are no more."""
        self._newest: m.Newest | None = None
        self._uses = KeyUse(config.processes)
        self._traffic = TrafficSum()
        self._ending = asyncio.Event()
        self._predecessor: Predecessor | None = None
        self._background: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until `stop`, or until a successor has replaced this gateway."""
        sources = [
            asyncio.create_task(self._follow_routes(), name="routes"),
            asyncio.create_task(self._report(), name="traffic"),
            asyncio.create_task(self._report_uses(), name="api-key-use"),
            asyncio.create_task(self._watch(), name="watch"),
        ]
        numbers = range(self._config.processes)
        kept = [asyncio.create_task(self._keep(n), name=f"process-{n}") for n in numbers]
        try:
            pending = {*kept, *sources}
            while any(not task.done() for task in kept):
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()  # a source or a process that failed ends the gateway
        finally:
            self.stop()
            for task in (*sources, *self._background):
                task.cancel()
            await asyncio.gather(*kept, *sources, return_exceptions=True)
            if self._predecessor is not None:
                self._predecessor.close()

    def stop(self) -> None:
        """As one process does; those that hang are killed."""
        if self._ending.is_set():
            return
        self._end()
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        self._run_beside(self._kill_late())

    def _end(self) -> None:
        self._ending.set()
        for listener in self._clients:
            listener.close()  # the processes have them, and accept what is queued

    async def _kill_late(self) -> None:
        await asyncio.sleep(self._config.stop_grace_s + KILL_AFTER_S)
        for process in self._processes.values():
            log.warning("gateway_process_killed", number=process.number)
            process.send_signal(signal.SIGKILL)

    def _run_beside(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # --- processes

    async def _keep(self, number: int) -> None:
        """Run a process, again and again."""
        delay_s = 0.0
        while not self._ending.is_set():
            start_s = time.monotonic()
            status, why = await self._run_one(number)
            if self._ending.is_set():
                return
            if self._endpoints is None:
                why = why or f"process {number} ended with status {status}"
                raise TakeoverFailed(why) if self._successor else ProcessFailed(why)
            is_steady = time.monotonic() - start_s >= STEADY_S
            delay_s = 0.0 if is_steady else min(MAX_DELAY_S, max(FIRST_DELAY_S, 2 * delay_s))
            log.warning(
                "gateway_process_ended",
                number=number,
                status=status,
                why=why,
                restart_s=delay_s,
            )
            try:
                async with asyncio.timeout(delay_s):
                    await self._ending.wait()
            except TimeoutError:
                continue

    async def _run_one(self, number: int) -> tuple[int | None, str]:
        """From its start to its end. Returns its exit status, None where the host has no process or
        file descriptor left for it, and why it ended."""
        try:
            process = await self._start(number)
        except OSError as error:
            return None, f"it could not be started: {error.strerror}"
        while (message := await process.channel.receive()) is not None:
            self._take(process, message)
        status = await process.handle.wait()
        self._forget(process)
        return status, process.why

    async def _start(self, number: int) -> _Process:
        """Raises OSError."""
        ours, theirs = socket.socketpair()
        try:
            return await self._start_with(number, ours, theirs)
        except OSError:
            ours.close()
            raise

    async def _start_with(
        self, number: int, ours: socket.socket, theirs: socket.socket
    ) -> _Process:
        processes, sockets = self._config.processes, self._clients
        own = [*sockets[number::processes]] or [sockets[number % len(sockets)]]
        spare = [
            (n, one.fileno())
            for n in range(processes)
            for one in sockets[n::processes]
            if n != number and one not in own
        ]
        clients = tuple(one.fileno() for one in own)
        worker = self._workers[number].fileno()
        descriptors = (theirs.fileno(), *clients, *(fd for _, fd in spare), worker)
        with theirs:
            handle = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "wattline_runtime.gateway.processes", str(theirs.fileno())),
                pass_fds=descriptors,
                stdin=asyncio.subprocess.DEVNULL,
            )
        channel = await m.open_channel(ours, m.FromProcess)
        process = self._processes[number] = _Process(number, handle, channel)
        if self._ending.is_set():
            handle.terminate()
        ports = tuple(one.getsockname()[1] for one in self._workers)
        channel.send(
            m.Begin(
                self._config,
                number,
                clients,
                tuple(spare),
                worker,
                ports,
                self._is_lasting,
                self._to_catch_up(),
            )
        )
        if self._newest is not None:
            channel.send(self._newest)
        self._announce_down()
        return process

    def _to_catch_up(self) -> int | None:
        """Workers that a process needs before it accepts clients."""
        if self._endpoints is not None:
            return self._movable()
        return None if self._successor is None else self._successor.offer.ready_workers

    def _movable(self) -> int:
        serving = [one.newest.movable for one in self._processes.values() if one.newest]
        return min(serving, default=0)

    def _forget(self, process: _Process) -> None:
        """It has ended: keep what it counted."""
        del self._processes[process.number]
        process.channel.close()
        process.observed.set()
        if process.newest is not None:
            self._ended.add(process.newest.snapshot.figures, has_ended=True)
        self._uses.ended(process.number)
        self._traffic.ended(process.number)
        self._announce_down()

    def _announce_down(self) -> None:
        """The others accept from its socket, so that no client waits for its restart."""
        serving = {one.number for one in self._processes.values() if one.accepts}
        down = tuple(n for n in range(self._config.processes) if n not in serving)
        if self._endpoints is not None:
            self._broadcast(m.StandIn(down))

    def _broadcast(self, message: m.ToProcess) -> None:
        for process in self._processes.values():
            process.channel.send(message)

    async def _watch(self) -> None:
        """Notice processes that are frozen or hang."""
        while not self._ending.is_set():
            await asyncio.sleep(WATCH_S)
            for process in [one for one in self._processes.values() if one.is_serving]:
                accepted = process.accepts
                process.silent_s += WATCH_S
                if process.accepts != accepted:
                    log.warning("gateway_process_silent", number=process.number)
                    self._announce_down()
                if process.silent_s >= HUNG_S:
                    log.warning("gateway_process_killed", number=process.number)
                    process.send_signal(signal.SIGKILL)

    # --- what they send

    def _take(self, process: _Process, message: m.FromProcess) -> None:
        now_s = time.monotonic()
        was_silent, process.silent_s = process.silent_s >= SILENT_S, 0.0
        if was_silent:
            self._announce_down()
        match message:
            case m.Observed():
                process.newest = message
                if message.is_asked:
                    process.observed.set()
            case m.Ask():
                self._run_beside(self._send_total(process, message.number))
            case m.Used():
                shares = self._uses.used(process.number, message.report, now_s)
                process.channel.send(m.Granted(shares))
            case m.Reported(report=ReportAbuse() as abuse):
                self._routes.report(abuse)
            case m.Reported(report=ReportTraffic() as traffic):
                if process.is_serving:
                    self._traffic.add(process.number, traffic)
            case m.Reported(report=ReportRises() as rises):
                self._routes.report(msgspec.structs.replace(rises, process=process.number))
            case m.CaughtUp():
                self._caught_up(process)
            case m.Serving():
                self._serves(process, message.endpoints)
            case m.Failed():
                process.why = message.text

    async def _send_total(self, process: _Process, number: int) -> None:
        """All processes as one, for a client of one of them."""
        asked = list(self._processes.values())
        for one in asked:
            one.observed.clear()
            one.channel.send(m.Observe())
        try:
            async with asyncio.timeout(OBSERVE_S):
                for one in asked:
                    await one.observed.wait()
        except TimeoutError:
            log.warning("gateway_process_late")
        process.channel.send(m.Total(number, self._whole()))

    def _whole(self) -> Snapshot:
        serving = [one for one in self._processes.values() if one.is_serving]
        return whole((one.newest.snapshot for one in serving if one.newest), self._ended)

    # --- start and succession

    def _caught_up(self, process: _Process) -> None:
        if self._endpoints is not None:
            process.channel.send(m.Accept())
            return
        self._waiting.discard(process.number)
        if not self._waiting and self._successor is not None:
            self._run_beside(self._replace(self._successor))

    async def _replace(self, successor: takeover.Successor) -> None:
        await successor.end_predecessor()
        self._broadcast(m.Accept())

    def _serves(self, process: _Process, endpoints: Endpoints) -> None:
        process.is_serving = True
        serving = [one for one in self._processes.values() if one.is_serving]
        if self._endpoints is None and len(serving) == self._config.processes:
            self._ready(endpoints)
        self._announce_down()

    def _ready(self, endpoints: Endpoints) -> None:
        host, port = self._workers[0].getsockname()[:2]
        workers = f"tcp://{f'[{host}]' if ':' in host else host}:{port}"
        self._endpoints = Endpoints(endpoints.http_url, workers, endpoints.public_key)
        log.info(
            "gateway_ready",
            http=endpoints.http_url,
            workers=workers,
            processes=self._config.processes,
        )
        first, *others = self._clients
        held = Listeners(first, self._workers[0], self._is_lasting, tuple(others))
        try:
            self._predecessor = Predecessor(
                held, self._config.http_host, self._hand_over, self._continue, self._leave
            )
        except OSError as error:
            log.warning("no_takeover", detail=f"no successor can connect: {error}")
        if self._on_ready is not None:
            self._on_ready(self._endpoints)

    def _hand_over(self) -> int:
        self._broadcast(m.HandOver("begun"))
        return self._movable()

    def _continue(self) -> None:
        self._broadcast(m.HandOver("ended"))

    def _leave(self) -> None:
        log.info("gateway_succeeded")
        self._end()
        self._broadcast(m.HandOver("ready"))

    # --- routes and reports

    async def _follow_routes(self) -> None:
        async for newest in self._routes.updates():
            self._newest = m.Newest(newest, time.monotonic())
            self._broadcast(self._newest)

    async def _report(self) -> None:
        reported_s = time.monotonic()
        while True:
            await asyncio.sleep(REPORT_S)
            if not self._ending.is_set():
                now_s = time.monotonic()
                self._routes.report(self._traffic.take(now_s - reported_s))
                reported_s = now_s

    async def _report_uses(self) -> None:
        while not self._config.open:
            answer = await self._routes.report_use(self._uses.report(time.monotonic()))
            if answer is not None:
                self._uses.answered(answer, time.monotonic())
            await asyncio.sleep(REPORT_S)
