"""Runs one batch: rows to idle slots, results to disk in the order of the input.

One loop starts what may start, and lets a thread write what has come, until every row has its
result. What happens meanwhile wakes it; a poll finds slots that requests have left.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from math import isinf

import structlog
from msgspec.structs import replace

from wattline_runtime.disk import DISK_FULL
from wattline_runtime.gateway.access.key_ring import ApiKey, ApiKeyRing
from wattline_runtime.gateway.answers.answers import Answers
from wattline_runtime.gateway.batches import folder as f
from wattline_runtime.gateway.batches.idle_slots import IdleSlots
from wattline_runtime.gateway.batches.records import ROW_REASON, Batch, End, Progress
from wattline_runtime.gateway.batches.rows import (
    RowInvalid,
    RowRequest,
    error_line,
    may_share,
    output_line,
    read_row,
)
from wattline_runtime.gateway.events import PLAIN, Output
from wattline_runtime.gateway.record_streams.in_order import InOrder
from wattline_runtime.gateway.record_streams.lines import NO_JSON
from wattline_runtime.gateway.record_streams.retries import retry_delay_s
from wattline_runtime.gateway.shell import Waiter

log = structlog.get_logger()

WINDOW = 256
"""Rows behind the last one on disk that may have begun."""
WINDOW_BYTES = 8 * 1024 * 1024
"""Of their inputs and results."""
READ_BYTES = 1024 * 1024
LOST = b""
"""In place of a row that the disk has lost: its result is an error, as of one that is no row."""
POLL_S = 0.1
CHECK_S = 0.5
"""Interval of checks whether anything ends the batch."""
DISK_RETRY_S = 2.0


@dataclass(slots=True)
class _Row:
    number: int
    request: RowRequest
    size_bytes: int
    tries: int = 0


@dataclass(frozen=True, slots=True)
class _Result:
    line: bytes
    is_failed: bool


@dataclass(slots=True)
class BatchContext:
    """Shared by all batches of a process."""

    answers: Answers
    slots: IdleSlots
    keys: ApiKeyRing | None
    """None: the gateway is open."""
    threads: Executor
    """Those that wait for the disk."""
    is_draining: Callable[[], bool]
    written: Counter[tuple[str, str]]
    """Rows with a result, by service and outcome, for metrics."""


@dataclass(slots=True)
class _Window:
    """Rows that have begun and are not on disk."""

    results: InOrder[_Result]
    begun: int
    """Number of the newest."""
    size_bytes: int = 0
    retries: list[tuple[float, int, _Row]] = field(default_factory=list)
    """By the time of their next try."""
    in_flight: dict[int, int] = field(default_factory=dict)
    """By number: their number in the core."""

    def is_full(self, written: int) -> bool:
        """`written`: rows on disk."""
        return self.begun - written >= WINDOW or self.size_bytes >= WINDOW_BYTES


class BatchRun:
    """A batch that this process runs; it has the lock of its folder."""

    def __init__(self, batch: Batch, opened: f.Opened, context: BatchContext) -> None:
        self.batch = batch
        self._opened, self._output, self._context = opened, opened.output, context
        self._loop = asyncio.get_running_loop()
        self.progress = opened.progress
        """As far as it is on disk."""
        self._fresh: deque[bytes] = deque()
        self._window = _Window(InOrder(self.progress.rows + 1), self.progress.rows)
        self._wake = asyncio.Event()
        self._writing: asyncio.Future[None] | None = None
        self._unwritten: list[_Result] = []
        self._failure: BaseException | None = None
        self._write_at_s = self._check_at_s = self._rate_at_s = 0.0
        self._waiting = ""

    @property
    def shown(self) -> Progress:
        """For clients of this process."""
        return replace(self.progress, waiting=self._waiting)

    # --- the loop

    async def run(self) -> None:
        """Until it has ended, or this process leaves."""
        self._context.slots.enter(self.batch.service)
        try:
            while not self._is_done():
                self._wake.clear()
                await self._step()
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await self._wake.wait()
            if self.progress.rows == self.batch.total:
                await self._finish()
        finally:
            self._context.slots.leave(self.batch.service)
            await self._close()

    def _is_done(self) -> bool:
        if self._writing is not None or self._unwritten or self._window.results.has_next:
            return False
        has_left = self._context.is_draining() and not self._window.in_flight
        return has_left or self.progress.rows == self.batch.total

    async def _step(self) -> None:
        if self._failure is not None:
            raise self._failure
        now_s = time.monotonic()
        if now_s >= self._check_at_s:
            self._check_at_s = now_s + CHECK_S
            await self._check_end()
        most = min(WINDOW, self.batch.total - self._window.begun)
        if not self._fresh and most:
            rows = await self._aside(self._opened.input.read, most, READ_BYTES)
            self._fresh.extend(rows or [LOST] * most)
        if not self._context.is_draining():
            self._start_rows(now_s)
        self._start_writing(now_s)

    async def _aside(self, function: Callable[..., list[bytes]], *args: object) -> list[bytes]:
        return await self._loop.run_in_executor(self._context.threads, partial(function, *args))

    async def _close(self) -> None:
        for number in list(self._window.in_flight.values()):
            self._context.answers.abandon(number)
        if self._writing is not None:
            await asyncio.wait([self._writing])
        self._opened.close()

    # --- rows

    def _start_rows(self, now_s: float) -> None:
        key = None if self.progress.end else self._permission()
        while (row := self._next_row(now_s)) is not None:
            if self.progress.end is not None:
                self._settle_unrun(row)
            elif isinstance(key, str) or not self._submit(row, key, now_s):
                heappush(self._window.retries, (now_s, row.number, row))
                return

    def _next_row(self, now_s: float) -> _Row | None:
        """A row that may be tried now, those that were tried before first."""
        window = self._window
        if window.retries and (window.retries[0][0] <= now_s or self.progress.end):
            return heappop(window.retries)[2]
        while self._fresh and not window.is_full(self.progress.rows):
            line = self._fresh.popleft()
            window.begun += 1
            window.size_bytes += len(line)
            try:
                return _Row(window.begun, read_row(line, self.batch.service), len(line))
            except RowInvalid as error:  # accepted by another release
                row = _Row(window.begun, RowRequest(b"", PLAIN, None), len(line))
                self._settle(row, self._error(row, "bad_input", str(error)))
        return None

    def _permission(self) -> ApiKey | str | None:
        """The key of the batch, None where none is needed, or why nothing may be sent now."""
        keys = self._context.keys
        if keys is None:
            return None
        if keys.heard_s < 0 or keys.is_outdated(time.monotonic()):
            return self._waits("keys_outdated")
        key = keys.holder(self.batch.key, time.time())
        return self._waits("key_revoked") if key is None else key

    def _waits(self, reason: str) -> str:
        self._waiting = reason
        return reason

    def _submit(self, row: _Row, key: ApiKey | None, now_s: float) -> bool:
        """Send it to an idle slot; False: there is none, or its key's rate is used up."""
        window, slots = self._window, self._context.slots
        if now_s < self._rate_at_s:
            return False
        if not slots.take(self.batch.service, len(window.in_flight)):
            if not window.in_flight:
                self._waits("idle_replicas")
            return False
        wait_s = 0.0 if key is None else key.take_in_turn(row.request.cost, now_s, time.time())
        if wait_s:
            slots.release(self.batch.service)
            if isinf(wait_s):
                text = f"its {row.request.cost} inputs exceed the burst of the API key"
                self._settle(row, self._error(row, "rate_limited", text))
                return True
            self._rate_at_s = now_s + wait_s
            is_out = key is not None and key.tokens.left <= 0
            self._waits("budget_used_up" if is_out else "rate_limited")
            return False
        self._waiting = ""
        row.tries += 1
        number, waiter, _ = self._context.answers.submit(
            self.batch.service,
            row.request.input,
            now_s + self.batch.timeout_ms / 1000,
            frozenset({self.batch.service}),
            row.request.kind,
            may_share=may_share(row.request),
        )
        window.in_flight[row.number] = number
        waiter.add_done_callback(partial(self._answered, row, key))
        return True

    def _answered(self, row: _Row, key: ApiKey | None, waiter: Waiter) -> None:
        del self._window.in_flight[row.number]
        self._context.slots.release(self.batch.service)
        self._wake.set()
        outcome = waiter.result()
        if outcome is None:  # it was abandoned
            heappush(self._window.retries, (time.monotonic(), row.number, row))
            return
        if isinstance(outcome, Output):
            if key is not None:
                key.tokens.spend(outcome.tokens)
                key.draw(outcome.energy_uj)
            line = output_line(row.number, row.request.custom_id, outcome.body)
            if line is None or outcome.is_bytes:
                self._settle(row, self._error(row, "model_error", NO_JSON))
            else:
                self._settle(row, line, is_failed=False)
            return
        delay_s = retry_delay_s(outcome.reason, row.tries, outcome.retry_after_s)
        if delay_s is None:
            self._settle(row, self._error(row, outcome.reason, outcome.message))
        else:
            heappush(self._window.retries, (time.monotonic() + delay_s, row.number, row))

    @staticmethod
    def _error(row: _Row, reason: str, message: str) -> bytes:
        return error_line(row.number, row.request.custom_id, reason, message)

    def _settle(self, row: _Row, line: bytes, *, is_failed: bool = True) -> None:
        self._window.size_bytes += len(line) - row.size_bytes
        self._window.results.put(row.number, _Result(line, is_failed))

    def _settle_unrun(self, row: _Row) -> None:
        end = self.progress.end
        if end is not None:
            self._settle(row, self._error(row, ROW_REASON[end], self.progress.reason))

    # --- the disk

    def _start_writing(self, now_s: float) -> None:
        if self._writing is not None or now_s < self._write_at_s:
            return
        self._unwritten.extend(self._window.results.take())
        if not self._unwritten:
            return
        self._writing = asyncio.ensure_future(self._write(self._unwritten))
        self._writing.add_done_callback(self._written)

    async def _write(self, results: list[_Result]) -> None:
        lines = [one.line for one in results]
        failed = sum(one.is_failed for one in results)
        await self._loop.run_in_executor(self._context.threads, self._append, lines, failed)

    def _append(self, lines: list[bytes], failed: int) -> None:
        """In a thread."""
        self._output.append(lines, failed)
        with suppress(OSError):  # results are on record; it is shown with the next ones
            self._output.publish(self._after())

    def _after(self) -> Progress:
        at = self._output.position
        return replace(self.progress, rows=at.rows, failed=at.failed, output_bytes=at.size_bytes)

    def _written(self, ended: asyncio.Future[None]) -> None:
        self._writing = None
        self._wake.set()
        error = ended.exception()
        if isinstance(error, OSError):
            self._waits_for_disk(error)
            self._write_at_s = time.monotonic() + DISK_RETRY_S
            return
        if error is not None:
            self._failure = error
            return
        self._window.size_bytes -= sum(len(one.line) for one in self._unwritten)
        for one in self._unwritten:
            outcome = "failed" if one.is_failed else "completed"
            self._context.written[self.batch.service, outcome] += 1
        self._unwritten = []
        self.progress = self._after()
        self._waiting = ""

    def _waits_for_disk(self, error: OSError) -> None:
        reason = "disk_full" if error.errno in DISK_FULL else "disk_error"
        if self._waiting != reason:
            log.warning(f"batch_{reason}", id=self.batch.id, why=error.strerror)
        self._waits(reason)

    async def _finish(self) -> None:
        """It has ended: durable, with its results."""
        end = self.progress.end
        self.progress = replace(self.progress, status=end or "completed", ended_unix_s=time.time())
        publish = partial(self._output.publish, self.progress)
        while True:
            try:
                await self._loop.run_in_executor(self._context.threads, publish)
                break
            except OSError as error:
                self._waits_for_disk(error)
                await asyncio.sleep(DISK_RETRY_S)
        self._waiting = ""
        at = self.progress
        log.info(
            "batch_ended",
            id=self.batch.id,
            service=self.batch.service,
            status=at.status,
            rows=at.rows,
            failed=at.failed,
        )

    # --- what ends it early

    async def _check_end(self) -> None:
        if self.progress.end is not None or self.progress.rows == self.batch.total:
            return
        cancelled = await self._loop.run_in_executor(
            self._context.threads, f.is_cancelled, self._output.folder
        )
        end, reason = self._end(is_cancelled=cancelled)
        if end is None:
            return
        self.progress = replace(self.progress, end=end, reason=reason)
        if end != "cancelled":
            for number in list(self._window.in_flight.values()):
                self._context.answers.abandon(number)

    def _end(self, *, is_cancelled: bool) -> tuple[End | None, str]:
        if is_cancelled:
            return "cancelled", "the batch was cancelled before this row ran"
        if time.time() >= self.batch.deadline_unix_s:
            return "expired", "the completion window of the batch ended before this row ran"
        keys = self._context.keys
        if keys is None or keys.heard_s < 0 or keys.is_outdated(time.monotonic()):
            return None, ""
        key = keys.holder(self.batch.key, time.time()) if self.batch.key else None
        if key is None:
            return "failed", "the API key of the batch was revoked or has expired"
        if self.batch.service not in key.services:
            return "failed", "the API key of the batch is no longer for its service"
        return None, ""
