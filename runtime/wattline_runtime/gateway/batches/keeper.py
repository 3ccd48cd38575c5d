"""Runs the batches of a process: those whose lock it can acquire, until it leaves."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import structlog

from wattline_runtime.gateway.access.key_ring import ApiKeyRing
from wattline_runtime.gateway.answers.answers import Answers
from wattline_runtime.gateway.batches import folder as f
from wattline_runtime.gateway.batches.batch_run import BatchContext, BatchRun
from wattline_runtime.gateway.batches.directory import BatchDirectory, Found
from wattline_runtime.gateway.batches.idle_slots import IdleSlots
from wattline_runtime.gateway.batches.records import Batch, Progress
from wattline_runtime.gateway.config import GatewayConfig
from wattline_runtime.gateway.shell import GatewayShell

log = structlog.get_logger()

LOOK_S = 1.0
"""Interval of looks for batches that no process runs."""
SWEEP_S = 60.0
LEAVE_S = 1.0
"""At the end: time for rows that run."""
MAX_RUNNING = 64
"""Batches that a process runs at once; others wait, the oldest first."""
THREADS = 4


class BatchKeeper:
    """All batches that this process runs."""

    def __init__(
        self,
        config: GatewayConfig,
        shell: GatewayShell,
        answers: Answers,
        keys: ApiKeyRing | None,
    ) -> None:
        """Raises OSError for a directory that cannot be used."""
        self.directory = BatchDirectory(Path(config.batch_dir), config.batch_reserve_bytes)
        self.threads = ThreadPoolExecutor(THREADS, "batches")
        self._shell = shell
        self._retention_s = config.batch_retention_s
        self._is_ending = False
        self._swept_s = float("-inf")
        self._runs: dict[str, BatchRun] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._look = asyncio.Event()
        slots = IdleSlots(shell.gateway.queue.services)
        rows = shell.stats.batch_rows
        self._context = BatchContext(
            answers, slots, keys, self.threads, lambda: self.is_draining, rows
        )

    @property
    def is_draining(self) -> bool:
        """Whether rows start no more."""
        return self._is_ending or self._shell.is_draining

    def look(self) -> None:
        """There is a new batch."""
        self._look.set()

    def progress(self, found: Found) -> Progress:
        """The newest of a batch that is known here."""
        run = self._runs.get(found.batch.id)
        return found.progress if run is None else run.shown

    async def run(self) -> None:
        """For as long as the gateway lasts."""
        try:
            while True:
                self._look.clear()
                with suppress(OSError):  # a disk that fails is tried again
                    await self._take_open()
                    await self._sweep()
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await self._look.wait()
        finally:
            self._is_ending = True
            tasks = list(self._tasks.values())
            if tasks:
                await asyncio.wait(tasks, timeout=LEAVE_S)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.threads.shutdown(wait=False)

    async def _take_open(self) -> None:
        """Run what has not ended and no other process runs."""
        if self.is_draining or self._shell.gateway.queue.early is not None:
            return
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self.threads, self.directory.all)
        for batch, progress in reversed(found):
            if progress.is_open and batch.id not in self._tasks and len(self._tasks) < MAX_RUNNING:
                opened = await loop.run_in_executor(self.threads, self._open, batch)
                if opened is not None:
                    self._start(batch, opened)

    def _open(self, batch: Batch) -> f.Opened | None:
        """In a thread; None: another process has it, or it cannot be run."""
        try:
            opened = f.Opened(self.directory.path(batch.id), batch.total)
        except (BlockingIOError, FileNotFoundError):
            return None
        except OSError as error:  # as of a damaged disk
            self.directory.note_damaged(batch.id, error)
            return None
        if opened.is_over:
            opened.close()
            return None
        return opened

    def _start(self, batch: Batch, opened: f.Opened) -> None:
        run = self._runs[batch.id] = BatchRun(batch, opened, self._context)
        at = run.progress
        log.info("batch_runs", id=batch.id, service=batch.service, rows=batch.total, done=at.rows)
        task = self._tasks[batch.id] = asyncio.create_task(run.run(), name=batch.id)
        task.add_done_callback(lambda ended: self._ended(batch.id, ended))

    def _ended(self, batch_id: str, task: asyncio.Task[None]) -> None:
        del self._tasks[batch_id], self._runs[batch_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("batch_interrupted", id=batch_id, detail=repr(error))
        else:
            self.look()

    async def _sweep(self) -> None:
        if time.monotonic() < self._swept_s + SWEEP_S or self.is_draining:
            return
        self._swept_s = time.monotonic()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self.threads, self.directory.sweep, self._retention_s)
