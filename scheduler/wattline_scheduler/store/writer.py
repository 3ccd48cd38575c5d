"""Writes records with the digests of their rows, fast enough for a commit."""

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any

from wattline_protocol.ids import JobId
from wattline_protocol.job.spec import JobSpec
from wattline_scheduler.records import JobRecord, RecoveryRecord
from wattline_scheduler.store.digests import (
    DIGEST,
    FUNCTION,
    Columns,
    add_digests,
    arm,
    arm_table,
    digest_of,
    disarm_table,
    tables,
)
from wattline_scheduler.store.record_table import Row, columns_of
from wattline_scheduler.store.rollups import (
    ADD_DOMAIN_STEP,
    ADD_NODE_STEP,
    DOMAIN_STEPS,
    NODE_STEPS,
    DomainRollup,
    NodeRollup,
)
from wattline_scheduler.store.tables import JOBS, META, RECORDS

_CHANGES: dict[type, tuple[str, str, Callable[[Any], Row]]] = {
    RecoveryRecord: (META.name, "UPDATE meta SET is_recovering = ?", lambda r: (not r.is_over,)),
    DomainRollup: (DOMAIN_STEPS.name, ADD_DOMAIN_STEP, DOMAIN_STEPS.row),
    NodeRollup: (NODE_STEPS.name, ADD_NODE_STEP, NODE_STEPS.row),
}
"""Table, statement and row of records that change a row instead of replacing it."""

_ACCEPTED = ("id", "token", "owner", "submitted_unix_s", "spec")
_JOB_STATE = [column for column in columns_of(JobRecord) if column.name not in _ACCEPTED]
"""Columns that change for a job whose specification is already on disk."""

_state_of = attrgetter(*(column.path for column in _JOB_STATE), "id")

_UPSERTS: dict[type, tuple[str, Callable[[Any], list[Any]]]] = {
    table.type: (table.upsert(DIGEST), table.row) for table in RECORDS
}
"""Statement and row of the other records."""

_OWNER = "SELECT epoch, instance FROM meta"
_META = f"SELECT {', '.join(META.names)} FROM meta"  # noqa: S608 - names of our table
_COUNT = f"UPDATE meta SET quiet_commits = ?, {DIGEST} = ?"  # noqa: S608 - a constant
_QUIET_COMMITS = META.names.index("quiet_commits")


def _update_job_state(columns: Columns) -> str:
    """Statement that sets the state of a job, and its digest."""
    values = {column.name: f"?{number}" for number, column in enumerate(_JOB_STATE, start=1)}
    sets = ", ".join(f"{name} = {value}" for name, value in values.items())
    row = ", ".join(
        f"CAST({values.get(name, name)} AS REAL)" if kind == "REAL" else values.get(name, name)
        for name, kind in columns
    )
    where = f"id = ?{len(values) + 1}"
    return f"UPDATE jobs SET {sets}, {DIGEST} = {FUNCTION}({row}) WHERE {where}"  # noqa: S608 - names of our tables


class Writer:
    """Writes records with their digests."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        arm(connection)
        self._columns = tables(connection)
        self._job_state = _update_job_state(self._columns[JOBS.name])
        self._bare: set[str] = set()
        """Tables without triggers."""
        self._meta: list[Any] = []
        """The row of `meta`, without its digest; empty = to be read."""
        self._buffer = bytearray()

    def disarm(self) -> None:
        """Drop the triggers of tables whose statements bring their digests.

        With triggers SQLite journals each statement, which takes as long as the statement.
        """
        self._bare = {META.name, *(table.name for table in RECORDS)}
        for table in self._bare:
            disarm_table(self._connection, table)

    def rearm(self) -> None:
        """Restore the triggers of every table: any statement may write rows until `disarm`."""
        for table in list(self._bare):
            self._arm(table)

    def _arm(self, table: str) -> None:
        if table in self._bare:
            self._bare.remove(table)
            arm_table(self._connection, table, self._columns[table])
        if table == META.name:
            self._meta.clear()

    def write(self, groups: Mapping[type, list[Any]], specs: Mapping[JobId, JobSpec]) -> None:
        """Write records, by type; the last one of a key wins. `specs`: job specifications on disk.

        If a job's specification is still that very object, only its state is written: an array's
        specification lists each index, and its state changes often.
        """
        for kind, group in groups.items():
            if kind is JobRecord:
                self._write_jobs(group, specs)
            elif kind in _CHANGES:
                table, statement, row = _CHANGES[kind]
                self._arm(table)
                self._connection.executemany(statement, map(row, group))
            else:
                self._upsert(kind, group)

    def _upsert(self, kind: type, group: Iterable[object]) -> None:
        statement, row = _UPSERTS[kind]
        rows = list(map(row, group))
        add_digests(rows, self._buffer)
        self._connection.executemany(statement, rows)

    def _write_jobs(self, group: Iterable[JobRecord], specs: Mapping[JobId, JobSpec]) -> None:
        whole: list[JobRecord] = []
        states: list[JobRecord] = []
        for job in {job.id: job for job in group}.values():
            (states if specs.get(job.id) is job.spec else whole).append(job)
        self._upsert(JobRecord, whole)
        self._connection.executemany(self._job_state, map(_state_of, states))

    def is_of(self, owner: tuple[int, str]) -> bool:
        """Whether the store belongs to this run, by epoch and instance."""
        return bool(self._connection.execute(_OWNER).fetchone() == owner)

    def count(self, quiet_commits: int) -> None:
        """Record the number of commits without an event."""
        if not self._meta:
            self._meta = list(self._connection.execute(_META).fetchone())
        self._meta[_QUIET_COMMITS] = quiet_commits
        self._connection.execute(_COUNT, (quiet_commits, digest_of(self._meta)))
