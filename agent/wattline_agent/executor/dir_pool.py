"""Pool of empty directories of ended attempts, for reuse.

Renaming a directory costs ext4 a fifth of creating one, and a file system on which many are created
and removed is slowest of all: it skips every inode that was freed a moment ago.
"""

import os
from contextlib import suppress

MAX_SPARES = 256
"""More are not needed at once on one node; the rest is left in place."""
PRIVATE = 0o700


class DirPool:
    """Directory pool of one agent, on one file system."""

    def __init__(self) -> None:
        self._paths: list[str] = []

    def offer(self, path: str) -> None:
        """Add an unused directory to the pool, if it is as good as new."""
        with suppress(OSError):
            found = os.stat(path)  # noqa: PTH116 - a hot path
            is_private = found.st_mode & 0o7777 == PRIVATE and found.st_uid == os.geteuid()
            if is_private and len(self._paths) < MAX_SPARES and _is_empty(path):
                self._paths.append(path)

    def make(self, path: str) -> None:
        """Provide a private directory, unless it exists. Raises OSError."""
        with suppress(FileNotFoundError):  # names only: it may be an account's (see `here`)
            os.close(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            return
        while self._paths:
            try:
                os.rename(self._paths.pop(), path)  # noqa: PTH104
            except OSError:  # it was pruned meanwhile
                continue
            return
        os.makedirs(path, PRIVATE, exist_ok=True)  # noqa: PTH103


def _is_empty(path: str) -> bool:
    """By its first entry: a task may leave a million. Raises OSError."""
    with os.scandir(path) as entries:
        return next(entries, None) is None
