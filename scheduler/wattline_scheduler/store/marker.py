"""Marker beside the store: the epoch and the number of commits that the store had reached.

Theory. A store that lost its newest commits looks like one that never had them: SQLite drops the
end of a truncated or damaged write-ahead log, and creates a missing database. So each commit is
counted in the database and, once it is durable, in the marker: the marker is ahead of the store
only if the store has lost something.

The marker is written after each commit, so it is exact when the scheduler is killed. It is flushed
to disk at each start and stop and at most `SETTLED_EVERY_S` after a commit: by so much it may lag
when the power fails.
"""

import os
import re
import sqlite3
import time
from pathlib import Path
from zlib import crc32

import msgspec

from wattline_scheduler.store.durable import sync
from wattline_scheduler.store.errors import StoreIncomplete, StoreUnwritable

MARKER_NAME = "wattline.marker"

SETTLED_EVERY_S = 1.0
"""How far the marker on disk may lag behind the store; costs one fsync a second."""

MAX_READ_BYTES = 4_096
"""Larger than any marker; a larger or endless file is damaged."""

_LINE = "wattline store: epoch {:020d}, commits {:020d}, check {:08x}\n"
_READ = re.compile(rb"wattline store: epoch (\d{20}), commits (\d{20}), check ([0-9a-f]{8})\n")


class Mark(msgspec.Struct, frozen=True, order=True):
    """State of a store: the epoch of its newest run, and its number of commits."""

    epoch: int
    commits: int


def read_mark(path: Path) -> Mark | None:
    """Read a marker; None if it does not exist. Raises StoreIncomplete, StoreUnwritable."""
    try:
        with path.open("rb") as file:
            match = _READ.fullmatch(file.read(MAX_READ_BYTES))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreUnwritable(f"cannot read {path}: {error.strerror}.") from error
    mark = None if match is None else Mark(int(match[1]), int(match[2]))
    if match is None or mark is None or _line(mark) != match[0]:
        raise StoreIncomplete(
            f"{path} is damaged, so nothing says whether the store beside it is whole. Put a "
            "backup in the store's place, or keep the store, and start once with "
            "`wattline scheduler --recover`."
        )
    return mark


def _line(mark: Mark) -> bytes:
    check = crc32(b"%d %d" % (mark.epoch, mark.commits))
    return _LINE.format(mark.epoch, mark.commits, check).encode()


class Marker:
    """The marker file, open for one run. Raises StoreUnwritable."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_settled = True
        self._settled_at_s = time.monotonic()
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            sync(path.parent)
        except OSError as error:
            raise self._unwritable(error) from error

    def write(self, mark: Mark) -> None:
        """Write the mark: survives a killed scheduler at once, a loss of power after a second."""
        try:
            os.pwrite(self._fd, _line(mark), 0)
        except OSError as error:
            raise self._unwritable(error) from error
        self._is_settled = False
        if time.monotonic() - self._settled_at_s >= SETTLED_EVERY_S:
            self.settle()

    def settle(self) -> None:
        """Flush the marker to disk."""
        if self._is_settled:
            return
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise self._unwritable(error) from error
        self._is_settled, self._settled_at_s = True, time.monotonic()

    def close(self) -> None:
        """Flush and close the file."""
        self.settle()
        os.close(self._fd)

    def _unwritable(self, error: OSError) -> StoreUnwritable:
        return StoreUnwritable(
            f"cannot write {self._path}: {error.strerror}. It must be writable by the scheduler's "
            "user, and its file system needs room for it."
        )


def held(connection: sqlite3.Connection) -> Mark:
    """The mark recorded in a database."""
    return Mark(*connection.execute("SELECT epoch, commits FROM meta").fetchone())


def check_files(database: Path, mark: Mark | None) -> None:
    """Refuse to create a store where one existed. Raises StoreIncomplete."""
    if database.exists() and database.stat().st_size > 0:
        return
    log = database.with_name(database.name + "-wal")
    has_log = log.exists() and log.stat().st_size > 0
    if mark is not None and mark.commits > 0:
        found = f"{database.with_name(MARKER_NAME)} says that it held {_text(mark)}"
    elif has_log:
        found = f"its write-ahead log {log.name} is there"
    else:
        return
    raise StoreIncomplete(
        f"{database} is gone or empty, but {found}. Put a backup in its place, or leave the place "
        f"empty to begin with nothing on record; either way start once with "
        "`wattline scheduler --recover`."
    )


def check_commits(database: Path, has: Mark, mark: Mark | None) -> None:
    """Refuse a store that lacks commits recorded by the marker. Raises StoreIncomplete."""
    marker = database.with_name(MARKER_NAME)
    if mark is None:
        if has.commits > 0:
            raise StoreIncomplete(
                f"{marker} is missing, so nothing says whether {database} is whole. Put back the "
                "one that belongs to it, or a backup in the store's place; else start once with "
                "`wattline scheduler --recover`."
            )
        return
    if has.epoch < mark.epoch or has.commits < mark.commits:
        raise StoreIncomplete(
            f"{database} holds {_text(has)}, but {marker} says that {_text(mark)} were "
            "acknowledged: the end of its write-ahead log is lost, or an older copy is in its "
            "place. Put back what is missing, or a backup in its place; to continue with what is "
            "there, start once with `wattline scheduler --recover`."
        )


def _text(mark: Mark) -> str:
    return f"{mark.commits:,} commits up to epoch {mark.epoch}"
