"""Writes rows with their digests, fast enough for a commit."""

import sqlite3
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

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
from wattline_scheduler.store.record_rows import (
    JOB_STATE,
    JOB_STATE_SET,
    JOB_STATE_WHERE,
    LAYOUTS,
    Layout,
    Row,
)


def _update(table: str, columns: Columns, changes: Mapping[str, str], where: str) -> str:
    """Statement that sets columns to expressions, and updates the digest."""
    typed = {
        name: f"CAST({changes[name]} AS {kind})" if kind == "REAL" else changes[name]
        for name, kind in columns
        if name in changes
    }
    after = ", ".join(typed.get(name, name) for name, _ in columns)
    sets = ", ".join(f"{name} = {value}" for name, value in changes.items())
    return f"UPDATE {table} SET {sets}, {DIGEST} = {FUNCTION}({after}) WHERE {where}"  # noqa: S608 - names of our tables


class Digested:
    """The upsert of one layout, with the digest of each row."""

    def __init__(self, layout: Layout, columns: Columns) -> None:
        place = {name: number for number, name in enumerate(layout.columns)}
        of_type = dict(columns)
        self.table, self.columns = layout.table, columns
        self.statement = layout.upsert(DIGEST)
        self._in_order = itemgetter(*(place[name] for name, _ in columns), -1)
        self._integers = [place[n] for n in layout.columns if of_type[n] == "INTEGER"]
        self._reals = [place[n] for n in layout.columns if of_type[n] == "REAL"]

    def row(self, row: Row) -> list[Any]:
        """The row with its digest; numbers as the database returns them."""
        values = [*row, ROOM]
        for place in self._integers:
            value = values[place]
            if value is False:
                values[place] = 0
            elif value is True:
                values[place] = 1
        for place in self._reals:
            value = values[place]
            if value is not None:
                values[place] = value + 0.0  # converts integers, and removes a negative zero
        values[-1] = digest_with_room(self._in_order(values))
        return values


class Writer:
    """Writes rows with their digests, and counts the transactions of a run."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        arm(connection)
        known = tables(connection)
        self._upserts = {
            layout.upsert(): Digested(layout, known[layout.table])
            for layout in LAYOUTS
            if {name for name, _ in known.get(layout.table, ())} == set(layout.columns)
        }
        self._bare: dict[str, Columns] = {}
        """Tables without triggers."""
        self._job_state = _update("jobs", known["jobs"], JOB_STATE_SET, JOB_STATE_WHERE)
        whose = "epoch = ? AND instance = ?"
        self._meta = known["meta"]
        self._count = _update("meta", self._meta, {"commits": "commits + 1"}, whose)

    def hurry(self) -> None:
        """Drop the triggers of tables whose upserts bring their digests.

        With triggers SQLite journals each statement, which takes as long as the statement.
        """
        for upsert in self._upserts.values():
            self._bare[upsert.table] = upsert.columns
        self._bare["meta"] = self._meta
        for table in self._bare:
            disarm_table(self._connection, table)

    def take_time(self) -> None:
        """Restore the triggers of every table: any statement may write rows until `hurry`."""
        for table, columns in self._bare.items():
            arm_table(self._connection, table, columns)
        self._bare.clear()

    def _arm_for(self, statement: str) -> None:
        """Restore the triggers of tables that a statement without digests names."""
        for table in [table for table in self._bare if table in statement]:
            arm_table(self._connection, table, self._bare.pop(table))

    def write(self, statement: str, rows: Sequence[Row]) -> None:
        """Execute a statement of `record_rows` for each row."""
        upsert = self._upserts.get(statement)
        if upsert is not None:
            self._connection.executemany(upsert.statement, map(upsert.row, rows))
        elif statement == JOB_STATE:
            self._connection.executemany(self._job_state, rows)
        else:
            self._arm_for(statement)
            self._connection.executemany(statement, rows)

    def count(self, epoch: int, instance: str) -> bool:
        """Count one more commit; False = the store belongs to another run."""
        return self._connection.execute(self._count, (epoch, instance)).rowcount == 1
