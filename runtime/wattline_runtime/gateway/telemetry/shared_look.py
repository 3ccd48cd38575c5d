"""What is costly to make, and asked for by many: made for all of them at once, now and then."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")

SHARE = 0.1
"""Of the time, at most: requests of others need the loop."""
MOST_PAUSE_S = 1.0


class SharedLook(Generic[T]):
    """Whoever asks gets what was begun after that, and waits for it with all others that ask.

    So a page of metrics shows all that was counted before it was asked for, and clients that ask
    for it without end delay others no more than one that asks now and then.
    """

    def __init__(
        self, make: Callable[[], Awaitable[T]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._make, self._clock = make, clock
        self._next: asyncio.Task[T] | None = None
        self._one_at_a_time = asyncio.Lock()
        self._free_at_s = clock()

    async def get(self) -> T:
        """The next one. Raises what making it raises."""
        if self._next is None:
            self._next = asyncio.create_task(self._begin(), name="shared-look")
        return await asyncio.shield(self._next)

    async def _begin(self) -> T:
        async with self._one_at_a_time:
            await asyncio.sleep(max(0.0, self._free_at_s - self._clock()))
            self._next, began_s = None, self._clock()
            try:
                return await self._make()
            finally:
                ended_s = self._clock()
                pause_s = (ended_s - began_s) * (1 / SHARE - 1)
                self._free_at_s = ended_s + min(pause_s, MOST_PAUSE_S)
