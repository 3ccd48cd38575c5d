"""Facts about attempts in one file, a line each: what would else be a small file an attempt.

Theory of operation. Making a file costs a file system a hundred times what a line costs. A line is
`["KEY",VALUE]`; the newest of an attempt counts, and null means that it is forgotten. Lines stand
from the beginning of the file up to the first zero; a torn line at their end counts as none.

The file has a fixed size, filled with zeros before its first use and overwritten in place, so that
a sync moves no metadata. When it is full, what still counts is written to a fresh one that takes
its place. One process writes; anybody may read.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wattline_agent.keeper.records import sync_directory

SIZE_BYTES = 1024 * 1024
"""About three thousand lines; more where what still counts needs it."""
STOP = b"\0"

Fact = tuple[str, bytes | None]
"""An attempt's key, and what is to be known of it as JSON; None = forget it."""


class Journal:
    """The writer's end. The file is opened, or made, when the first fact is put."""

    def __init__(self, path: Path, *, is_synced: bool = False) -> None:
        """`is_synced`: facts are on disk when `put` returns; else they survive this process and
        its kind, not a power cut."""
        self._path = path
        self._is_synced = is_synced
        self._file = -1
        self._size = self._at = 0

    def put(self, facts: Sequence[Fact]) -> None:
        """Write them, in turn. Raises OSError; then none of them counts."""
        data = b"".join(b'["%s",%s]\n' % (key.encode(), value or b"null") for key, value in facts)
        if self._file < 0:
            self._open()
        if self._at + len(data) + len(STOP) > self._size:
            self._begin_anew(len(data))
        os.pwrite(self._file, data + STOP, self._at)
        if self._is_synced:
            os.fdatasync(self._file)
        self._at += len(data)

    def close(self) -> None:
        """Leave the file to others."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self) -> None:
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return  # a size of 0 is full
        self._file, self._size = file, os.fstat(file).st_size
        _, self._at = _newest(os.pread(file, self._size, 0))

    def _begin_anew(self, room_bytes: int) -> None:
        kept = b""
        if self._file >= 0:
            kept = b"".join(_newest(os.pread(self._file, self._at, 0))[0].values())
        size = max(SIZE_BYTES, 2 * (len(kept) + room_bytes))
        beside = self._path.with_name(self._path.name + ".new")
        file = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(file, kept.ljust(size, STOP), 0)
            if self._is_synced:
                os.fsync(file)
            beside.rename(self._path)
            if self._is_synced:
                sync_directory(self._path.parent)
        except OSError:
            os.close(file)
            raise
        self.close()
        self._file, self._size, self._at = file, size, len(kept)


def read_journal(path: Path) -> dict[str, Any]:
    """What still counts, by key, in the order in which it was first put; empty without a file."""
    try:
        lines, _ = _newest(path.read_bytes())
    except FileNotFoundError:
        return {}
    return {key: json.loads(line)[1] for key, line in lines.items()}


def _newest(data: bytes) -> tuple[dict[str, bytes], int]:
    """The line that counts of each key, and where whole lines end."""
    lines: dict[str, bytes] = {}
    at = 0
    for line in data.partition(STOP)[0].splitlines(keepends=True):
        try:
            key, value = json.loads(line)
        except (ValueError, TypeError):
            break
        if not isinstance(key, str) or not line.endswith(b"\n"):
            break
        if value is None:
            lines.pop(key, None)
        else:
            lines[key] = line
        at += len(line)
    return lines, at
