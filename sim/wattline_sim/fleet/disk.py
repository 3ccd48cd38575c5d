"""The scheduler's disk: the production store over a database in memory that survives crashes.

What is committed is kept a second time, as the records that were handed in, so that every restart
also proves that the store gives back what it was given. Faults: the disk is full (SQLite's own
page limit makes the commit fail), and an old backup is put in its place.
"""

import functools
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec

from wattline_protocol.ids import NodeId
from wattline_scheduler.records import (
    ActRecord,
    BookRecord,
    EventRecord,
    JobRecord,
    LimitRecord,
    Record,
    RecoveryRecord,
    ReservationRecord,
    Saved,
)
from wattline_scheduler.store.errors import StoreError
from wattline_scheduler.store.file import empty_image, mark_backup
from wattline_scheduler.store.store import Store
from wattline_sim.fleet.world import START_UNIX_S

UNLIMITED_PAGES = 1 << 30

Key = tuple[str, tuple[object, ...]]
R = TypeVar("R")


class StoreLied(AssertionError):
    """A restart found something else on disk than what was committed."""


@functools.cache
def empty_database() -> bytes:
    """Made once: creating the tables takes longer than many commits."""
    return empty_image()


class Disk:
    """One scheduler's disk; `open` is a start, `commit` is what it does from then on."""

    def __init__(self) -> None:
        self.records: dict[Key, Record] = {}
        self.books: dict[NodeId, BookRecord] = {}
        """The books as a restart would find them."""
        self.on_booked: Callable[[Mapping[NodeId, BookRecord], list[BookRecord]], None] = (
            lambda *_: None
        )
        """Told of every transaction: the books before it, and the entries that it wrote."""
        self.on_job: Callable[[JobRecord], None] = lambda _: None
        """Told of every job record, as it is committed or found at a start."""
        self.on_commit: Callable[[Mapping[Key, Record], Sequence[Record]], None] = lambda *_: None
        """Told of every transaction: what was on record before it, and what it wrote."""
        self.on_found: Callable[[Iterable[Record]], None] = lambda _: None
        """Told of everything that a start finds."""
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        self._connection.deserialize(empty_database())
        self.store: Store | None = None
        """Of the newest run."""

    def open(self, unix_s: float, instance: str, *, recover: bool = False) -> Saved:
        """A new run of the scheduler: raise the epoch, load everything. Raises StoreError."""
        self.store, saved = Store.over(
            self._connection, now_unix_s=unix_s, recover=recover, instance=instance
        )
        if not recover:
            self._compare(saved)
        self._replace(saved)
        return saved

    def begin_with(self, records: Sequence[Record]) -> None:
        """What an earlier run left."""
        if records:
            self.open(START_UNIX_S, "earlier")
            self.commit(records)

    def commit(self, records: Sequence[Record]) -> None:
        """All or nothing. Raises StoreError."""
        if self.store is None:
            raise StoreError("no scheduler has opened this disk")
        if records:
            self.store.commit(records)
            self.on_booked(self.books, [r for r in records if isinstance(r, BookRecord)])
            self.on_commit(self.records, records)
            self._remember(records)

    def every(self, kind: type[R]) -> tuple[R, ...]:
        """All records of a kind."""
        return tuple(r for r in self.records.values() if isinstance(r, kind))

    def fill(self) -> None:
        """No more room: whatever needs another page fails."""
        pages = self._connection.execute("PRAGMA page_count").fetchone()[0]
        self._connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()

    def free(self) -> None:
        """Room again."""
        self._connection.execute(f"PRAGMA max_page_count = {UNLIMITED_PAGES}").fetchall()

    def backup(self) -> bytes:
        """A copy as the store makes them: it starts only with `--recover`."""
        copy = sqlite3.connect(":memory:", isolation_level=None)
        copy.deserialize(self._connection.serialize())
        mark_backup(copy)
        return copy.serialize()

    def put_back(self, backup: bytes) -> None:
        """An old copy in place of what was there; to be opened with `recover`."""
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        self._connection.deserialize(backup)
        self.store = None

    def _remember(self, records: Iterable[Record]) -> None:
        for record in records:
            self.records[key_of(record)] = record
            if isinstance(record, BookRecord):
                self.books[record.node] = record
            elif isinstance(record, JobRecord):
                self.on_job(record)

    def _replace(self, saved: Saved) -> None:
        self.records.clear()
        self.books.clear()
        self._remember(_all(saved))
        self.on_found(self.records.values())

    def _compare(self, saved: Saved) -> None:
        """Whatever a restart needs must come back as it was."""
        loaded = {key_of(record): record for record in _all(saved)}
        for key, record in self.records.items():
            if _is_needed(record) and loaded.get(key) != record:
                raise StoreLied(f"committed {record}, found {loaded.get(key)}")


def _is_needed(record: Record) -> bool:
    """Events and acts, and limits and reservations that are over, are only for people to read; the
    end of a recovery is no row but a mark.
    """
    is_over = isinstance(record, LimitRecord | ReservationRecord) and record.phase == "over"
    return not isinstance(record, ActRecord | EventRecord | RecoveryRecord) and not is_over


def key_of(record: Record) -> Key:
    """Under which it is kept."""
    return type(record).__name__, tuple(getattr(record, name) for name in record.key)


def _all(saved: Saved) -> Iterator[Record]:
    for value in msgspec.structs.astuple(saved):
        if isinstance(value, tuple):
            yield from value
