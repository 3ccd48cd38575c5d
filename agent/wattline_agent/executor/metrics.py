"""Metrics and reports of a task, read from the end of its file."""

import contextlib
import json
import math
import os
import stat
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from wattline_agent.executor.run_record.curves import RunHistory
from wattline_protocol.text.visible import visible_line
from wattline_protocol.wire.bounds import MAX_SERIAL, MAX_UNIX_S
from wattline_protocol.wire.task_reports.checkpoints import CheckpointTrouble, SavedCheckpoint
from wattline_protocol.wire.task_reports.rank_steps import MAX_RANKS, RankSteps

MAX_METRICS = 64
MAX_NAME_CHARS = 100
MAX_BYTES_PER_LOOK = 256 * 1024
"""Older values of a task that writes faster are skipped; only the newest are needed."""


MAX_LINES_PER_LOOK = 1_000
"""Each costs a parse: about 5 ms of an agent's time in all."""

MAX_VALUES_PER_LOOK = 10_000
"""Added to the history: a task may report 64 metrics in each line."""

REPORT_MARK = b'"wattline"'
"""In every line that is a report of the task library and no metric."""
MAX_WHY_CHARS = 500
MAX_REPORTS_PER_LOOK = 64
"""Reports are rare; these are also found behind more metrics than are parsed."""


class MetricsTail:
    """Follows one metrics file."""

    def __init__(
        self,
        path: str,
        opened: Callable[[str, int], int] = os.open,
        history: RunHistory | None = None,
    ) -> None:
        """`opened`: as `os.open`, or as careful as the owner of the file requires; `history`: what
        an earlier agent has read."""
        self._path, self._opened = path, opened
        self._offset = 0
        self._rest = b""
        self.latest: dict[str, float] = {}
        self.checkpoint: SavedCheckpoint | None = None
        self.marks = 0
        """Reports read so far."""
        self.checkpoint_trouble: CheckpointTrouble | None = None
        self.history = history or RunHistory()
        self._is_known = False
        """The lines being read are part of the history."""
        self._values_left = MAX_VALUES_PER_LOOK
        self._ranks: dict[int, RankSteps] = {}

    @property
    def ranks(self) -> tuple[RankSteps, ...]:
        """Steps of each rank, as last reported."""
        return tuple(self._ranks.values())

    def poll(self) -> None:
        """Read the complete lines written since the last call."""
        data = self._read()
        if not data:
            return
        data = self._rest + data
        known = max(0, self.history.read_to - (self._offset - len(data)))
        self._is_known = True
        self._take_lines(data[:known].split(b"\n"))
        self._is_known = False
        *lines, self._rest = data[known:].split(b"\n")
        if len(self._rest) > MAX_BYTES_PER_LOOK:
            self._rest = b""
        self._take_lines(lines)
        self.history.read_to = max(self.history.read_to, self._offset - len(self._rest))

    def _take_lines(self, lines: Sequence[bytes]) -> None:
        read = list(newest_lines(lines))
        if len(lines) > MAX_LINES_PER_LOOK and not self._is_known:
            self.history.unread_bytes += _written_bytes(lines) - _written_bytes(read)
        self._values_left = MAX_VALUES_PER_LOOK
        for line in read:
            self._take(line)

    def _read(self) -> bytes:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            descriptor = self._opened(self._path, flags)
        except OSError:  # not there yet; or its owner blocks access (F_SETLEASE, FUSE)
            return b""
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):  # a pipe, a device, a directory in its place
                return b""
            size = found.st_size
            if size < max(self._offset, self.history.read_to):  # truncated by the task
                self._offset, self._rest, self.history.read_to = 0, b"", 0
            if size - self._offset > MAX_BYTES_PER_LOOK:
                begin = size - MAX_BYTES_PER_LOOK
                self.history.unread_bytes += max(0, begin - max(self._offset, self.history.read_to))
                self._offset, self._rest = begin, b""
            data = os.pread(descriptor, MAX_BYTES_PER_LOOK, self._offset)
        except OSError:  # of a damaged disk, or a file of /proc in its place
            return b""
        finally:
            os.close(descriptor)
        self._offset += len(data)
        return data

    def _take(self, line: bytes) -> None:
        """Ignores a line that is no report (truncated, foreign)."""
        try:
            report = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not isinstance(report, dict):
            return
        self.marks += "wattline" in report or "metrics" in report
        self._take_report(report)
        self._take_rank(report.get("rank"))
        values = report.get("metrics")
        if not isinstance(values, dict):
            return
        found = {name: _number(value) for name, value in values.items() if _is_name(name)}
        numbers = {name: number for name, number in found.items() if number is not None}
        self._values_left -= len(numbers)
        if self._is_known or not _is_of_first_rank(report):
            pass
        elif self._values_left >= 0:
            unix_s = _number(report.get("unix_s")) or 0.0
            self.history.add(numbers, min(max(unix_s, 0.0), MAX_UNIX_S))
        else:
            self.history.unread_bytes += len(line)
        for name, number in numbers.items():
            if name in self.latest or len(self.latest) < MAX_METRICS:
                self.latest[name] = number

    def _take_report(self, report: dict[str, Any]) -> None:
        """Of the task library; one out of bounds, or incomplete, is ignored."""
        kind = report.get("wattline")
        if kind == "parameters" and not self._is_known:
            self._take_parameters(report.get("values"))
        # msgspec fails at half a surrogate pair, which JSON can spell, as a key or for a number
        with contextlib.suppress(msgspec.ValidationError, UnicodeEncodeError):
            if kind == "checkpoint":
                self.checkpoint = msgspec.convert(report, SavedCheckpoint)
                self.checkpoint_trouble = None
                if not self._is_known:
                    self.history.save(self.checkpoint)
            elif kind in ("save_failed", "checkpoint_rejected"):
                values = {**report, "what": kind, "why": _sentence(report.get("why"))}
                self.checkpoint_trouble = msgspec.convert(values, CheckpointTrouble)

    def _take_parameters(self, values: object) -> None:
        for name, value in values.items() if isinstance(values, dict) else ():
            self._values_left -= 1
            if not _is_name(name) or self._values_left < 0:
                continue
            if isinstance(value, str):
                self.history.set(name, _sentence(value))
            elif isinstance(value, int) and abs(value) <= MAX_SERIAL:  # a bool is one, too
                self.history.set(name, value)
            elif (number := _number(value)) is not None:
                self.history.set(name, number)

    def _take_rank(self, steps: object) -> None:
        with contextlib.suppress(msgspec.ValidationError, UnicodeEncodeError):
            if isinstance(steps, dict):
                found = msgspec.convert(steps, RankSteps)
                if found.rank in self._ranks or len(self._ranks) < MAX_RANKS:
                    self._ranks[found.rank] = found


def newest_lines(lines: Sequence[bytes]) -> Iterator[bytes]:
    """The lines to parse, oldest first: older values of a task that writes more are skipped."""
    written = [line for line in lines if not line.isspace() and line]
    skipped = (line for line in written[:-MAX_LINES_PER_LOOK] if REPORT_MARK in line)
    yield from deque(skipped, maxlen=MAX_REPORTS_PER_LOOK)
    yield from written[-MAX_LINES_PER_LOOK:]


def _is_of_first_rank(report: dict[str, Any]) -> bool:
    """Ranks report the steps of all of them at the same time; the first one is recorded."""
    rank = report.get("rank")
    return not (isinstance(rank, dict) and rank.get("rank"))


def _written_bytes(lines: Sequence[bytes]) -> int:
    return sum(map(len, lines)) + len(lines)


def _sentence(text: object) -> str:
    """For a message: it carries no half of a surrogate pair either."""
    if not isinstance(text, str):
        return ""
    whole = text[:MAX_WHY_CHARS].encode(errors="replace").decode()
    return visible_line(whole)[:MAX_WHY_CHARS]


def _is_name(name: str) -> bool:
    """Half a surrogate pair, which JSON can spell and UTF-8 cannot, is not printable either."""
    return len(name) <= MAX_NAME_CHARS and name.isprintable()


def _number(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer has no limit in JSON
        return None
    return number if math.isfinite(number) else None
