"""Detects clients that disconnect before their answer, so that their requests are abandoned.

Only those of slow requests: watching needs a task, and most requests are over before it would
start. One timer serves all requests: those that two of its ticks find open are slow.
"""

import asyncio
from collections.abc import Callable

from starlette.types import Receive

PERIOD_S = 0.05
"""Requests that are open for one to two periods are watched."""


class ClientWatch:
    """The client of one request."""

    __slots__ = ("_abandon", "_open", "_receive", "_request_ids", "_task", "_was_found_open")

    def __init__(
        self,
        open_: set["ClientWatch"],
        abandon: Callable[[int], None],
        receive: Receive,
        request_ids: list[int],
    ) -> None:
        self._open = open_
        self._abandon = abandon
        self._receive = receive
        self._request_ids = request_ids
        self._task: asyncio.Task[None] | None = None
        self._was_found_open = False
        open_.add(self)

    def end(self) -> None:
        """End the watch with the request."""
        self._open.discard(self)
        if self._task is not None:
            self._task.cancel()

    def tick(self) -> None:
        """A period has ended, and the request has not."""
        if self._was_found_open and self._task is None:
            self._task = asyncio.create_task(self._run(), name="client-watch")
        self._was_found_open = True

    async def _run(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        for request_id in tuple(self._request_ids):
            self._abandon(request_id)


class ClientWatches:
    """The clients of all requests."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._open: set[ClientWatch] = set()
        self._timer: asyncio.TimerHandle | None = None

    def watch(
        self, abandon: Callable[[int], None], receive: Receive, request_ids: list[int]
    ) -> ClientWatch:
        """Call `abandon` for each request once their client has disconnected, until `end`."""
        if self._timer is None:
            self._timer = self._loop.call_later(PERIOD_S, self._tick)
        return ClientWatch(self._open, abandon, receive, request_ids)

    def _tick(self) -> None:
        for watch in self._open:
            watch.tick()
        self._timer = self._loop.call_later(PERIOD_S, self._tick) if self._open else None

    def close(self) -> None:
        """Start no more."""
        if self._timer is not None:
            self._timer.cancel()
