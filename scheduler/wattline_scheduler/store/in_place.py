"""Whether the files that a run has open are still those of its state directory.

SQLite goes on writing to a file that was deleted, without an error.
"""

from collections.abc import Iterable
from pathlib import Path

from wattline_scheduler.store.errors import StoreReplaced

Identity = tuple[int, int]
"""Device and inode."""


class FilesInPlace:
    """The files of a run as they were when it began. They keep their inodes while it runs."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._files = {path: _identity(path) for path in paths}

    def check(self) -> None:
        """Raises StoreReplaced naming the first file that is another one or gone."""
        for path, identity in self._files.items():
            if _identity(path) != identity:
                raise StoreReplaced(
                    f"{path} was deleted, moved or replaced while this scheduler had it open, so "
                    "what it acknowledges would be lost. Put back all files of the state directory "
                    "together; or put a backup in the place of the database and start once with "
                    "`wattline scheduler --recover`."
                )


def _identity(path: Path) -> Identity | None:
    """None = it cannot be found."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
