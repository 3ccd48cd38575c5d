"""How many records a second the store takes, one by one and in batches.

Budgets (DESIGN 10): ≥ 300 durable single commits/s, ≥ 2,000 rows/s in batches. Beside it stands
what the same disk gives a bare SQLite insert with one fsync each.
"""

import sqlite3
import tempfile
import time
from pathlib import Path

from wattline_bench.rig import history
from wattline_bench.verdict import Figures, judged, under
from wattline_scheduler.store.store import Store

SINGLE_PER_S_MIN = 300.0
BATCH_ROWS_PER_S_MIN = 2_000.0


class Commits(Figures, frozen=True):
    """Durable on this file system."""

    single_commits_per_s: float
    batch_rows_per_s: float
    bare_sqlite_commits_per_s: float

    def misses(self) -> tuple[str, ...]:
        """Of both ways to commit."""
        return (
            *under("single commits/s", self.single_commits_per_s, SINGLE_PER_S_MIN),
            *under("rows/s in batches", self.batch_rows_per_s, BATCH_ROWS_PER_S_MIN),
        )


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
        figures = Commits(
            _single_commits_per_s(store, 1_000),
            _batch_rows_per_s(store, 10_000, 100),
            _bare_commits_per_s(Path(folder), 1_000),
        )
        store.close()
    return figures
