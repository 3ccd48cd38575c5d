"""Writes records with the digests of their rows, fast enough for a commit."""

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter, itemgetter
from typing import Any

from wattline_protocol.ids import JobId
from wattline_protocol.job.spec import JobSpec
from wattline_scheduler.records import JobRecord, RecoveryRecord
from wattline_scheduler.store.digests import (
    DIGEST,
    FUNCTION,
    ROOM,
    Columns,
    arm,
    arm_table,
    digest_with_room,
    disarm_table,
    tables,
)
from wattline_scheduler.store.record_table import Row, Table, columns_of
from wattline_scheduler.store.rollups import (
    ADD_DOMAIN_STEP,
    ADD_NODE_STEP,
    DOMAIN_STEPS,
    NODE_STEPS,
    DomainRollup,
    NodeRollup,
)
from wattline_scheduler.store.tables import JOBS, META, RECORDS, Storable

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

_COUNT = f"UPDATE meta SET commits = ?, {DIGEST} = ? WHERE epoch = ? AND instance = ?"  # noqa: S608 - a constant


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


class Digested:
    """The upsert of a table, with the digest of each row."""

    def __init__(self, table: Table[Any], columns: Columns) -> None:
        place = {name: number for number, name in enumerate(table.names)}
        self.statement = table.upsert(DIGEST)
        self._row = table.row
        self._in_order = itemgetter(*(place[name] for name, _ in columns), -1)

    def row(self, record: object) -> list[Any]:
        """The row of a record, with its digest."""
        values = self._row(record)
        values.append(ROOM)
        values[-1] = digest_with_room(self._in_order(values))
        return values


class Writer:
    """Writes records with their digests, and counts the transactions of a run."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        arm(connection)
        self._columns = tables(connection)
        self._upserts = {
            table.type: Digested(table, self._columns[table.name]) for table in RECORDS
        }
        self._job_state = _update_job_state(self._columns[JOBS.name])
        self._bare: set[str] = set()
        """Tables without triggers."""
        self._meta_names = [name for name, _ in self._columns[META.name]]
        self._meta: list[Any] = []
        """The row of `meta`, with room for its digest; empty = to be read."""

    def hurry(self) -> None:
        """Drop the triggers of tables whose statements bring their digests.

        With triggers SQLite journals each statement, which takes as long as the statement.
        """
        self._bare = {META.name, *(table.name for table in RECORDS)}
        for table in self._bare:
            disarm_table(self._connection, table)

    def take_time(self) -> None:
        """Restore the triggers of every table: any statement may write rows until `hurry`."""
        for table in list(self._bare):
            self._arm(table)

    def _arm(self, table: str) -> None:
        if table in self._bare:
            self._bare.remove(table)
            arm_table(self._connection, table, self._columns[table])
        if table == META.name:
            self._meta.clear()

    def write(self, records: Iterable[Storable], specs: Mapping[JobId, JobSpec]) -> None:
        """Write records; the last one of a key wins. `specs`: job specifications on disk.

        If a job's specification is still that very object, only its state is written: an array's
        specification lists each index, and its state changes often.
        """
        groups: dict[type, list[Any]] = {}
        for record in records:
            groups.setdefault(type(record), []).append(record)
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
        upsert = self._upserts[kind]
        self._connection.executemany(upsert.statement, map(upsert.row, group))

    def _write_jobs(self, group: Iterable[JobRecord], specs: Mapping[JobId, JobSpec]) -> None:
        whole: list[JobRecord] = []
        states: list[JobRecord] = []
        for job in {job.id: job for job in group}.values():
            (states if specs.get(job.id) is job.spec else whole).append(job)
        self._upsert(JobRecord, whole)
        self._connection.executemany(self._job_state, map(_state_of, states))

    def count(self, commits: int, epoch: int, instance: str) -> bool:
        """Record the number of commits; False = the store belongs to another run."""
        if not self._meta:
            names = ", ".join(self._meta_names)
            row = self._connection.execute(f"SELECT {names} FROM meta").fetchone()  # noqa: S608 - names of our table
            self._meta = [*row, ROOM]
        self._meta[self._meta_names.index("commits")] = commits
        digest = digest_with_room(self._meta)
        found = self._connection.execute(_COUNT, (commits, digest, epoch, instance))
        return found.rowcount == 1
