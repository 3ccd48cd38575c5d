"""How many records a second the store takes, one by one and in batches.

Budgets (DESIGN 10): ≥ 300 durable single commits/s, ≥ 2,000 rows/s in batches. Beside it stands
what the same disk gives a bare SQLite insert with one fsync each.

What makes loss and damage detectable, digests and the marker, may add 5 % to the time that a commit
takes, and 10 % to the processor time of a single one. The same records go to a store with them and
to one without, in turn, commit by commit, so what else the machine does meets both alike; the
figures are medians. Time on the disk is that of the store without: an fsync of one file takes up to
twice as long as that of another, whatever is in them.
"""

import sqlite3
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from wattline_bench.rig import history
from wattline_bench.verdict import Figures, judged, over, under
from wattline_scheduler.store.marker import Mark
from wattline_scheduler.store.store import Store
from wattline_scheduler.store.tables import RECORDS, Storable
from wattline_scheduler.store.writer import Writer

SINGLE_PER_S_MIN = 300.0
BATCH_ROWS_PER_S_MIN = 2_000.0
INTEGRITY_SHARE_MAX = 0.05
INTEGRITY_CPU_SHARE_MAX = 0.10
BATCH = 100


class Commits(Figures, frozen=True):
    """Durable on this file system."""

    single_commits_per_s: float
    batch_rows_per_s: float
    bare_sqlite_commits_per_s: float
    integrity_share: float
    """Processor time that digests and marker add, of the wall time of a single commit."""
    integrity_cpu_share: float
    """The same, of its processor time."""
    batch_integrity_share: float
    batch_integrity_cpu_share: float
    """Those of a batch: a digest for each row, one fsync for all."""

    def misses(self) -> tuple[str, ...]:
        """Of both ways to commit."""
        return (
            *under("single commits/s", self.single_commits_per_s, SINGLE_PER_S_MIN),
            *under("rows/s in batches", self.batch_rows_per_s, BATCH_ROWS_PER_S_MIN),
            *over("integrity_share", self.integrity_share, INTEGRITY_SHARE_MAX),
            *over("integrity_cpu_share", self.integrity_cpu_share, INTEGRITY_CPU_SHARE_MAX),
            *over("batch_integrity_share", self.batch_integrity_share, INTEGRITY_SHARE_MAX),
        )


_PLAIN = {table.type: (table.upsert(), table.row) for table in RECORDS}


class PlainWriter(Writer):
    """Writes rows without their digests."""

    def _upsert(self, kind: type, group: Iterable[object]) -> None:
        statement, row = _PLAIN[kind]
        self._connection.executemany(statement, list(map(row, group)))


class PlainStore(Store):
    """A new store without digests and marker, for comparison."""

    _writer_type = PlainWriter

    def _begin_marker(self, mark: Mark | None, recover: bool) -> None:
        """Has none."""


def _single_commits_per_s(store: Store, count: int) -> float:
    """One submission each: a job, its gang and its event, then an fsync."""
    began_s = time.perf_counter()
    for number in range(1, count + 1):
        store.commit(history.submission(number))
    return count / (time.perf_counter() - began_s)


def _batch_rows_per_s(store: Store, count: int, batch: int) -> float:
    """Submissions that arrive together: `batch` jobs in each commit, three rows a job."""
    began_s = time.perf_counter()
    for first in range(count, 2 * count, batch):
        store.commit([row for n in range(first, first + batch) for row in history.submission(n)])
    return 3 * count / (time.perf_counter() - began_s)


class Cost(NamedTuple):
    """Of one commit."""

    wall_s: float
    cpu_s: float


def _cost(store: Store, records: Sequence[Storable]) -> Cost:
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    store.commit(records)
    return Cost(time.perf_counter() - wall_s, time.process_time() - cpu_s)


def _integrity_shares(directory: Path, commits: int, batch: int) -> tuple[float, float]:
    """Processor time that digests and marker add to commits of `batch` submissions each, of their
    wall time and of their processor time."""
    stores = [
        kind.open(directory / f"{kind.__name__}-{batch}", now_unix_s=time.time())[0]
        for kind in (Store, PlainStore)
    ]
    costs: dict[Store, list[Cost]] = {store: [] for store in stores}
    for number in range(commits):
        jobs = range(number * batch + 1, (number + 1) * batch + 1)
        records = [row for job in jobs for row in history.submission(job)]
        for store in stores if number % 2 else reversed(stores):
            costs[store].append(_cost(store, records))
    whole, plain = (Cost(*map(median, zip(*costs[store], strict=True))) for store in stores)
    for store in stores:
        store.close()
    added_s = whole.cpu_s - plain.cpu_s
    return added_s / plain.wall_s, added_s / plain.cpu_s


def _bare_commits_per_s(directory: Path, count: int) -> float:
    """The floor of this disk: a plain insert under WAL and FULL."""
    db = sqlite3.connect(directory / "bare.db", isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)")
    began_s = time.perf_counter()
    for number in range(count):
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO t VALUES (?, ?)", (number, "x" * 500))
        db.execute("COMMIT")
    rate = count / (time.perf_counter() - began_s)
    db.close()
    return rate


@judged
def measure(*, directory: str | None) -> Figures:
    """All figures, on the file system of `directory`, or of temporary files."""
    with tempfile.TemporaryDirectory(prefix="wattline-bench-", dir=directory) as folder:
        store, _ = Store.open(Path(folder) / "state", now_unix_s=time.time())
        rates = (
            _single_commits_per_s(store, 1_000),
            _batch_rows_per_s(store, 10_000, BATCH),
            _bare_commits_per_s(Path(folder), 1_000),
        )
        store.close()
        single = _integrity_shares(Path(folder), 1_500, 1)
        batch = _integrity_shares(Path(folder), 150, BATCH)
    return Commits(*rates, *single, *batch)
