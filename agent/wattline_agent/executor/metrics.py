"""Newest value of each metric and report of a task, read from the end of its file."""

import contextlib
import json
import math
import os
import stat
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from wattline_protocol.text.visible import visible_line
from wattline_protocol.wire.task_reports.checkpoints import CheckpointTrouble, SavedCheckpoint

MAX_METRICS = 64
MAX_NAME_CHARS = 100
MAX_BYTES_PER_LOOK = 256 * 1024
"""Older values of a task that writes faster are skipped; only the newest are needed."""


MAX_LINES_PER_LOOK = 1_000
"""Each costs a parse: about 5 ms of an agent's time in all."""

REPORT_MARK = b'"wattline"'
"""In every line that is a report of the task library and no metric."""
MAX_WHY_CHARS = 500
MAX_REPORTS_PER_LOOK = 64
"""Reports are rare; these are also found behind more metrics than are parsed."""


class MetricsTail:
    """Follows one metrics file."""

    def __init__(self, path: str, opened: Callable[[str, int], int] = os.open) -> None:
        """`opened`: as `os.open`, or as careful as the owner of the file requires."""
        self._path, self._opened = path, opened
        self._offset = 0
        self._rest = b""
        self.latest: dict[str, float] = {}
        self.checkpoint: SavedCheckpoint | None = None
        self.marks = 0
        """Reports read so far."""
        self.checkpoint_trouble: CheckpointTrouble | None = None

    def poll(self) -> None:
        """Read the complete lines written since the last call."""
        data = self._read()
        if not data:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_BYTES_PER_LOOK:
            self._rest = b""
        for line in newest_lines(lines):
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
            if size < self._offset:  # truncated by the task
                self._offset, self._rest = 0, b""
            if size - self._offset > MAX_BYTES_PER_LOOK:
                self._offset, self._rest = size - MAX_BYTES_PER_LOOK, b""
            data = os.pread(descriptor, MAX_BYTES_PER_LOOK, self._offset)
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
        values = report.get("metrics")
        if not isinstance(values, dict):
            return
        for name, value in values.items():
            is_known = name in self.latest or len(self.latest) < MAX_METRICS
            number = _number(value)
            if is_known and _is_name(name) and number is not None:
                self.latest[name] = number

    def _take_report(self, report: dict[str, Any]) -> None:
        """Of the task library; one out of bounds, or incomplete, is ignored."""
        kind = report.get("wattline")
        # msgspec fails at half a surrogate pair, which JSON can spell, as a key or for a number
        with contextlib.suppress(msgspec.ValidationError, UnicodeEncodeError):
            if kind == "checkpoint":
                self.checkpoint = msgspec.convert(report, SavedCheckpoint)
                self.checkpoint_trouble = None
            elif kind in ("save_failed", "checkpoint_rejected"):
                values = {**report, "what": kind, "why": _sentence(report.get("why"))}
                self.checkpoint_trouble = msgspec.convert(values, CheckpointTrouble)


def newest_lines(lines: Sequence[bytes]) -> Iterator[bytes]:
    """The lines to parse, oldest first: older values of a task that writes more are skipped."""
    written = [line for line in lines if not line.isspace() and line]
    skipped = (line for line in written[:-MAX_LINES_PER_LOOK] if REPORT_MARK in line)
    yield from deque(skipped, maxlen=MAX_REPORTS_PER_LOOK)
    yield from written[-MAX_LINES_PER_LOOK:]


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
