"""Routes for a gateway: the scheduler's watch, passed from the client's thread to asyncio."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import structlog

from wattline.client.client import Client
from wattline.client.errors import Unreachable, WattlineError
from wattline_protocol.wire.routes import Routes

log = structlog.get_logger()


class ClientRoutes:
    """Route source of `run_gateway`. Closing the client ends it."""

    def __init__(self, client: Client) -> None:
        self._client = client

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
        while True:
            item = await news.get()
            if isinstance(item, WattlineError):
                raise item
            yield item

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
