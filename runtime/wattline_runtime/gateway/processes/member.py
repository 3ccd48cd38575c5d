"""One process of a gateway that has several: its exchange with the parent."""

import asyncio
import secrets
import socket
import time
from collections.abc import AsyncIterator

import structlog

from wattline_protocol.http.server import GuardedServer
from wattline_protocol.wire.api_keys import ApiKeyShares, ReportApiKeyUse
from wattline_protocol.wire.rollouts import GatewayReport
from wattline_protocol.wire.routes import Routes
from wattline_runtime.gateway.config import Endpoints
from wattline_runtime.gateway.connections.listeners import Listeners
from wattline_runtime.gateway.connections.takeover import VERSION, Offer
from wattline_runtime.gateway.lifecycle import Lifecycle, Succession
from wattline_runtime.gateway.processes import messages as m
from wattline_runtime.gateway.shell import GatewayShell
from wattline_runtime.gateway.telemetry.snapshot import Observer, Snapshot

log = structlog.get_logger()

OBSERVE_S = 0.05
"""Interval of sending counts: a process that is killed loses those of one interval at most."""
REFRESH_S = 1.0
LOOK_S = 1.0
"""A parent that does not answer for so long: this process answers for itself."""


class Member:
    """Source of routes and sink of reports, the succession, and the view of all processes."""

    def __init__(self, channel: m.Channel[m.ToProcess], begin: m.Begin) -> None:
        self._channel, self._begin = channel, begin
        self.number = begin.number
        first, *others = (socket.socket(fileno=number) for number in begin.clients)
        self.listeners = Listeners(
            first,
            socket.socket(fileno=begin.workers),
            begin.is_lasting,
            tuple(others),
            {number: socket.socket(fileno=found) for number, found in begin.spare},
        )
        self.succession: Succession | None = None
        if begin.ready_workers is not None:
            offer = Offer(VERSION, begin.ready_workers, begin.is_lasting)
            self.succession = _Succession(channel, offer)
        self._routes: asyncio.Queue[m.Newest] = asyncio.Queue()
        self._granted: asyncio.Queue[ApiKeyShares] = asyncio.Queue()
        self._has_shares = asyncio.Event()
        self._asked: dict[int, asyncio.Future[Snapshot]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._down: tuple[int, ...] = ()
        self._counted = 0

    def attach(
        self, shell: GatewayShell, observer: Observer, server: GuardedServer, lifecycle: Lifecycle
    ) -> None:
        """Begin to serve with these."""
        self._shell, self._observer, self._server, self._lifecycle = (
            shell,
            observer,
            server,
            lifecycle,
        )
        shell.gateway.pool.ports = self._begin.ports
        self._tasks.append(asyncio.create_task(self._listen(), name="parent"))
        self._tasks.append(asyncio.create_task(self._observe(), name="observe"))

    async def close(self) -> None:
        """Send the last counts."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            self._send_snapshot(is_asked=False)
        await self._channel.closed()

    def serving(self, endpoints: Endpoints) -> None:
        """It accepts clients."""
        self._channel.send(m.Serving(endpoints))
        self._stand_in()

    # --- RouteSource

    async def updates(self) -> AsyncIterator[Routes]:
        """Routes of the parent. Keys are as old as there; they come with the parts of their rates
        that this process may grant."""
        ring = self._shell.keys
        if ring is not None:
            await self._has_shares.wait()
        while True:
            newest = await self._routes.get()
            yield newest.routes
            if ring is not None:
                ring.heard_s = newest.heard_s

    def report(self, report: GatewayReport) -> None:
        """To the parent, which adds up traffic."""
        self._channel.send(m.Reported(report))

    async def report_use(self, report: ReportApiKeyUse) -> ApiKeyShares | None:
        """To the parent, which divides what the gateway may grant."""
        self._channel.send(m.Used(report))
        shares = await self._granted.get()
        asyncio.get_running_loop().call_soon(self._has_shares.set)  # they are applied before
        return shares

    # --- all processes as one

    async def look(self) -> Snapshot:
        """Of all processes; of this one alone while the parent does not answer."""
        number = secrets.randbits(63)
        asked: asyncio.Future[Snapshot] = asyncio.get_running_loop().create_future()
        self._asked[number] = asked
        self._channel.send(m.Ask(number))
        try:
            async with asyncio.timeout(LOOK_S):
                return await asked
        except TimeoutError:
            log.warning("gateway_parent_silent", detail="metrics are those of one process")
            return self._observer.now()
        finally:
            del self._asked[number]

    async def _observe(self) -> None:
        sent_s = 0.0
        while True:
            await asyncio.sleep(OBSERVE_S)
            counted = sum(self._shell.stats.requests.values())
            if counted != self._counted or time.monotonic() >= sent_s + REFRESH_S:
                self._counted, sent_s = counted, time.monotonic()
                self._send_snapshot(is_asked=False)

    def _send_snapshot(self, *, is_asked: bool) -> None:
        movable = self._shell.gateway.pool.movable
        self._channel.send(m.Observed(self._observer.now(), movable, is_asked))

    # --- what the parent sends

    async def _listen(self) -> None:
        while (message := await self._channel.receive()) is not None:
            self._take(message)
        log.warning("gateway_parent_lost")
        self._lifecycle.stop()

    def _take(self, message: m.ToProcess) -> None:
        match message:
            case m.Newest():
                self._routes.put_nowait(message)
            case m.Granted():
                self._granted.put_nowait(message.shares)
            case m.Observe():
                self._send_snapshot(is_asked=True)
            case m.Total():
                asked = self._asked.get(message.number)
                if asked is not None and not asked.done():
                    asked.set_result(message.snapshot)
            case m.StandIn():
                self._down = message.down
                self._stand_in()
            case m.Accept():
                if isinstance(self.succession, _Succession):
                    self.succession.may_accept.set()
            case m.HandOver(phase="begun"):
                self._lifecycle.hand_over()
            case m.HandOver(phase="ready"):
                self._lifecycle.leave()
            case m.HandOver(phase="ended"):
                self._lifecycle.continue_serving()
            case m.Begin():
                log.error("gateway_begun_twice")

    def _stand_in(self) -> None:
        spare = self.listeners.spare
        self._server.accept_also([spare[number] for number in self._down if number in spare])


class _Succession:
    """Replaces another gateway together with the other processes."""

    def __init__(self, channel: m.Channel[m.ToProcess], offer: Offer) -> None:
        self._channel = channel
        self.offer = offer
        self.may_accept = asyncio.Event()

    async def end_predecessor(self) -> None:
        """Returns once the other gateway accepts no more clients."""
        self._channel.send(m.CaughtUp())
        await self.may_accept.wait()
