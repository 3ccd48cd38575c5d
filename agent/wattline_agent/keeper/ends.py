"""The ends of attempts, on disk before anyone is told of them: a batch for one sync.

Theory of operation. Each end has a file of its own, `exit.json`, which is what everybody reads; to
sync each of them would cost the disk two commits an attempt. So the ends of a batch are first
written to one journal and synced together, and their files are left to the page cache: after a
power cut the next keeper writes those that are missing or torn from the journal (`estate`).

The journal is a file of fixed size, filled with zeros before its first use, so that a sync moves
no metadata. Lines of JSON stand in it from the beginning up to the first zero. When it is full it
is begun anew, after everything that it vouches for has been synced.
"""

import ctypes
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

SIZE_BYTES = 1024 * 1024
"""About three thousand ends."""
STOP = b"\0"

_libc = ctypes.CDLL(None, use_errno=True)

End = tuple[str, object]
"""The attempt's key, and the record of how it ended."""


class EndsJournal:
    """Open for the one process that writes it. `path` is made if it is missing. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._at = 0
        if os.fstat(self._file).st_size < SIZE_BYTES:
            os.pwrite(self._file, bytes(SIZE_BYTES), 0)
            os.fsync(self._file)
        elif os.pread(self._file, 1, 0) != STOP:
            self._begin_anew()

    def put(self, ends: Sequence[End]) -> None:
        """On disk when this returns. Raises OSError."""
        data = b"".join(json.dumps(end).encode() + b"\n" for end in ends) + STOP
        if self._at + len(data) > SIZE_BYTES:
            self._begin_anew()
        os.pwrite(self._file, data, self._at)
        os.fdatasync(self._file)
        self._at += len(data) - len(STOP)

    def _begin_anew(self) -> None:
        if _libc.syncfs(self._file) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        os.pwrite(self._file, STOP, 0)
        self._at = 0


def read_ends(path: Path) -> Iterator[End]:
    """What the journal vouches for, oldest first; a torn line at its end was told to nobody."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    for line in data.partition(STOP)[0].splitlines():
        try:
            key, end = json.loads(line)
        except ValueError:
            return
        yield str(key), end
