"""An open loop of HTTP requests: at a fixed rate, whether or not earlier ones were answered."""

import asyncio
import threading
import time
from abc import ABC, abstractmethod

import httpx

KEPT_OPEN = 32
"""Idle connections, as production clients keep them."""


class OpenLoop(ABC):
    """Sends requests from a thread of its own between `start` and `stop`."""

    def __init__(self, rate_per_s: float, timeout_s: float) -> None:
        self._rate_per_s, self._timeout_s = rate_per_s, timeout_s
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="clients")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Send no more, and wait for what is on the way."""
        self._is_over.set()
        self._thread.join()

    async def _run(self) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=KEPT_OPEN)
        async with (
            httpx.AsyncClient(limits=limits, timeout=self._timeout_s) as client,
            asyncio.TaskGroup() as all_,
        ):
            began_s, number = time.monotonic(), 0
            while not self._is_over.is_set():
                all_.create_task(self.send(client, number, began_s + number / self._rate_per_s))
                number += 1
                next_s = began_s + number / self._rate_per_s
                await asyncio.sleep(max(0.0, next_s - time.monotonic()))

    @abstractmethod
    async def send(self, client: httpx.AsyncClient, number: int, due_s: float) -> None:
        """Send one request, due at this monotonic time, and count its outcome."""
