"""Reads rows back as records: everything that a restart needs, and single older jobs."""

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import msgspec

from wattline_protocol.ids import Epoch, GpuIndex, JobId, NodeId
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.views.site_views import EventView, JobState
from wattline_protocol.wire.agent_messages import GpuInfo, TaskExit, TaskUsage
from wattline_protocol.wire.clipping import clip_builtins
from wattline_protocol.wire.mig import MigInstance
from wattline_scheduler.core.model.usage.usage_ledger import Key
from wattline_scheduler.records import (
    AttemptRecord,
    BookRecord,
    DemandRecord,
    EventRecord,
    GangRecord,
    JobRecord,
    LimitRecord,
    MemberRecord,
    MeterRecord,
    NodeRecord,
    PlantRecord,
    ProblemRecord,
    ReservationRecord,
    Saved,
    SentLease,
    UseRecord,
)
from wattline_scheduler.store.record_rows import (
    ATTEMPTS,
    BOOKS,
    DEMANDS,
    EVENTS,
    GANGS,
    JOBS,
    LIMITS,
    MEMBERS,
    METERS,
    NODES,
    PLANTS,
    PROBLEMS,
    RESERVATIONS,
    USES,
    Layout,
    Row,
)

ENDED_JOBS_LOADED = 10_000
"""Newest ended jobs that a restart loads into memory: as many as one list shows."""

USES_LOADED = 10_000
"""Accounts and queues loaded by newest use, besides those that the site file names."""

MAX_NUMBER = 2**63 - 1
"""Largest integer of SQLite, which rejects larger ones; clients may request any number."""

PROBLEMS_LOADED = 1_000
"""Newest ended problems that a restart loads into memory, besides the open ones."""

EVENTS_LOADED = 1_000
"""Newest events that a restart loads into memory; older ones are read from disk on request."""

T = TypeVar("T")

_spec = msgspec.json.Decoder(JobSpec)
_gpu_indices = msgspec.json.Decoder(tuple[GpuIndex, ...])
_gpus = msgspec.json.Decoder(tuple[GpuInfo, ...])
_mig = msgspec.json.Decoder(MigInstance)
_caps = msgspec.json.Decoder(tuple[int, ...])
_sent = msgspec.json.Decoder(tuple[SentLease, ...])
_metrics = msgspec.json.Decoder(dict[str, float])
_counts = msgspec.json.Decoder(tuple[int, ...])
_words = msgspec.json.Decoder(tuple[str, ...])
_exit = msgspec.json.Decoder(TaskExit)


def _read(decoder: msgspec.json.Decoder[T], text: str) -> T:
    """Decode, clamping values from before bounds existed, so that the site still starts."""
    try:
        return decoder.decode(text)
    except msgspec.ValidationError:
        form: Any = decoder.type
        fitting: T = msgspec.convert(clip_builtins(msgspec.json.decode(text), form), form)
        return fitting


def _job(row: Row) -> JobRecord:
    id_, token, owner = row[:3]
    submitted, ended, state, reason, *shown, spec = row[8:]
    is_held, held_by, is_late, is_risk_told, by = shown
    return JobRecord(
        id=id_,
        token=token,
        owner=owner,
        submitted_unix_s=submitted,
        spec=_read(_spec, spec),
        state=state,
        reason=reason,
        is_held=bool(is_held),
        held_by=held_by,
        is_late=bool(is_late),
        is_risk_told=bool(is_risk_told),
        cancelled_by=by,
        ended_unix_s=ended,
    )


def _gang(row: Row) -> GangRecord:
    values = dict(zip(GANGS.columns, row, strict=True))
    return GangRecord(**{**values, "is_held": bool(values["is_held"])})


def _attempt(row: Row) -> AttemptRecord:
    job, task, attempt, node, gpus, state, placed, started, ended = row[:9]
    metrics, key, pid, readopted, end, mig, note = row[17:]
    return AttemptRecord(
        job=job,
        task=task,
        attempt=attempt,
        node=node,
        gpus=_read(_gpu_indices, gpus),
        state=state,
        placed_unix_s=placed,
        started_unix_s=started,
        ended_unix_s=ended,
        usage=TaskUsage(*row[9:17]),
        metrics=_metrics.decode(metrics),
        worker_public_key=key,
        pid=pid,
        readopted=readopted,
        exit=None if end is None else _read(_exit, end),
        mig=None if mig is None else _read(_mig, mig),
        note=note,
    )


def _node(row: Row) -> NodeRecord:
    node, incarnation, boot_id, hostname, version, cpus, memory_bytes, gpus = row[:8]
    is_observe, is_simulated, is_draining, drain_reason, is_off, off_reason, is_spared = row[8:15]
    return NodeRecord(
        node,
        incarnation,
        boot_id,
        hostname,
        version,
        cpus,
        memory_bytes,
        _read(_gpus, gpus),
        bool(is_observe),
        bool(is_simulated),
        bool(is_draining),
        drain_reason,
        bool(is_off),
        off_reason,
        bool(is_spared),
        row[15],
        bool(row[16]),
        row[17],
    )


def _book(row: Row) -> BookRecord:
    node, standing, acked_mw, caps, sent = row
    return BookRecord(node, standing, acked_mw, _caps.decode(caps), _sent.decode(sent))


def _demand(row: Row) -> DemandRecord:
    values = dict(zip(DEMANDS.columns, row, strict=True))
    return DemandRecord(**{**values, "bins": _counts.decode(values["bins"])})


def _reservation(row: Row) -> ReservationRecord:
    name, phase, start, end, nodes, accounts, users, requester, why = row
    of_nodes = tuple(map(NodeId, _words.decode(nodes)))
    grantees = (_words.decode(accounts), _words.decode(users))
    return ReservationRecord(name, phase, start, end, of_nodes, *grantees, requester, why)


def _event(row: Row) -> EventRecord:
    return EventRecord(seq=row[0], event=EventView(*row))


_OPEN_OR_RECENT = """
(SELECT id FROM jobs WHERE ended_unix_s IS NULL
 UNION ALL
 SELECT id FROM (SELECT id FROM jobs WHERE ended_unix_s IS NOT NULL
                 ORDER BY ended_unix_s DESC LIMIT ?))
"""


_NOT_OVER = "WHERE phase <> 'over' ORDER BY domain, start_unix_s, name"

_OPEN = "WHERE phase <> 'over' ORDER BY start_unix_s, name"

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
    newest = db.execute(USES.select("ORDER BY as_of_unix_s DESC LIMIT ?"), (USES_LOADED,))
    rows = {row[:2]: row for row in newest}
    for key in lasting:
        row = None if key in rows else db.execute(USES.select(_OF_KEY), key).fetchone()
        if row is not None:
            rows[key] = row
    return tuple(UseRecord(*row) for row in rows.values())


def _problems(db: sqlite3.Connection) -> tuple[ProblemRecord, ...]:
    """The newest ended problems, then the open ones, oldest first."""
    ended = "WHERE until_unix_s IS NOT NULL ORDER BY until_unix_s DESC, number DESC LIMIT ?"
    newest = db.execute(PROBLEMS.select(ended), (PROBLEMS_LOADED,)).fetchall()
    still = db.execute(PROBLEMS.select("WHERE until_unix_s IS NULL ORDER BY number"))
    return tuple(ProblemRecord(*row) for row in (*reversed(newest), *still))


def _members(db: sqlite3.Connection) -> tuple[MemberRecord, ...]:
    rows = db.execute(MEMBERS.select("WHERE is_removed = 0 ORDER BY name"))
    return tuple(MemberRecord(name, role, key) for name, role, key, _ in rows)


def load_saved(
    db: sqlite3.Connection, epoch: Epoch, instance: str, lasting: Iterable[Key] = ()
) -> Saved:
    """Load everything that a restart needs, in one transaction of the caller. `lasting`: accounts
    and queues whose use is loaded whatever its age."""
    recent = (ENDED_JOBS_LOADED,)
    of_jobs = f"WHERE job IN {_OPEN_OR_RECENT} ORDER BY job"
    newest = EVENTS.select("ORDER BY seq DESC LIMIT ?")
    (newest_act,) = db.execute("SELECT coalesce(max(seq), 0) FROM acts").fetchone()
    next_job, next_event, is_recovering, attempt_floor = db.execute(
        "SELECT max(job_floor, coalesce((SELECT max(id) FROM jobs), 0)) + 1,"
        " max(event_floor, coalesce((SELECT max(seq) FROM events), 0)) + 1,"
        " is_recovering, attempt_floor FROM meta"
    ).fetchone()
    rows = db.execute(JOBS.select(f"WHERE id IN {_OPEN_OR_RECENT} ORDER BY id"), recent)
    jobs = tuple(map(_job, rows))
    gangs = db.execute(GANGS.select(f"{of_jobs}, gang"), recent)
    attempts = db.execute(ATTEMPTS.select(f"{of_jobs}, task, attempt"), recent)
    return Saved(
        epoch=epoch,
        instance=instance,
        jobs=jobs,
        outcomes=outcomes(db, sorted(_old_parents(jobs))),
        gangs=tuple(map(_gang, gangs)),
        attempts=tuple(_attempt(row) for row in attempts),
        nodes=tuple(_node(row) for row in db.execute(NODES.select())),
        books=tuple(_book(row) for row in db.execute(BOOKS.select())),
        limits=tuple(LimitRecord(*row) for row in db.execute(LIMITS.select(_NOT_OVER))),
        demands=tuple(_demand(row) for row in db.execute(DEMANDS.select("ORDER BY seen_unix_s"))),
        meters=tuple(MeterRecord(*row) for row in db.execute(METERS.select())),
        plants=tuple(PlantRecord(*row) for row in db.execute(PLANTS.select())),
        uses=_uses(db, lasting),
        reservations=tuple(_reservation(row) for row in db.execute(RESERVATIONS.select(_OPEN))),
        problems=_problems(db),
        events=tuple(_event(row) for row in db.execute(newest, (EVENTS_LOADED,)))[::-1],
        newest_act=newest_act,
        members=_members(db),
        next_job=next_job,
        next_event=next_event,
        is_recovering=bool(is_recovering),
        attempt_floor=attempt_floor,
    )


JobFile = tuple[JobRecord, tuple[GangRecord, ...], tuple[AttemptRecord, ...]]
"""A job with its gangs and attempts."""


def load_job(db: sqlite3.Connection, job: JobId) -> JobFile | None:
    """One job with its gangs and attempts; None if it does not exist."""
    row = db.execute(JOBS.select("WHERE id = ?"), (_within(job),)).fetchone()
    if row is None:
        return None
    gangs = db.execute(GANGS.select("WHERE job = ? ORDER BY gang"), (job,))
    attempts = db.execute(ATTEMPTS.select("WHERE job = ? ORDER BY task, attempt"), (job,))
    return _job(row), tuple(map(_gang, gangs)), tuple(map(_attempt, attempts))


def load_events(
    db: sqlite3.Connection, after: int, limit: int, layout: Layout = EVENTS
) -> Iterator[EventView]:
    """Events (or acts, by `layout`) with seq > `after`, oldest first, at most `limit`; if `after`
    is negative, that many of the newest."""
    if after < 0:  # rows are counted, as recoveries skip numbers
        newest = f"SELECT seq FROM {layout.table} ORDER BY seq DESC LIMIT 1 OFFSET ?"  # noqa: S608 - a constant
        row = db.execute(newest, (_within(-after),)).fetchone()
        after = 0 if row is None else row[0]
    rows = db.execute(layout.select("WHERE seq > ? ORDER BY seq LIMIT ?"), (_within(after), limit))
    return (EventView(*row) for row in rows)
