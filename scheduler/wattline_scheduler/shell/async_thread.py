"""One thread with its own event loop: external calls that hang cannot delay a lease."""

import asyncio
import threading
from collections.abc import Callable, Coroutine

import structlog

STOP_WITHIN_S = 5.0
"""Cancelled work ends at once; a program that cannot be killed is abandoned."""

Work = Callable[[], Coroutine[None, None, None]]
"""Created in the thread, once; handles its own errors."""

log = structlog.get_logger()


class AsyncThread:
    """Runs work beside the scheduler's loop from `start` to `close`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_up = threading.Event()

    def start(self) -> None:
        """Start the thread; work is accepted from now on."""
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()
        self._is_up.wait()

    def run(self, work: Work, name: str) -> None:
        """Start a task for this work. From any thread, after `start`."""
        if self._loop is None:
            raise RuntimeError(f"{self._name} takes no work before its start")
        self._loop.call_soon_threadsafe(self._begin, work, name)

    def close(self) -> None:
        """Cancel all work, and end the thread."""
        if self._thread is None or self._loop is None or self._stop is None:
            return
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(STOP_WITHIN_S)
        if self._thread.is_alive():
            log.warning(f"{self._name}_hangs", reason="work did not end when it was cancelled")

    # --- in the thread --------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.run(self._until_stopped())

    async def _until_stopped(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with asyncio.TaskGroup() as self._group:
            self._is_up.set()
            await self._stop.wait()
            for task in self._tasks:
                task.cancel()

    def _begin(self, work: Work, name: str) -> None:
        if self._stop is None or self._stop.is_set():
            return
        task = self._group.create_task(work(), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
