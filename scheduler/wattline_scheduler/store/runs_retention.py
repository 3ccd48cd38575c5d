"""Retention of records of runs: by size, per owner and in total, the oldest first."""

import sqlite3

from wattline_protocol.ids import TaskRef
from wattline_scheduler.recorded_run import RecordedRun
from wattline_scheduler.store.record_table import Table

RUNS = Table("runs", RecordedRun)

_SIZES = "SELECT sum(size_bytes) FROM runs GROUP BY owner"
_TOO_OLD = """
DELETE FROM runs WHERE rowid IN (SELECT rowid FROM (
    SELECT rowid, sum(size_bytes) OVER ({} ORDER BY ended_unix_s DESC, rowid DESC) AS newer
    FROM runs
) WHERE newer > ?)
"""


def drop_runs(db: sqlite3.Connection, max_bytes_of_one: int, max_bytes: int) -> None:
    """Delete the oldest records of owners over their limit, then the oldest of all."""
    sizes = [size for (size,) in db.execute(_SIZES)]
    if max(sizes, default=0) > max_bytes_of_one:
        db.execute(_TOO_OLD.format("PARTITION BY owner"), (max_bytes_of_one,))
    if sum(sizes) > max_bytes:
        db.execute(_TOO_OLD.format(""), (max_bytes,))


def load_run(db: sqlite3.Connection, ref: TaskRef) -> RecordedRun | None:
    """One record; None: there is none."""
    values = (ref.job, ref.task, ref.attempt)
    found = RUNS.records(db, "WHERE job = ? AND task = ? AND attempt = ?", values)
    return found[0] if found else None
