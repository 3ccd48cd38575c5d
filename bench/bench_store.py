"""How many records a second the store takes, one by one and in batches.

    python bench/bench_store.py [--json] [--dir DIR]

Budgets (DESIGN 10): ≥ 300 durable single commits/s, ≥ 2,000 rows/s in batches. Beside it stands
what the same disk gives a bare SQLite insert with one fsync each. Exit status 1 if one is missed.
"""

import argparse
import json
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support import records
from wattline_scheduler.store.store import Store

SINGLE_PER_S_MIN = 300.0
BATCH_ROWS_PER_S_MIN = 2_000.0


def single_commits_per_s(store: Store, count: int) -> float:
    """One submission each: a job, its gang and its event, then an fsync."""
    began = time.perf_counter()
    for number in range(1, count + 1):
        store.commit([records.job(number), records.gang(number), records.event(number)])
    return count / (time.perf_counter() - began)


def batch_rows_per_s(store: Store, count: int, batch: int) -> float:
    """Submissions that arrive together: `batch` jobs in each commit, three rows a job."""
    began = time.perf_counter()
    for first in range(count, 2 * count, batch):
        rows = [
            record
            for n in range(first, first + batch)
            for record in (records.job(n), records.gang(n), records.event(n))
        ]
        store.commit(rows)
    return 3 * count / (time.perf_counter() - began)


def bare_commits_per_s(directory: Path, count: int) -> float:
    """The floor of this disk: a plain insert under WAL and FULL."""
    db = sqlite3.connect(directory / "bare.db", isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)")
    began = time.perf_counter()
    for number in range(count):
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO t VALUES (?, ?)", (number, "x" * 500))
        db.execute("COMMIT")
    rate = count / (time.perf_counter() - began)
    db.close()
    return rate


def measure(directory: Path) -> dict[str, float]:
    """All figures, on the file system of `directory`."""
    store, _ = Store.open(directory / "state", now_unix_s=time.time())
    figures = {
        "single_commits_per_s": single_commits_per_s(store, 1_000),
        "batch_rows_per_s": batch_rows_per_s(store, 10_000, 100),
        "bare_sqlite_commits_per_s": bare_commits_per_s(directory, 1_000),
    }
    store.close()
    return figures


def main() -> int:
    """Print the figures; 1 if a budget is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--dir", type=Path, help="where to write; default: a temporary directory")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.dir) as directory:
        figures = measure(Path(directory))
    ok = (
        figures["single_commits_per_s"] >= SINGLE_PER_S_MIN
        and figures["batch_rows_per_s"] >= BATCH_ROWS_PER_S_MIN
    )
    if options.json:
        print(json.dumps({"ok": ok, **figures}))
    else:
        for name, value in figures.items():
            print(f"{name:28} {value:12,.0f}")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
