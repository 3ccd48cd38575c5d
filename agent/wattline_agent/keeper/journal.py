"""Append-only journal of facts about attempts: one file, one line per fact.

Theory of operation. Creating a file costs a file system a hundred times as much as writing a line.
A line is `["KEY",VALUE]`; the newest line of an attempt counts, and null deletes it. Lines fill the
file from its beginning up to the first zero; a torn last line is ignored, and so is one whose key a
damaged disk has made that of no attempt.

The file has a fixed size, is filled with zeros before its first use and overwritten in place, so
that a sync moves no metadata. When it is full, the facts that still count are written to a new file
that replaces it. One process writes; any process may read.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wattline_agent.keeper.records import sync_directory, write_at
from wattline_agent.keeper.spec import is_key

SIZE_BYTES = 1024 * 1024
"""About three thousand lines; larger where the facts that still count need it."""
STOP = b"\0"

Fact = tuple[str, bytes | None]
"""An attempt's key, and its value as JSON; None = delete it."""


class Journal:
    """Writer of a journal. Opens or creates the file when the first fact is put."""

    def __init__(self, path: Path, *, is_synced: bool = False) -> None:
        """`is_synced`: facts are on disk when `put` returns; else they survive the end of this
        process, but not a power failure."""
        self._path = path
        self._is_synced = is_synced
        self._file = -1
        self._size = self._at = 0

    def put(self, facts: Sequence[Fact]) -> None:
        """Write facts in order. Raises OSError; then none of them counts."""
        data = b"".join(b'["%s",%s]\n' % (key.encode(), value or b"null") for key, value in facts)
        if self._file < 0:
            self._open()
        if self._at + len(data) + len(STOP) > self._size:
            self._begin_anew(len(data))
        write_at(self._file, data + STOP, self._at)
        if self._is_synced:
            os.fdatasync(self._file)
        self._at += len(data)

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self) -> None:
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return  # a size of 0 means full
        self._file, self._size = file, os.fstat(file).st_size
        _, self._at = _newest(os.pread(file, self._size, 0))

    def _begin_anew(self, reserve_bytes: int) -> None:
        records = b""
        if self._file >= 0:
            records = b"".join(_newest(os.pread(self._file, self._at, 0))[0].values())
        size = max(SIZE_BYTES, 2 * (len(records) + reserve_bytes))
        beside = self._path.with_name(self._path.name + ".new")
        file = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            write_at(file, records.ljust(size, STOP), 0)
            if self._is_synced:
                os.fsync(file)
            beside.rename(self._path)
        except OSError:
            os.close(file)
            beside.unlink(missing_ok=True)  # the disk may be full
            raise
        self.close()
        self._file, self._size, self._at = file, size, len(records)
        if self._is_synced:
            sync_directory(self._path.parent)


def read_journal(path: Path) -> dict[str, Any]:
    """Newest values by key, in the order in which each key was first put; empty without a file."""
    try:
        lines, _ = _newest(path.read_bytes())
    except FileNotFoundError:
        return {}
    return {key: json.loads(line)[1] for key, line in lines.items()}


def _newest(data: bytes) -> tuple[dict[str, bytes], int]:
    """Newest line of each key, and the offset at which complete lines end."""
    lines: dict[str, bytes] = {}
    at = 0
    for line in data.partition(STOP)[0].splitlines(keepends=True):
        try:
            key, value = json.loads(line)
        except (ValueError, TypeError, RecursionError):
            break
        if not isinstance(key, str) or not line.endswith(b"\n"):
            break
        at += len(line)
        if value is None:
            lines.pop(key, None)
        elif is_key(key):
            lines[key] = line
    return lines, at
