"""Retention of history: by age, by number, and by member. Deleted in parts.

A member may write thousands of rows a second, each of which is deleted at some time. So what a step
deletes is bounded, however much there is: half a million rows at once took two seconds.
"""

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from wattline_scheduler.store.rollups import (
    DOMAIN_STEPS,
    NODE_STEPS,
    ROLLUP_KEEP_S,
    SERVICE_KEEP_S,
    SERVICE_STEPS,
    fold,
    settled_unix_s,
)

PART_ROWS = 10_000
"""Deleted at once."""

EVENTS_KEPT = 1_000_000
"""Maximum number of events on disk; the oldest are deleted beyond it, never the newest (`Mark`)."""

ACTS_KEPT = 1_000_000
ACTS_KEPT_OF_ONE = 100_000
ACTS_KEPT_S = 3 * 366 * 86_400.0
"""Acts of members on disk: maximum total, maximum per member, and age. Telemetry displaces none;
members displace each other's acts only beyond a million."""

PROBLEMS_KEPT = 100_000
PROBLEMS_KEPT_S = 366 * 86_400.0
"""Ended problems on disk, by number and by age; open ones are never deleted."""

REMOVED_KEPT = 100_000
REMOVED_KEPT_S = 30 * 86_400.0
"""Revoked API keys on disk, and removed routes, by number and by age."""

LIMITS_KEPT_S = 30 * 86_400.0
"""Retention of expired limits; the audit log records older ones."""


class Old(NamedTuple):
    """Rows to delete."""

    table: str
    where: str
    values: tuple[object, ...]


def tidying(db: sqlite3.Connection, now_unix_s: float) -> Iterator[None]:
    """Fold old history and delete what is too old, in parts; the caller has their transactions."""
    fold(db, now_unix_s)
    left = PART_ROWS
    for old in _old(db, settled_unix_s(db, now_unix_s)):
        while (left := left - _deleted(db, old, left)) == 0:
            yield
            left = PART_ROWS


def _deleted(db: sqlite3.Connection, old: Old, most: int) -> int:
    """Delete so many of them; how many there were."""
    rows = f"SELECT rowid FROM {old.table} WHERE {old.where} LIMIT ?"  # noqa: S608 - ours
    statement = f"DELETE FROM {old.table} WHERE rowid IN ({rows})"  # noqa: S608 - ours
    return db.execute(statement, (*old.values, most)).rowcount


def _old(db: sqlite3.Connection, settled_s: float) -> Iterator[Old]:
    for table, age_s in (
        (DOMAIN_STEPS.name, ROLLUP_KEEP_S),
        (NODE_STEPS.name, ROLLUP_KEEP_S),
        (SERVICE_STEPS.name, SERVICE_KEEP_S),
    ):
        yield Old(table, "start_unix_s < ?", (settled_s - age_s,))
    # Rows are counted, as recoveries skip numbers.
    yield from _beyond(db, "events", "seq", EVENTS_KEPT)
    yield from _old_acts(db, settled_s - ACTS_KEPT_S)
    yield from _beyond(db, "problems", "number", PROBLEMS_KEPT, "until_unix_s IS NOT NULL")
    yield Old("problems", "until_unix_s < ?", (settled_s - PROBLEMS_KEPT_S,))
    for table, removed in (("api_keys", "revoked_unix_s"), ("routes", "removed_unix_s")):
        yield from _beyond(db, table, "rowid", REMOVED_KEPT, f"{removed} IS NOT NULL")
        yield Old(table, f"{removed} < ?", (settled_s - REMOVED_KEPT_S,))
    yield Old("notifications", "outcome <> ?", ("",))
    yield Old("limits", "phase = 'over' AND end_unix_s < ?", (settled_s - LIMITS_KEPT_S,))


def _old_acts(db: sqlite3.Connection, before_unix_s: float) -> Iterator[Old]:
    """Acts of members over their limit, then the oldest of all."""
    yield Old("acts", "unix_s < ?", (before_unix_s,))
    many = "SELECT who FROM acts GROUP BY who HAVING count(*) > ?"
    for (member,) in db.execute(many, (ACTS_KEPT_OF_ONE,)).fetchall():
        yield from _beyond(db, "acts", "seq", ACTS_KEPT_OF_ONE, "who = ?", member)
    yield from _beyond(db, "acts", "seq", ACTS_KEPT)


def _beyond(
    db: sqlite3.Connection, table: str, key: str, kept: int, where: str = "1", *values: object
) -> Iterator[Old]:
    """All but the newest rows."""
    order = f"ORDER BY {key} DESC LIMIT 1 OFFSET ?"
    newest = f"SELECT {key} FROM {table} WHERE {where} {order}"  # noqa: S608 - ours
    found = db.execute(newest, (*values, kept)).fetchone()
    if found is not None:
        yield Old(table, f"{where} AND {key} <= ?", (*values, found[0]))
