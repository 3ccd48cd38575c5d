"""The store: group commit of records under the epoch of this run.

Theory. Opening takes the directory's lock and durably raises the epoch before anything else (I8).
Every later transaction first checks that the epoch row is still this run's: a second scheduler that
got past the lock (a copied directory, a network file system without locks) fences the first one
off. A commit returns only when its records are on disk (WAL, `synchronous=FULL`: one fsync), so the
shell commits the saves of many events at once.

Each commit advances the mark of the database and then the `marker` beside it, and each row carries
a digest (`digests`): loss or damage is detected before a run begins.
"""

import os
import secrets
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from sqlite_utils import Database

from wattline_protocol.ids import Epoch, JobId, TaskRef, UserName
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.views.site_views import EventView, JobState
from wattline_scheduler.core.model.events import DiskMeasured
from wattline_scheduler.core.model.usage.usage_ledger import Key
from wattline_scheduler.recorded_run import RecordedRun
from wattline_scheduler.records import EventRecord, JobRecord, Saved
from wattline_scheduler.service_rollup import ServiceHour, ServiceRollup
from wattline_scheduler.store.errors import (
    StoreFenced,
    StoreIncomplete,
    StoreIsBackup,
    StoreUnwritable,
    damage,
    store_error,
)
from wattline_scheduler.store.file import copy_database, make_directory, open_database
from wattline_scheduler.store.in_place import FilesInPlace
from wattline_scheduler.store.load import JobFile, load_events, load_job, load_saved, outcomes
from wattline_scheduler.store.lock import DirectoryLock
from wattline_scheduler.store.marker import (
    MARKER_NAME,
    NO_MARK,
    Mark,
    Marker,
    check_commits,
    check_files,
    mark_of,
    read_mark,
)
from wattline_scheduler.store.retention import tidying
from wattline_scheduler.store.rollups import load_service_history
from wattline_scheduler.store.runs_retention import drop_runs, load_run
from wattline_scheduler.store.tables import ACTS, Storable
from wattline_scheduler.store.verify import DB_NAME, Snapshot, Verification
from wattline_scheduler.store.webhook_marks import load_marks
from wattline_scheduler.store.writer import Writer

NUMBERS_PER_S = 10_000
"""Upper bound on job and event numbers assigned per second, from one recovery to the next."""

RECOVERY_NUMBER_GAP = 1_000_000
"""Job and event numbers skipped by a recovery with an unreliable clock: the lost tail may have
assigned some (I7)."""

RUNS_KEPT_BYTES = 256 * 1024 * 1024
RUNS_KEPT_BYTES_OF_ONE = 64 * 1024 * 1024
RUNS_UNCHECKED_BYTES = 16 * 1024 * 1024
"""Records of runs on disk, in total and of one owner: some ten thousand of a usual size. Beyond it
the oldest are deleted, each time that so many bytes were added: jobs may add many in an hour."""

NO_EARLIER_UNIX_S = 1_700_000_000
"""Earliest plausible time: a clock that shows less is wrong."""

T = TypeVar("T")


def _number_floor(newest: int, epoch: int) -> int:
    """First numbers after a recovery: derived from its epoch, in wall-clock seconds, so that the
    next recovery begins above all of this one; if the clock is wrong, well above the newest known.
    """
    by_clock = (epoch - NO_EARLIER_UNIX_S) * NUMBERS_PER_S
    return by_clock if newest < by_clock else newest + RECOVERY_NUMBER_GAP


class Store:
    """An open store, for exactly one run of the scheduler; used from one thread."""

    _writer_type: type[Writer] = Writer

    def __init__(self, path: Path, lock: DirectoryLock | None, db: Database) -> None:
        self.path = path
        self._lock = lock
        self._db = db
        self._connection: sqlite3.Connection = db.conn
        self._writer: Writer
        self._owner: tuple[int, str] = (0, "")
        self._held = self._seen = NO_MARK
        """Mark of the database, and the marker of earlier runs."""
        self._marker: Marker | None = None
        self._files: FilesInPlace | None = None
        self._unchecked_bytes = 0
        """Of records of runs, since the oldest were last deleted."""
        self._tidying: Iterator[None] | None = None
        """The parts that are left."""
        self._specs: dict[JobId, JobSpec] = {}
        """Specifications that this run has written, of jobs that have not ended."""

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        now_unix_s: float,
        recover: bool = False,
        lasting: Collection[Key] = (),
        verification: Verification | None = None,
        meanwhile: Callable[[Saved], None] = lambda _: None,
    ) -> tuple["Store", Saved]:
        """Lock, verify and load the store of a state directory; created if missing.

        `recover` (I8) is for a restored backup: the epoch is raised above everything that any agent
        can have seen, every node counts in full until its next Hello, and numbers that the lost
        tail may have assigned are skipped. `lasting`: see `load_saved`. `verification`: one in
        progress, which ends here. `meanwhile` is called with the loaded state before waiting for
        its verdict. Raises StoreError, and errors of `meanwhile` if the store is undamaged.
        """
        make_directory(directory)
        path = directory / DB_NAME
        with closing(verification or Verification(path)) as verifying:
            lock = DirectoryLock(directory)
            try:
                mark = _mark_beside(path, recover)
                store = cls(path, lock, open_database(path, verifying))
            except BaseException:
                lock.release()
                raise
            try:
                saved = store._begin(now_unix_s, recover, lasting, mark, verifying, meanwhile)
            except BaseException:
                store.close()
                raise
            return store, saved

    def _begin(
        self,
        now_unix_s: float,
        recover: bool,
        lasting: Collection[Key],
        mark: Mark | None,
        verification: Verification,
        meanwhile: Callable[[Saved], None],
    ) -> Saved:
        """Begin the run if marker and verification permit it. Raises StoreError."""
        found: Snapshot | None = None

        def verified() -> None:
            verification.conclude(found)

        def loaded(saved: Saved) -> None:
            meanwhile(saved)
            verified()

        try:
            found = Snapshot.of(self._connection)
            if recover:
                verified()  # a damaged store gets no new marker
            self._begin_marker(mark, recover)
            return self._begin_run(now_unix_s, recover, secrets.token_hex(8), lasting, loaded)
        except Exception as error:
            verified()  # damage may cause any error: report the damage instead
            if isinstance(error, sqlite3.Error):
                raise store_error(self.path, "loading", error) from error
            raise

    @classmethod
    def over(
        cls,
        connection: sqlite3.Connection,
        *,
        now_unix_s: float,
        instance: str,
        recover: bool = False,
        lasting: Collection[Key] = (),
    ) -> tuple["Store", Saved]:
        """Begin a run over an open database, for example in memory: no directory, no lock, only
        the epoch fence. `instance` names the run. Raises StoreError.
        """
        store = cls(Path(":memory:"), None, Database(connection))
        return store, store._begin_run(now_unix_s, recover, instance, lasting)

    def _begin_marker(self, mark: Mark | None, recover: bool) -> None:
        """Open the marker before the first commit that it counts. Raises StoreError."""
        if not recover:
            self._refuse_backup()
            check_commits(self.path, mark_of(self._connection), mark)
        self._seen = mark or mark_of(self._connection)
        path = self.path.with_name(MARKER_NAME)
        self._marker = Marker(path, self._seen, is_new=mark is None)

    def _begin_run(
        self,
        now_unix_s: float,
        recover: bool,
        instance: str,
        lasting: Collection[Key] = (),
        loaded: Callable[[Saved], None] = lambda _: None,
    ) -> Saved:
        """Begin the run; `loaded` is called last, before the raised epoch is committed."""

        def begin() -> Saved:
            self._writer = self._writer_type(self._connection)
            has = mark_of(self._connection)
            epoch = max(has.epoch, self._seen.epoch) + 1
            if not recover:
                self._refuse_backup()
            else:
                # Epochs grow by one per start, so wall-clock seconds exceed any epoch seen.
                epoch = max(epoch, int(now_unix_s))
                self._recover(epoch)
            self._owner = (epoch, instance)
            quiet_commits = max(has.quiet_commits, self._seen.quiet_commits) + 1
            self._connection.execute(
                "UPDATE meta SET epoch = ?, instance = ?, quiet_commits = ?",
                (*self._owner, quiet_commits),
            )
            self._held = mark_of(self._connection)
            self._tidy(now_unix_s)
            self._writer.disarm()
            saved = load_saved(self._connection, Epoch(epoch), instance, lasting)
            loaded(saved)
            return saved

        try:
            saved = self._transaction("loading", begin)
        except msgspec.DecodeError as error:
            raise damage(self.path, f"a record cannot be read: {error}") from error
        if self._marker is not None:
            self._marker.write(self._held)
            self._marker.settle()
            self._files = FilesInPlace(_files_of(self.path))
        return saved

    def _refuse_backup(self) -> None:
        if self._connection.execute("SELECT is_backup FROM meta").fetchone()[0]:
            raise StoreIsBackup(
                f"{self.path} is a backup: agents may have seen later decisions. Start once with "
                "`wattline scheduler --recover`; every node then counts in full until it is heard."
            )

    def _recover(self, epoch: int) -> None:
        """Set the number floors by the epoch: a backup restored twice must not assign the same
        numbers twice, and the epochs of recoveries are seconds that never recur.
        """
        self._connection.execute("UPDATE books SET standing = 'full'")
        # A node that was off may have been switched on in the lost tail.
        self._connection.execute("UPDATE nodes SET is_off = 0, off_reason = ''")
        (job,) = self._connection.execute(
            "SELECT max(job_floor, coalesce((SELECT max(id) FROM jobs), 0)) FROM meta"
        ).fetchone()
        event = max(mark_of(self._connection).event, self._seen.event)
        job_floor, event_floor = (_number_floor(newest, epoch) for newest in (job, event))
        self._connection.execute(
            "UPDATE meta SET is_backup = 0, is_recovering = 1, attempt_floor = ?,"
            " job_floor = ?, event_floor = ?",
            (epoch, job_floor, event_floor),
        )

    def commit(self, records: Sequence[Storable]) -> None:
        """Write all records to disk in one transaction. Raises StoreFenced, StoreError.

        After an error none of `records` is on disk and the run must end: the state in memory is
        ahead of the disk.
        """
        groups: dict[type, list[Any]] = {}
        for record in records:
            groups.setdefault(type(record), []).append(record)
        newest_event = max((event.seq for event in groups.get(EventRecord, ())), default=0)
        self._unchecked_bytes += sum(run.size_bytes for run in groups.get(RecordedRun, ()))

        def write() -> None:
            self._writer.write(groups, self._specs)
            if self._unchecked_bytes > RUNS_UNCHECKED_BYTES:
                self._drop_runs()

        self._advance("writing", newest_event, write)
        for job in groups.get(JobRecord, ()):
            if job.ended_unix_s is None:
                self._specs[job.id] = job.spec
            else:
                self._specs.pop(job.id, None)

    def tidy(self, now_unix_s: float) -> bool:
        """Fold old history, and delete a part of what is too old. Call about once an hour, and
        again soon where this returns True: there is more. Raises StoreError.
        """

        def tidy() -> None:
            self._writer.rearm()
            self._tidy(now_unix_s)
            self._writer.disarm()

        self._advance("tidying", 0, tidy)
        return self._tidying is not None

    def _tidy(self, now_unix_s: float) -> None:
        parts = self._tidying or tidying(self._connection, now_unix_s)
        self._tidying = None if next(parts, True) else parts
        self._drop_runs()

    def _drop_runs(self) -> None:
        drop_runs(self._connection, RUNS_KEPT_BYTES_OF_ONE, RUNS_KEPT_BYTES)
        self._unchecked_bytes = 0

    def _advance(self, doing: str, newest_event: int, body: Callable[[], None]) -> None:
        """Commit what `body` writes, if this run still owns the store. Raises StoreError."""
        before, after = self._held, self._held.after(newest_event)

        def write() -> None:
            self._check_owner()
            if after.quiet_commits > before.quiet_commits:
                self._writer.count(after.quiet_commits)
            body()

        self._transaction(doing, write)
        self._held = after
        if self._marker is not None:
            self._marker.write(after)

    def _transaction(self, doing: str, body: Callable[[], T]) -> T:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            result = body()
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise store_error(self.path, doing, error) from error
        except BaseException:
            self._roll_back()
            raise
        return result

    def settle(self) -> None:
        """Flush the marker to disk, and check that no file was deleted. Call about once a second.
        Raises StoreError."""
        if self._marker is not None:
            self._marker.settle()
        if self._files is not None:
            self._files.check()

    def room(self) -> DiskMeasured:
        """Space on the store's file system. Raises StoreError."""
        try:
            found = os.statvfs(self.path.parent)
        except OSError as error:
            raise StoreUnwritable(
                f"cannot look at {self.path.parent}: {error.strerror}."
            ) from error
        return DiskMeasured(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.rollback()

    def _check_owner(self) -> None:
        """Raises StoreFenced if another run owns the store."""
        if not self._writer.is_of(self._owner):
            epoch = self._connection.execute("SELECT epoch FROM meta").fetchone()[0]
            raise StoreFenced(
                f"{self.path} now belongs to epoch {epoch} of another scheduler; this one had "
                f"epoch {self._owner[0]} and has stopped. Run one scheduler per site."
            )

    def job(self, job: JobId) -> JobFile | None:
        """A recorded job with its gangs and attempts. Raises StoreError."""
        return self._read(lambda: load_job(self._connection, job))

    def run(self, ref: TaskRef) -> RecordedRun | None:
        """The record of an attempt's run. Raises StoreError."""
        return self._read(lambda: load_run(self._connection, ref))

    def outcomes(self, jobs: Iterable[JobId]) -> dict[JobId, JobState]:
        """Final states of those of the jobs that are recorded as ended. Raises StoreError."""
        return self._read(lambda: outcomes(self._connection, jobs))

    def service_history(
        self, service: str, owner: UserName
    ) -> tuple[tuple[ServiceHour, ...], tuple[ServiceRollup, ...]]:
        """Hours and newest minutes of a service. Raises StoreError."""
        return self._read(lambda: load_service_history(self._connection, service, owner))

    def events(self, after: int, limit: int) -> tuple[EventView, ...]:
        """Events with seq > `after`, oldest first; if `after` is negative, that many of the newest.
        Raises StoreError."""
        return self._read(lambda: load_events(self._connection, after, limit))

    def acts(self, after: int, limit: int) -> tuple[EventView, ...]:
        """As `events`, for acts and refused acts of members. Raises StoreError."""
        return self._read(lambda: load_events(self._connection, after, limit, ACTS))

    def webhook_marks(self) -> dict[str, int]:
        """By URL, the newest event settled for its webhook."""
        return self._read(lambda: load_marks(self._connection))

    def _read(self, body: Callable[[], T]) -> T:
        try:
            return body()
        except sqlite3.Error as error:
            raise store_error(self.path, "reading", error) from error

    def backup(self, target: Path) -> None:
        """Copy the database while it is in use. The copy starts only with `--recover`.

        Raises StoreError, OSError.
        """
        copy_database(self.path, target)

    def close(self) -> None:
        """Close the database and release the directory."""
        self._connection.close()
        if self._marker is not None:
            self._marker.close()
        if self._lock is not None:
            self._lock.release()


def _files_of(database: Path) -> tuple[Path, ...]:
    """Those that hold what is acknowledged, and whether it is whole."""
    log = database.with_name(f"{database.name}-wal")
    return database, log, database.with_name(MARKER_NAME)


def _mark_beside(database: Path, recover: bool) -> Mark | None:
    """The marker of earlier runs; a recovery accepts a missing or damaged one."""
    try:
        mark = read_mark(database.with_name(MARKER_NAME))
    except StoreIncomplete:
        if not recover:
            raise
        return None
    if not recover:
        check_files(database, mark)
    return mark
