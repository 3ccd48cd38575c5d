"""A task's output on disk: two rotating files, together never larger than the limit.

`log` is the current file, `log.1` the previous one; when `log` reaches half the limit it becomes
`log.1`, which is removed before: ext4 writes a file to disk at once where it replaces another, and
every program that syncs a file of that disk would wait for the log. Offsets count every byte the
task ever wrote, so they stay valid over rotation. `log.index` records the offset at which each file
begins, and the inode it refers to, so that a reader detects a rotation in progress, or a crash in
one. Most logs are never rotated and have no index; a task that has written nothing has no log.

All three share a prefix: `tasks/KEY.` for a task.
"""

import os
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from wattline_agent.keeper.records import read_record, write_record

LOG, OLD_LOG, NEXT_LOG, INDEX = "log", "log.1", "log.next", "log.index"
MIN_LIMIT_BYTES = 64 * 1024
READ_TRIES = 10
"""A try fails only if a rotation happens during it."""


@dataclass(frozen=True, slots=True)
class Index:
    """Offsets of the files within the whole output."""

    first: int
    """Offset of the oldest byte retained."""
    current: int
    """Offset of the first byte of `log`."""
    inode: int
    """Inode of `log` when this was written."""
    lost: int = 0
    """Bytes that could not be written (disk full)."""


def _load_index(prefix: str) -> Index | None:
    data = read_record(Path(prefix + INDEX))
    if not isinstance(data, dict) or set(data) != {"first", "current", "inode", "lost"}:
        return None
    return Index(**data)


def _settle(index: Index, log_inode: int, old: os.stat_result | None) -> Index | None:
    """The index corrected for these files, or None when they belong to another point in time."""
    if old is not None and old.st_ino == log_inode:
        return None
    if index.inode == log_inode:
        return index if old is not None else replace(index, first=index.current)
    if old is not None and index.inode == old.st_ino:
        return Index(index.current, index.current + old.st_size, log_inode, index.lost)
    return None


class LogWriter:
    """Appends to a task's log and rotates it. One writer per task."""

    def __init__(self, prefix: str, limit_bytes: int) -> None:
        self._prefix = prefix
        self._half = max(limit_bytes, MIN_LIMIT_BYTES) // 2
        self._file = -1
        self._saved: Index | None = None
        self._index = Index(0, 0, 0)
        self._size = 0

    def _begin(self) -> bool:
        """Open the log, or continue one of an earlier writer."""
        try:
            file = self._open(LOG)
        except OSError:
            return False
        status = os.fstat(file)
        old = Path(self._prefix + OLD_LOG)
        index = _load_index(self._prefix)
        settled = index and _settle(index, status.st_ino, old.stat() if old.exists() else None)
        lost = self._index.lost
        self._file, self._saved, self._size = file, index, status.st_size
        self._index = settled or Index(0, 0, status.st_ino)
        self._lose(lost)
        if old.exists():
            self._save()
        return True

    def _open(self, name: str) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        return os.open(self._prefix + name, flags, 0o600)

    def write(self, data: bytes) -> None:
        """Append `data`. A full disk loses it; the loss is counted and never stops the task."""
        if self._file < 0 and not self._begin():
            self._lose(len(data))
            return
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
        """Count bytes as lost; offsets continue with what is on disk."""
        index = self._index
        self._index = Index(index.first, index.current, index.inode, index.lost + count)

    def _rotate(self) -> bool:
        if self._saved is None:
            self._save()  # so that a crash between the renames stays detectable
        try:
            fresh = self._open(NEXT_LOG)
            with suppress(FileNotFoundError):
                os.unlink(self._prefix + OLD_LOG)  # noqa: PTH108 - prefixes
            os.rename(self._prefix + LOG, self._prefix + OLD_LOG)  # noqa: PTH104 - prefixes
            os.rename(self._prefix + NEXT_LOG, self._prefix + LOG)  # noqa: PTH104
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
            write_record(Path(self._prefix + INDEX), asdict(self._index))
        except OSError:
            return  # the reader corrects a missing update
        self._saved = self._index

    def close(self) -> None:
        """Record what was lost and close the file."""
        if self._file < 0:
            return
        if self._saved != self._index and (self._saved or self._index.lost):
            self._save()
        os.close(self._file)
        self._file = -1


@dataclass(frozen=True, slots=True)
class LogPiece:
    """Bytes of a log and their offset in the whole output."""

    data: bytes
    start: int
    end: int
    """Offset after the newest byte of the log."""
    lost: int


class NoLog(Exception):
    """Nothing was written (yet), or the log was pruned."""


def read_piece(prefix: str, offset: int, limit_bytes: int) -> LogPiece:
    """Up to `limit_bytes` from `offset`. A negative offset counts from the end; one before the
    oldest byte retained starts there (see `start`). Raises NoLog."""
    for _ in range(READ_TRIES):
        try:
            piece = _try_read(prefix, offset, limit_bytes)
        except OSError as error:
            raise NoLog(f"{prefix}{LOG} cannot be read: {error.strerror}") from error
        if piece is not None:
            return piece
    raise NoLog(f"{prefix}{LOG} is written faster than it can be read")


def _try_read(prefix: str, offset: int, limit_bytes: int) -> LogPiece | None:
    try:
        log = os.open(prefix + LOG, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        if Path(prefix + OLD_LOG).exists():
            return None  # between the two renames of a rotation
        raise NoLog("this attempt has written no log") from None
    try:
        old = os.open(prefix + OLD_LOG, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        old = -1
    try:
        return _read_both(prefix, log, old, offset, limit_bytes)
    finally:
        os.close(log)
        if old >= 0:
            os.close(old)


def _read_both(prefix: str, log: int, old: int, offset: int, limit: int) -> LogPiece | None:
    raw = _load_index(prefix)
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
        if start - index.first >= os.fstat(old).st_size:
            start = index.current  # a power failure has cut the end of the older file
        else:
            data = os.pread(old, min(limit, index.current - start), start - index.first)
    if len(data) < limit and start + len(data) >= index.current:
        data += os.pread(log, limit - len(data), start + len(data) - index.current)
    return LogPiece(data, start, end, index.lost)
