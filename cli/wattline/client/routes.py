"""Routes for a gateway: the scheduler's watch, passed from the client's thread to asyncio."""

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncIterator, Callable

import structlog

from wattline.client.client import Client
from wattline.client.errors import Unreachable, WattlineError
from wattline_protocol.wire.api_keys import ApiKeyShares, ReportApiKeyUse
from wattline_protocol.wire.clipping import clipped
from wattline_protocol.wire.rollouts import GatewayReport, ReportRises
from wattline_protocol.wire.routes import Routes

MAX_UNSENT = 8
"""Reports that wait for a scheduler that does not answer; more are dropped."""

log = structlog.get_logger()

REPORT_TIMEOUT_S = 5.0


def _settle(answer: asyncio.Future[ApiKeyShares | None], found: ApiKeyShares | None) -> None:
    if not answer.done():
        answer.set_result(found)


class ClientRoutes:
    """Route source of `run_gateway`. Closing the client ends it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._unsent: queue.Queue[GatewayReport] = queue.Queue(MAX_UNSENT)

    def report(self, report: GatewayReport) -> None:
        """Send it from a thread of its own; dropped while the scheduler does not answer, a rise at
        once: it says nothing later, and takes no place from reports that count."""
        if isinstance(report, ReportRises) and not self._unsent.empty():
            return
        with contextlib.suppress(queue.Full):
            self._unsent.put_nowait(report)

    def _send_reports(self) -> None:
        while True:
            try:
                self._client.act(self._unsent.get())
            except Unreachable as error:
                log.warning("reports_unreachable", detail=str(error))
            except WattlineError as error:
                log.warning("reports_refused", detail=str(error))

    async def updates(self) -> AsyncIterator[Routes]:
        """Full sets of routes, the current one first.

        While the scheduler is unreachable the last set stays; a refusal is permanent and raised.
        """
        loop = asyncio.get_running_loop()
        news: asyncio.Queue[Routes | WattlineError] = asyncio.Queue()

        def publish(item: Routes | WattlineError) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(news.put_nowait, item)

        threading.Thread(target=self._watch, args=(publish,), name="routes", daemon=True).start()
        threading.Thread(target=self._send_reports, name="reports", daemon=True).start()
        while True:
            item = await news.get()
            if isinstance(item, WattlineError):
                raise item
            yield item

    async def report_use(self, report: ReportApiKeyUse) -> ApiKeyShares | None:
        """The scheduler's answer; None: none came."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[ApiKeyShares | None] = loop.create_future()
        # What was counted while the scheduler was away may exceed what one report may have.
        fitting = clipped(report, ReportApiKeyUse)

        def ask() -> None:
            try:
                found = self._client.get(fitting, ApiKeyShares, timeout_s=REPORT_TIMEOUT_S)
            except WattlineError:  # the gateway repeats it; `_send_reports` logs the reason
                found = None
            if not loop.is_closed():
                loop.call_soon_threadsafe(_settle, answer, found)

        # A daemon: the gateway's end does not wait for a scheduler that is away.
        threading.Thread(target=ask, name="api-key-use", daemon=True).start()
        return await answer

    def _watch(self, publish: Callable[[Routes | WattlineError], None]) -> None:
        while True:
            try:
                for routes in self._client.watch_routes():
                    publish(routes)
            except Unreachable as error:
                log.warning("routes_unreachable", detail=str(error))
            except WattlineError as error:
                publish(error)
                return
