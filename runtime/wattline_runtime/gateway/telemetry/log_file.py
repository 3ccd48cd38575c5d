"""A log of JSON lines: appended in a thread, rotated, and kept for a time.

A full disk stops the log, not the service. Each process of a gateway appends to the same file; one
rotates it.
"""

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from glob import escape
from pathlib import Path
from stat import S_ISREG
from threading import Lock

import msgspec
import structlog

from wattline_runtime.disk import DISK_FULL

log = structlog.get_logger()

MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_FILE_AGE_S = 86_400.0
"""Older files are rotated, so that no line is kept much longer than its retention."""
FLUSH_S = 0.2
CHECK_S = 10.0
"""Interval of checks of the file's age, and of those that are kept, without requests."""
RETRY_S = 10.0
"""Interval of attempts while the disk is full."""
MODE = 0o600
FOLDER_MODE = 0o700
FIRST_LINE_BYTES = 4096


class _Begun(msgspec.Struct):
    time: str


class LogFile:
    """The file. Its methods may be called by any thread."""

    def __init__(
        self,
        name: str,
        path: Path,
        retention_s: float,
        *,
        rotates: bool = True,
        folders: Sequence[Path] = (),
    ) -> None:
        """`name`: in warnings. `rotates`: not so for all but one process. `folders`: made with it,
        for its user only. Raises OSError unless the disk is full."""
        self._name, self._path = name, path
        self._folders = folders
        self._retention_s, self._rotates = retention_s, rotates
        self._lost = 0
        self._file = -1
        self._begun_s = 0.0
        self._is_stopped = False
        """The disk did not take the last lines."""
        self._is_torn = False
        self._retry_at_s = 0.0
        self._lock = Lock()
        try:
            self._open()
        except OSError as error:
            if error.errno not in DISK_FULL:
                text = f"{name.replace('_', ' ')} {path}: {error.strerror}"
                raise OSError(error.errno, text) from error
            self._note_stopped(error)

    def lose(self, count: int) -> None:
        """So many lines could not wait for the disk."""
        self._lost += count

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def write(self, lines: Sequence[bytes]) -> None:
        """Append lines, or drop them while the disk takes none."""
        with self._lock:  # at the end of the gateway a thread may still write
            self._write(lines)

    def _write(self, lines: Sequence[bytes]) -> None:
        now_s = time.monotonic()
        if self._is_stopped and now_s < self._retry_at_s:
            self._lost += len(lines)
            return
        try:
            self._renew()
            self._append(lines)
        except OSError as error:
            self._lost += len(lines)
            self._retry_at_s = now_s + RETRY_S
            if not self._is_stopped:
                self._note_stopped(error)
            return
        if self._is_stopped:
            self._is_stopped = False
            log.warning(f"{self._name}_resumed", lost=self._lost)
            self._lost = 0

    def _append(self, lines: Sequence[bytes]) -> None:
        """A line of which a full disk took a part only is ended first."""
        data = b"".join([line + b"\n" for line in lines])
        left = memoryview(b"\n" + data if self._is_torn and data else data)
        while left:
            written = os.write(self._file, left)
            self._is_torn = left[written - 1] != ord("\n")
            left = left[written:]

    def _note_stopped(self, error: OSError) -> None:
        self._is_stopped = True
        log.warning(f"{self._name}_stopped", path=str(self._path), why=error.strerror)

    # --- rotation

    def _open(self) -> None:
        for folder in self._folders:
            folder.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        # A pipe without a reader is an error; the gateway does not wait for one.
        self._file = os.open(self._path, flags | os.O_NONBLOCK, MODE)
        os.set_blocking(self._file, True)
        self._begun_s = self._first_s()

    def _first_s(self) -> float:
        """When its first line was written, which may be before this gateway has started."""
        now_s = time.time()
        if not S_ISREG(os.fstat(self._file).st_mode):
            return now_s  # a pipe
        with suppress(OSError, ValueError), self._path.open("rb") as file:
            first = file.readline(FIRST_LINE_BYTES).partition(b",")[0] + b"}"
            begun = datetime.fromisoformat(msgspec.json.decode(first, type=_Begun).time)
            return min(now_s, begun.timestamp())
        return now_s

    def _renew(self) -> None:
        """Rotate the file, or follow another process that has."""
        if self._file < 0:
            self._open()
        own = os.fstat(self._file)
        if self._rotates and own.st_size and self._is_due(own.st_size):
            stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
            self._path.rename(self._path.with_name(f"{self._path.name}.{stamp}"))
        if self._rotates:
            self._delete_old()
        try:
            is_same = self._path.stat().st_ino == own.st_ino
        except FileNotFoundError:
            is_same = False
        if not is_same:
            self._close()
            self._open()

    def _is_due(self, size: int) -> bool:
        age_s = min(MAX_FILE_AGE_S, self._retention_s)
        return size >= MAX_FILE_BYTES or time.time() - self._begun_s >= age_s

    def _delete_old(self) -> None:
        for old in self._path.parent.glob(f"{escape(self._path.name)}.*Z"):
            with suppress(FileNotFoundError):
                if old.stat().st_mtime < time.time() - self._retention_s:
                    old.unlink()
