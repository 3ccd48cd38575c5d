"""A task's output on disk: two files that take turns, never more than the limit together.

`log` is written, `log.1` is what was written before; when `log` holds half the limit it becomes
`log.1`. Offsets count every byte the task ever wrote, so they stay valid over rotation. Which
offset each file begins at stands in `log.index`, with the inode it speaks of: a reader that comes
in the middle of a rotation, or after a crash in one, can tell. Most logs are never rotated, and
have no index.
"""

import os
from dataclasses import asdict, dataclass
from pathlib import Path

from wattline_agent.keeper.records import read_record, write_record

LOG, OLD_LOG, INDEX = "log", "log.1", "log.index"
MIN_LIMIT_BYTES = 64 * 1024
READ_TRIES = 10
"""Each try fails only if a rotation falls into it."""


@dataclass(frozen=True, slots=True)
class Index:
    """Where the files begin in the whole output."""

    first: int
    """Offset of the oldest byte kept."""
    current: int
    """Offset of the first byte of `log`."""
    inode: int
    """Of `log` when this was written."""
    lost: int = 0
    """Bytes that could not be written (disk full)."""


def _load_index(folder: Path) -> Index | None:
    data = read_record(folder / INDEX)
    if not isinstance(data, dict) or set(data) != {"first", "current", "inode", "lost"}:
        return None
    return Index(**data)


def _settle(index: Index, log_inode: int, old: os.stat_result | None) -> Index | None:
    """The index as it should read for these files, or None when they belong to another moment."""
    if old is not None and old.st_ino == log_inode:
        return None
    if index.inode == log_inode:
        return index
    if old is not None and index.inode == old.st_ino:
        return Index(index.current, index.current + old.st_size, log_inode, index.lost)
    return None


class LogWriter:
    """Appends to a task's log and rotates it. One writer per task."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._half = max(limit_bytes, MIN_LIMIT_BYTES) // 2
        self._file = self._open(LOG)
        status = os.fstat(self._file)
        old = folder / OLD_LOG
        index = _load_index(folder)
        settled = index and _settle(index, status.st_ino, old.stat() if old.exists() else None)
        self._saved = index
        self._index = settled or Index(0, 0, status.st_ino)
        self._size = status.st_size
        if old.exists():
            self._save()

    def _open(self, name: str) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        return os.open(self._folder / name, flags, 0o600)

    def write(self, data: bytes) -> None:
        """Append `data`. A full disk loses it, is counted, and never stops the task."""
        view = memoryview(data)
        while view:
            if self._size >= self._half and not self._rotate():
                self._lose(len(view))
                return
            try:
                written = os.write(self._file, view[: self._half - self._size])
            except OSError:
                self._lose(len(view))
                return
            self._size += written
            view = view[written:]

    def _lose(self, count: int) -> None:
        """The bytes are counted as lost; offsets go on with what is on disk."""
        index = self._index
        self._index = Index(index.first, index.current, index.inode, index.lost + count)

    def _rotate(self) -> bool:
        if self._saved is None:
            self._save()  # so that a crash between the renames leaves word of it
        try:
            fresh = self._open("log.next")
            (self._folder / LOG).rename(self._folder / OLD_LOG)
            (self._folder / "log.next").rename(self._folder / LOG)
        except OSError:
            return False
        os.close(self._file)
        index = self._index
        self._file = fresh
        inode = os.fstat(fresh).st_ino
        self._index = Index(index.current, index.current + self._size, inode, index.lost)
        self._size = 0
        self._save()
        return True

    def _save(self) -> None:
        try:
            write_record(self._folder / INDEX, asdict(self._index), durable=False)
        except OSError:
            return  # the reader settles what a missing update leaves open
        self._saved = self._index

    def close(self) -> None:
        """Note what was lost and close the file."""
        if self._saved != self._index and (self._saved or self._index.lost):
            self._save()
        os.close(self._file)


@dataclass(frozen=True, slots=True)
class LogPiece:
    """Bytes of a task's log and where they stand in its whole output."""

    data: bytes
    start: int
    end: int
    """Offset after the newest byte of the log."""
    lost: int


class NoLog(Exception):
    """The attempt has no log here (never started, or long pruned)."""


def read_piece(folder: Path, offset: int, limit_bytes: int) -> LogPiece:
    """Up to `limit_bytes` from `offset`; negative counts from the end, too early starts at the
    oldest byte kept (`start` says). Raises NoLog."""
    for _ in range(READ_TRIES):
        piece = _try_read(folder, offset, limit_bytes)
        if piece is not None:
            return piece
    raise NoLog(f"the log in {folder} is written faster than it can be read")


def _try_read(folder: Path, offset: int, limit_bytes: int) -> LogPiece | None:
    try:
        log = os.open(folder / LOG, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        if (folder / OLD_LOG).exists():
            return None  # between the two renames of a rotation
        raise NoLog("this attempt has written no log") from None
    try:
        old = os.open(folder / OLD_LOG, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        old = -1
    try:
        return _read_both(folder, log, old, offset, limit_bytes)
    finally:
        os.close(log)
        if old >= 0:
            os.close(old)


def _read_both(folder: Path, log: int, old: int, offset: int, limit: int) -> LogPiece | None:
    raw = _load_index(folder)
    status = os.fstat(log)
    if raw is None and old < 0:  # never rotated
        raw = Index(0, 0, status.st_ino)
    index = raw and _settle(raw, status.st_ino, os.fstat(old) if old >= 0 else None)
    if not index:
        return None
    end = index.current + status.st_size
    start = min(max(offset if offset >= 0 else end + offset, index.first), end)
    data = b""
    if start < index.current and old >= 0:
        data = os.pread(old, min(limit, index.current - start), start - index.first)
    if len(data) < limit:
        data += os.pread(log, limit - len(data), start + len(data) - index.current)
    return LogPiece(data, start, end, index.lost)
