"""Pages of the logs of requests, newest line first, from files that are rotated.

Lines are in the order in which requests were logged, which is nearly that of their ends: processes
of a gateway write a moment later than others. So a line may be up to SLACK_S out of place.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from glob import escape
from heapq import heappop, heappush
from pathlib import Path

import msgspec

from wattline_protocol.views.request_logs import (
    MAX_LINE_BYTES,
    MAX_PAGE_BYTES,
    LogFilter,
    LoggedRequest,
    LogPosition,
    LogRow,
    ReportLogPage,
    status_class,
)

SLACK_S = 10.0
BLOCK_BYTES = 256 * 1024
CHECK_LINES = 256
"""Lines of other services between two looks at the clock, and at their time."""


_decode = msgspec.json.Decoder(LoggedRequest).decode


def rotated(path: Path) -> list[Path]:
    """A log with its rotated files, newest first."""
    found = [path, *path.parent.glob(f"{escape(path.name)}.*Z")]
    return newest_first(found)


def newest_first(paths: Sequence[Path]) -> list[Path]:
    """Files that are there, by their last line; the one that is written to before a rotated one."""
    written: list[tuple[float, bool, Path]] = []
    for path in paths:
        try:
            written.append((path.stat().st_mtime, not path.name.endswith("Z"), path))
        except FileNotFoundError:
            continue  # rotated or deleted meanwhile
    return [path for *_, path in sorted(written, reverse=True)]


def read_page(
    files: Sequence[Path],
    wanted: LogFilter,
    owners: Sequence[str],
    number: int,
    until_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> ReportLogPage:
    """The newest lines that are wanted. `until_s`: of `clock`; what was read by then is answered.
    Raises OSError."""
    page = _Page(wanted, owners)
    for path in files:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_mtime < wanted.since_unix_s - SLACK_S:
                break
            end = status.st_size
            if wanted.before is not None:
                end = _end_before(file.fileno(), end, wanted.before.ended_unix_s + SLACK_S)
            if not page.take_file(_backward(file.fileno(), end), until_s, clock):
                break
    return page.result(number)


class _Page:
    def __init__(self, wanted: LogFilter, owners: Sequence[str]) -> None:
        self._wanted, self._owners = wanted, frozenset(owners)
        self._statuses = status_class(wanted.status)
        self._needle = b":" + msgspec.json.encode(wanted.service)
        self._rows: list[tuple[LogPosition, bytes]] = []
        """A heap, the oldest first."""
        self._size = 0
        self._is_cut = False
        self._read_to: LogPosition | None = None
        """Where the time was over."""

    def take_file(self, lines: Iterator[bytes], until_s: float, clock: Callable[[], float]) -> bool:
        """Read lines, newest first. False: no older one is needed."""
        for count, line in enumerate(lines):
            is_due = count % CHECK_LINES == 0
            if not is_due and self._needle not in line:
                continue
            found = _parsed(line)
            if found is None:
                continue
            row, position = found
            if position.ended_unix_s < self._floor_s() - SLACK_S:
                return False
            if is_due and clock() >= until_s:
                self._read_to = LogPosition(position.ended_unix_s + SLACK_S)
                return False
            if self._is_wanted(row, position):
                self._add(position, line)
        return True

    def _floor_s(self) -> float:
        since_s = self._wanted.since_unix_s
        return max(since_s, self._rows[0][0].ended_unix_s) if self._is_cut else since_s

    def _is_wanted(self, row: LoggedRequest, position: LogPosition) -> bool:
        wanted = self._wanted
        return (
            wanted.service in (row.service, row.route)
            and position.ended_unix_s >= wanted.since_unix_s
            and (wanted.before is None or position < wanted.before)
            and (not self._owners or row.owner in self._owners)
            and (not wanted.key or row.key == wanted.key)
            and row.status in self._statuses
        )

    def _add(self, position: LogPosition, line: bytes) -> None:
        heappush(self._rows, (position, line))
        self._size += len(line)
        is_large = self._size > MAX_PAGE_BYTES and len(self._rows) > 1
        while len(self._rows) > self._wanted.limit or is_large:
            self._is_cut = True
            self._size -= len(heappop(self._rows)[1])
            is_large = self._size > MAX_PAGE_BYTES and len(self._rows) > 1

    def result(self, number: int) -> ReportLogPage:
        rows = sorted(self._rows, reverse=True)
        reached = rows[-1][0] if self._is_cut else None
        if self._read_to is not None and (reached is None or reached < self._read_to):
            reached = self._read_to
            rows = [row for row in rows if row[0] >= reached]
        return ReportLogPage(number, tuple(LogRow(*row) for row in rows), reached)


def _parsed(line: bytes) -> tuple[LoggedRequest, LogPosition] | None:
    """None: it is no line of a log, as where a full disk took a part of one."""
    try:
        row = _decode(line)
        return row, row.position
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError):
        return None


def _backward(file: int, end: int) -> Iterator[bytes]:
    """Whole lines before an offset, the last one first; those that are too long are left out."""
    rest = b""
    while end > 0:
        begin = max(0, end - BLOCK_BYTES)
        data = os.pread(file, end - begin, begin) + rest
        end = begin
        first, *others = data.split(b"\n")
        for line in reversed(others):
            if line and len(line) <= MAX_LINE_BYTES:
                yield line
        rest = first
        if len(rest) > MAX_LINE_BYTES + BLOCK_BYTES:
            rest = rest[: MAX_LINE_BYTES + 1]  # too long in any case
    if rest and len(rest) <= MAX_LINE_BYTES:
        yield rest


def _end_before(file: int, size: int, ended_unix_s: float) -> int:
    """An offset such that all lines behind it ended later."""
    low, high = 0, size
    while high - low > BLOCK_BYTES:
        middle = (low + high) // 2
        at_s = _time_at(file, middle, high)
        if at_s is None or at_s > ended_unix_s:
            high = middle
        else:
            low = middle
    return min(size, high + MAX_LINE_BYTES)


def _time_at(file: int, offset: int, end: int) -> float | None:
    """When the first request ended whose line begins behind an offset; None: there is none."""
    data = os.pread(file, min(end - offset, 2 * MAX_LINE_BYTES), offset)
    for line in data.split(b"\n")[1:-1]:
        found = _parsed(line)
        if found is not None:
            return found[1].ended_unix_s
    return None
