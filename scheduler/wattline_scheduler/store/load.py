"""Reads rows back as records: everything that a restart needs, and single older jobs."""

import sqlite3
from collections.abc import Iterable

from wattline_protocol.ids import Epoch, JobId
from wattline_protocol.views.site_views import EventView, JobState
from wattline_scheduler.core.model.usage.usage_ledger import Key
from wattline_scheduler.records import (
    ActRecord,
    AttemptRecord,
    EventRecord,
    GangRecord,
    JobRecord,
    ProblemRecord,
    Saved,
    UseRecord,
)
from wattline_scheduler.store.record_table import Table
from wattline_scheduler.store.rollups import load_service_hours, load_service_minutes
from wattline_scheduler.store.tables import (
    API_KEYS,
    ATTEMPTS,
    BOOKS,
    DATA_SETS,
    DATA_VERSIONS,
    DEMANDS,
    EVENTS,
    GANGS,
    JOBS,
    LIMITS,
    MEMBERS,
    METERS,
    NODES,
    NOTIFICATIONS,
    PLANTS,
    PROBLEMS,
    RESERVATIONS,
    ROLLOUTS,
    ROUTES,
    USES,
)

ENDED_JOBS_LOADED = 10_000
"""Newest ended jobs that a restart loads into memory: as many as one list shows."""

ENDED_GANGS_LOADED = 250_000
"""Number of their gangs from which on no older job is loaded: an array has up to 10,000."""

USES_LOADED = 10_000
"""Accounts and queues loaded by newest use, besides those that the site file names."""

MAX_NUMBER = 2**63 - 1
"""Largest integer of SQLite, which rejects larger ones; clients may request any number."""

PROBLEMS_LOADED = 1_000
"""Newest ended problems that a restart loads into memory, besides the open ones."""

ROLLOUTS_LOADED = 10_000
"""Rollouts that a restart loads into memory, one a service: those in progress, then the newest."""

EVENTS_LOADED = 1_000
"""Newest events that a restart loads into memory; older ones are read from disk on request."""

_OPEN_OR_RECENT = """
(SELECT id FROM jobs WHERE ended_unix_s IS NULL
 UNION ALL
 SELECT id FROM (
   SELECT id, sum((SELECT count(*) FROM gangs WHERE job = id)) OVER (
     ORDER BY ended_unix_s DESC, id DESC ROWS UNBOUNDED PRECEDING) AS gangs
   FROM (SELECT id, ended_unix_s FROM jobs WHERE ended_unix_s IS NOT NULL
         ORDER BY ended_unix_s DESC, id DESC LIMIT ?))
 WHERE gangs <= ?)
"""


_OPEN_ROLLOUTS_FIRST = "ORDER BY phase IN ('done', 'back'), since_unix_s DESC LIMIT ?"

_OF_KEY = "WHERE kind = ? AND name = ?"


def _within(number: int) -> int:
    """Clamp a number to what SQLite accepts; no job has the lowest or the highest of them."""
    return max(0, min(number, MAX_NUMBER))


def outcomes(db: sqlite3.Connection, jobs: Iterable[JobId]) -> dict[JobId, JobState]:
    """Final states of those of the jobs that are recorded as ended."""
    found: dict[JobId, JobState] = {}
    sql = "SELECT state FROM jobs WHERE id = ? AND ended_unix_s IS NOT NULL"
    for job in jobs:
        row = db.execute(sql, (_within(job),)).fetchone()
        if row is not None:
            found[job] = row[0]
    return found


def _old_parents(jobs: tuple[JobRecord, ...]) -> set[JobId]:
    """Parents of open jobs that ended too long ago to be loaded with the others."""
    loaded = {job.id for job in jobs}
    return {p for job in jobs if job.ended_unix_s is None for p in job.spec.parents} - loaded


def _uses(db: sqlite3.Connection, lasting: Iterable[Key]) -> tuple[UseRecord, ...]:
    """The newest uses, and those of `lasting` whatever their age."""
    newest = USES.records(db, "ORDER BY as_of_unix_s DESC LIMIT ?", (USES_LOADED,))
    found = {(use.kind, use.name): use for use in newest}
    for key in lasting:
        if key not in found:
            found.update((key, use) for use in USES.records(db, _OF_KEY, key))
    return tuple(found.values())


def _problems(db: sqlite3.Connection) -> tuple[ProblemRecord, ...]:
    """The newest ended problems, then the open ones, oldest first."""
    ended = "WHERE until_unix_s IS NOT NULL ORDER BY until_unix_s DESC, number DESC LIMIT ?"
    newest = PROBLEMS.records(db, ended, (PROBLEMS_LOADED,))
    return newest[::-1] + PROBLEMS.records(db, "WHERE until_unix_s IS NULL ORDER BY number")


def load_saved(
    db: sqlite3.Connection, epoch: Epoch, instance: str, lasting: Iterable[Key] = ()
) -> Saved:
    """Load everything that a restart needs, in one transaction of the caller. `lasting`: accounts
    and queues whose use is loaded whatever its age."""
    recent = (ENDED_JOBS_LOADED, ENDED_GANGS_LOADED)
    of_jobs = f"WHERE job IN {_OPEN_OR_RECENT} ORDER BY job"
    (newest_act,) = db.execute("SELECT coalesce(max(seq), 0) FROM acts").fetchone()
    next_job, next_event, is_recovering, attempt_floor = db.execute(
        "SELECT max(job_floor, coalesce((SELECT max(id) FROM jobs), 0)) + 1,"
        " max(event_floor, coalesce((SELECT max(seq) FROM events), 0)) + 1,"
        " is_recovering, attempt_floor FROM meta"
    ).fetchone()
    jobs = JOBS.records(db, f"WHERE id IN {_OPEN_OR_RECENT} ORDER BY id", recent)
    return Saved(
        epoch=epoch,
        instance=instance,
        jobs=jobs,
        outcomes=outcomes(db, sorted(_old_parents(jobs))),
        gangs=GANGS.records(db, f"{of_jobs}, gang", recent),
        attempts=ATTEMPTS.records(db, f"{of_jobs}, task, attempt", recent),
        nodes=NODES.records(db),
        books=BOOKS.records(db),
        limits=LIMITS.records(db, "WHERE phase <> 'over' ORDER BY domain, start_unix_s, name"),
        demands=DEMANDS.records(db, "ORDER BY seen_unix_s"),
        meters=METERS.records(db),
        plants=PLANTS.records(db),
        uses=_uses(db, lasting),
        reservations=RESERVATIONS.records(db, "WHERE phase <> 'over' ORDER BY start_unix_s, name"),
        api_keys=API_KEYS.records(db, "WHERE revoked_unix_s IS NULL ORDER BY name"),
        routes=ROUTES.records(db, "WHERE removed_unix_s IS NULL ORDER BY name"),
        data_sets=DATA_SETS.records(db, "ORDER BY name"),
        data_versions=DATA_VERSIONS.records(db, "ORDER BY name, number"),
        problems=_problems(db),
        events=EVENTS.records(db, "ORDER BY seq DESC LIMIT ?", (EVENTS_LOADED,))[::-1],
        newest_act=newest_act,
        members=MEMBERS.records(db, "WHERE is_removed = 0 ORDER BY name"),
        notifications=NOTIFICATIONS.records(db, "WHERE outcome = '' ORDER BY unix_s, job, number"),
        rollouts=ROLLOUTS.records(db, _OPEN_ROLLOUTS_FIRST, (ROLLOUTS_LOADED,)),
        service_minutes=load_service_minutes(db),
        service_hours=load_service_hours(db),
        next_job=next_job,
        next_event=next_event,
        is_recovering=bool(is_recovering),
        attempt_floor=attempt_floor,
    )


JobFile = tuple[JobRecord, tuple[GangRecord, ...], tuple[AttemptRecord, ...]]
"""A job with its gangs and attempts."""


def load_job(db: sqlite3.Connection, job: JobId) -> JobFile | None:
    """One job with its gangs and attempts; None if it does not exist."""
    number = (_within(job),)
    found = JOBS.records(db, "WHERE id = ?", number)
    gangs = GANGS.records(db, "WHERE job = ? ORDER BY gang", number)
    attempts = ATTEMPTS.records(db, "WHERE job = ? ORDER BY task, attempt", number)
    return (found[0], gangs, attempts) if found else None


def load_events(
    db: sqlite3.Connection,
    after: int,
    limit: int,
    table: Table[EventRecord] | Table[ActRecord] = EVENTS,
) -> tuple[EventView, ...]:
    """Events (or acts, by `table`) with seq > `after`, oldest first, at most `limit`; if `after`
    is negative, that many of the newest."""
    if after < 0:  # rows are counted, as recoveries skip numbers
        newest = f"SELECT seq FROM {table.name} ORDER BY seq DESC LIMIT 1 OFFSET ?"  # noqa: S608 - a constant
        row = db.execute(newest, (_within(-after),)).fetchone()
        after = 0 if row is None else row[0]
    lines = table.records(db, "WHERE seq > ? ORDER BY seq LIMIT ?", (_within(after), limit))
    return tuple(line.event for line in lines)
