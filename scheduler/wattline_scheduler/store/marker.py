"""Marker beside the store: how far the store had come.

Theory. A store that lost its newest commits looks like one that never had them: SQLite drops the
end of a truncated or damaged write-ahead log, and creates a missing database. So each commit raises
a number in the database and, once it is durable, in the marker: the marker is ahead of the store
only if the store has lost something.

Most commits raise one anyway: that of the newest event, which a start finds without a search, and
which retention never deletes. Only a quiet commit, one without an event, is counted in `meta`: a
count in each commit would add a page to the log, a seventh of the cost of a submission.

The marker is written after each commit, so it is exact when the scheduler is killed. It is flushed
to disk at each start and stop and once a second by the loop: by so much it may lag when the power
fails. It is mapped into memory, as SQLite's index of the log is, and each number stands in it three
times: two agree whenever a write is interrupted. Right after an fsync the caches of the processor
are cold, and a system call or a checksum would take several times as long as these few words.
"""

import sqlite3
from collections.abc import Sequence
from mmap import mmap
from pathlib import Path
from struct import Struct

import msgspec

from wattline_scheduler.store.durable import replace_whole
from wattline_scheduler.store.errors import StoreIncomplete, StoreUnwritable

MARKER_NAME = "wattline.marker"

COPIES = 3
"""Of each number in the marker; two of them agree."""

_WORDS = Struct("=8s9Q")
"""The marker: its name, then the copies of each number. A disk writes them at once."""

_NAME = b"WATTMARK"


class Mark(msgspec.Struct, frozen=True):
    """State of a store. None of the numbers ever decreases, and each commit raises one."""

    epoch: int
    """Of its newest run."""
    quiet_commits: int
    """Without an event, of all runs."""
    event: int
    """Number of the newest event."""

    def after(self, newest_event: int) -> "Mark":
        """The mark after one more commit, whose newest event has this number; 0 = it has none."""
        if newest_event > self.event:
            return Mark(self.epoch, self.quiet_commits, newest_event)
        return Mark(self.epoch, self.quiet_commits + 1, self.event)

    def is_behind(self, other: "Mark") -> bool:
        """Whether a commit that `other` includes is missing."""
        return (
            self.epoch < other.epoch
            or self.quiet_commits < other.quiet_commits
            or self.event < other.event
        )

    def __str__(self) -> str:
        return f"event {self.event:,} and quiet commit {self.quiet_commits:,} of epoch {self.epoch}"


NO_MARK = Mark(0, 0, 0)
"""That of a store without a commit."""


def read_mark(path: Path) -> Mark | None:
    """Read a marker; None if it does not exist. Raises StoreIncomplete, StoreUnwritable."""
    try:
        with path.open("rb") as file:
            data = file.read(_WORDS.size + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreUnwritable(f"cannot read {path}: {error.strerror}.") from error
    mark = _mark_in(data)
    if mark is None:
        raise StoreIncomplete(
            f"{path} is damaged, so it is unknown whether the store beside it is whole. Put a "
            "backup in the store's place, or keep the store, and start once with "
            "`wattline scheduler --recover`."
        )
    return mark


def _mark_in(data: bytes) -> Mark | None:
    """None = it is damaged."""
    if len(data) != _WORDS.size or not data.startswith(_NAME):
        return None
    _, *words = _WORDS.unpack(data)
    epoch, quiet_commits, event = (_agreed(words[at : at + COPIES]) for at in (0, 3, 6))
    if epoch is None or quiet_commits is None or event is None:
        return None
    return Mark(epoch, quiet_commits, event)


def _agreed(copies: Sequence[int]) -> int | None:
    low, middle, high = sorted(copies)
    return middle if middle in (low, high) else None


def _image(mark: Mark) -> bytes:
    numbers = (mark.epoch, mark.quiet_commits, mark.event)
    return _WORDS.pack(_NAME, *(number for number in numbers for _ in range(COPIES)))


class Marker:
    """The marker file, mapped for one run. Raises StoreUnwritable."""

    def __init__(self, path: Path, mark: Mark, *, is_new: bool) -> None:
        """`mark`: what the file shall hold if it is new; else it holds that already."""
        self._path = path
        self._is_settled = True
        try:
            if is_new:
                replace_whole(path, _image(mark))
            with path.open("r+b") as file:
                self._map = mmap(file.fileno(), _WORDS.size)
        except OSError as error:
            raise self._unwritable(error) from error
        self._words = memoryview(self._map).cast("Q")

    def write(self, mark: Mark) -> None:
        """Write the mark: survives a killed scheduler at once, a loss of power once settled."""
        words = self._words
        words[1] = words[2] = words[3] = mark.epoch
        words[4] = words[5] = words[6] = mark.quiet_commits
        words[7] = words[8] = words[9] = mark.event
        self._is_settled = False

    def settle(self) -> None:
        """Flush the marker to disk."""
        if self._is_settled:
            return
        try:
            self._map.flush()
        except OSError as error:
            raise self._unwritable(error) from error
        self._is_settled = True

    def close(self) -> None:
        """Flush and close the file."""
        self.settle()
        self._words.release()
        self._map.close()

    def _unwritable(self, error: OSError) -> StoreUnwritable:
        return StoreUnwritable(
            f"cannot write {self._path}: {error.strerror}. It must be writable by the scheduler's "
            "user, and its file system needs room for it."
        )


_HELD = (
    "SELECT epoch, quiet_commits, max(event_floor, coalesce((SELECT max(seq) FROM events), 0))"
    " FROM meta"
)


def mark_of(connection: sqlite3.Connection) -> Mark:
    """The mark recorded in a database."""
    return Mark(*connection.execute(_HELD).fetchone())


def check_files(database: Path, mark: Mark | None) -> None:
    """Refuse to create a store where one existed. Raises StoreIncomplete."""
    if database.exists() and database.stat().st_size > 0:
        return
    log = database.with_name(database.name + "-wal")
    has_log = log.exists() and log.stat().st_size > 0
    if mark is not None and mark != NO_MARK:
        found = f"{database.with_name(MARKER_NAME)} records that it held {mark}"
    elif has_log:
        found = f"its write-ahead log {log.name} is there"
    else:
        return
    raise StoreIncomplete(
        f"{database} is missing or empty, but {found}. Put a backup in its place, or leave the "
        "place empty to begin with nothing on record; either way start once with "
        "`wattline scheduler --recover`."
    )


def check_commits(database: Path, has: Mark, mark: Mark | None) -> None:
    """Refuse a store that lacks commits recorded by the marker. Raises StoreIncomplete."""
    marker = database.with_name(MARKER_NAME)
    if mark is None:
        if has != NO_MARK:
            raise StoreIncomplete(
                f"{marker} is missing, so it is unknown whether {database} is whole. Put back the "
                "one that belongs to it, or a backup in the store's place; else start once with "
                "`wattline scheduler --recover`."
            )
        return
    if has.is_behind(mark):
        raise StoreIncomplete(
            f"{database} ends with {has}, but {marker} records that {mark} was acknowledged: the "
            "end of its write-ahead log is lost, or an older copy is in its place. Put back what "
            "is missing, or a backup in its place; to continue with what is there, start once with "
            "`wattline scheduler --recover`."
        )
