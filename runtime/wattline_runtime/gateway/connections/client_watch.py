"""Detects clients that disconnect before their answer, so that their requests are abandoned.

Only those of slow requests: watching needs a task, and most requests are over before it would
start. One timer serves all requests: at each of its ticks those that began before the last one are
slow.
"""

import asyncio
from collections.abc import Callable

from starlette.types import Receive

PERIOD_S = 0.05
"""Requests that wait for one to two periods are watched."""


class ClientWatch:
    """The client of one request."""

    __slots__ = ("_abandon", "_receive", "_request_ids", "_task", "is_over")

    def __init__(
        self, abandon: Callable[[int], None], receive: Receive, request_ids: list[int]
    ) -> None:
        self._abandon = abandon
        self._receive = receive
        self._request_ids = request_ids
        self._task: asyncio.Task[None] | None = None
        self.is_over = False
        """The request has ended."""

    def end(self) -> None:
        """End the watch with the request."""
        self.is_over = True
        if self._task is not None:
            self._task.cancel()

    def start(self) -> None:
        """The request is slow."""
        self._task = asyncio.create_task(self._run(), name="client-watch")

    async def _run(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        for request_id in tuple(self._request_ids):
            self._abandon(request_id)


class ClientWatches:
    """The clients of all requests."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._newest: list[ClientWatch] = []
        """Of requests that began since the last tick."""
        self._older: list[ClientWatch] = []
        self._timer: asyncio.TimerHandle | None = None

    def watch(
        self, abandon: Callable[[int], None], receive: Receive, request_ids: list[int]
    ) -> ClientWatch:
        """Call `abandon` for each request once their client has disconnected, until `end`."""
        watch = ClientWatch(abandon, receive, request_ids)
        self._newest.append(watch)
        if self._timer is None:
            self._timer = self._loop.call_later(PERIOD_S, self._tick)
        return watch

    def _tick(self) -> None:
        for watch in self._older:
            if not watch.is_over:
                watch.start()
        self._older, self._newest = self._newest, []
        self._timer = self._loop.call_later(PERIOD_S, self._tick) if self._older else None

    def close(self) -> None:
        """Start no more."""
        if self._timer is not None:
            self._timer.cancel()
