"""Converts each record to a row. The inverse is in `load`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import msgspec

from wattline_protocol.ids import JobId
from wattline_protocol.job.spec import JobSpec
from wattline_scheduler.records import (
    ActRecord,
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
    Record,
    RecoveryRecord,
    ReservationRecord,
    UseRecord,
)
from wattline_scheduler.store.rollups import (
    ADD_DOMAIN_STEP,
    ADD_NODE_STEP,
    DomainRollup,
    NodeRollup,
)
from wattline_scheduler.store.webhook_marks import WebhookMark

Row = tuple[Any, ...]
Storable = Record | DomainRollup | NodeRollup | WebhookMark

_encoder = msgspec.json.Encoder()


def _json(value: object) -> str:
    return _encoder.encode(value).decode()


@dataclass(frozen=True, slots=True)
class Layout:
    """One table: its columns, in row order."""

    table: str
    columns: tuple[str, ...]
    key: tuple[str, ...]

    def upsert(self, *more: str) -> str:
        """Statement that inserts or replaces a row by key; `more`: additional columns."""
        columns = (*self.columns, *more)
        values = ", ".join("?" for _ in columns)
        changes = ", ".join(f"{c} = excluded.{c}" for c in columns if c not in self.key)
        return (
            f"INSERT INTO {self.table} ({', '.join(columns)}) VALUES ({values}) "  # noqa: S608 - constants of this module
            f"ON CONFLICT ({', '.join(self.key)}) DO UPDATE SET {changes}"
        )

    def select(self, where: str = "") -> str:
        """Statement that reads rows with columns in the order of `columns`."""
        return f"SELECT {', '.join(self.columns)} FROM {self.table} {where}"  # noqa: S608 - constants of this package


def _columns(text: str) -> tuple[str, ...]:
    return tuple(text.split())


JOBS = Layout(
    "jobs",
    _columns(
        "id token owner account name kind queue priority submitted_unix_s ended_unix_s "
        "state reason is_held held_by is_late is_risk_told cancelled_by spec"
    ),
    JobRecord.key,
)
GANGS = Layout(
    "gangs",
    _columns(
        "job gang phase attempt failures outcome reason not_before_unix_s cause is_held losses "
        "crashes"
    ),
    GangRecord.key,
)
ATTEMPTS = Layout(
    "attempts",
    _columns(
        "job task attempt node gpus state placed_unix_s started_unix_s ended_unix_s "
        "run_s gpu_s gpu_energy_mj node_energy_mj util_gpu_s cap_bound_gpu_s cpu_s max_rss_bytes "
        "metrics worker_public_key pid readopted exit mig note"
    ),
    AttemptRecord.key,
)
NODES = Layout(
    "nodes",
    _columns(
        "node incarnation boot_id hostname agent_version cpus memory_bytes gpus is_observe "
        "is_simulated is_draining drain_reason is_off off_reason is_spared "
        "drained_unix_s is_quarantined quarantine_reason"
    ),
    NodeRecord.key,
)
BOOKS = Layout("books", _columns("node standing acked_mw acked_caps_mw sent"), BookRecord.key)
LIMITS = Layout(
    "limits",
    _columns(
        "domain name source phase value_mw from_mw start_unix_s ramp_s end_unix_s release_s who why"
    ),
    LimitRecord.key,
)
DEMANDS = Layout(
    "demands",
    _columns(
        "slot fingerprint label mean_mw p95_mw p99_mw ramp_mw samples beyond swing_permille "
        "steepness_permille width_mw sum_mw bins seen_unix_s"
    ),
    DemandRecord.key,
)
METERS = Layout("meters", _columns("domain held_mw factor_permille"), MeterRecord.key)
PLANTS = Layout("plants", _columns("zone units_said who why since_unix_s"), PlantRecord.key)
USES = Layout(
    "uses",
    _columns(
        "kind name as_of_unix_s gpu_s energy_mj day_unix_s day_energy_mj month_unix_s month_gpu_s "
        "month_energy_mj told_until_unix_s told_limit"
    ),
    ("kind", "name"),
)
RESERVATIONS = Layout(
    "reservations",
    _columns("name phase start_unix_s end_unix_s nodes accounts users who why"),
    ReservationRecord.key,
)
WEBHOOKS = Layout("webhooks", _columns("url settled_seq"), WebhookMark.key)
PROBLEMS = Layout(
    "problems",
    _columns(
        "number kind subject severity since_unix_s until_unix_s evidence occurrences node job"
    ),
    ProblemRecord.key,
)
EVENTS = Layout("events", _columns("seq unix_s kind who text job node level"), EventRecord.key)
ACTS = Layout("acts", EVENTS.columns, ActRecord.key)
MEMBERS = Layout("members", _columns("name role public_key is_removed"), MemberRecord.key)

LAYOUTS = tuple(value for value in list(globals().values()) if isinstance(value, Layout))
"""All layouts above."""


def _job_row(r: JobRecord) -> Row:
    s = r.spec
    what = (s.account or r.owner, s.name, s.kind, s.queue, s.priority)
    times = (r.submitted_unix_s, r.ended_unix_s)
    held, deadline = (r.is_held, r.held_by), (r.is_late, r.is_risk_told)
    shown = (r.state, r.reason, *held, *deadline, r.cancelled_by)
    return (r.id, r.token, r.owner, *what, *times, *shown, _json(s))


def _gang_row(r: GangRecord) -> Row:
    tries = (r.phase, r.attempt, r.failures)
    why = (r.outcome, r.reason, r.not_before_unix_s, r.cause)
    return (r.job, r.gang, *tries, *why, r.is_held, r.losses, r.crashes)


def _attempt_row(r: AttemptRecord) -> Row:
    where = (r.node, _json(r.gpus), r.state)
    times = (r.placed_unix_s, r.started_unix_s, r.ended_unix_s)
    end = None if r.exit is None else _json(r.exit)
    process = (r.worker_public_key, r.pid, r.readopted, end)
    usage = msgspec.structs.astuple(r.usage)
    mig = None if r.mig is None else _json(r.mig)
    numbers = (r.job, r.task, r.attempt)
    return (*numbers, *where, *times, *usage, _json(r.metrics), *process, mig, r.note)


def _node_row(r: NodeRecord) -> Row:
    host = (r.boot_id, r.hostname, r.agent_version, r.cpus, r.memory_bytes, _json(r.gpus))
    marks = (r.is_observe, r.is_simulated, r.is_draining, r.drain_reason, r.is_off, r.off_reason)
    quarantine = (r.is_quarantined, r.quarantine_reason)
    return (r.node, r.incarnation, *host, *marks, r.is_spared, r.drained_unix_s, *quarantine)


def _book_row(r: BookRecord) -> Row:
    return (r.node, r.standing, r.acked_mw, _json(r.acked_caps_mw), _json(r.sent))


def _demand_row(r: DemandRecord) -> Row:
    *figures, bins, seen_unix_s = msgspec.structs.astuple(r)
    return (*figures, _json(bins), seen_unix_s)


def _reservation_row(r: ReservationRecord) -> Row:
    scope = (_json(r.nodes), _json(r.accounts), _json(r.users))
    return (r.name, r.phase, r.start_unix_s, r.end_unix_s, *scope, r.requester, r.why)


def _event_row(r: EventRecord | ActRecord) -> Row:
    e = r.event
    return (r.seq, e.unix_s, e.kind, e.actor, e.text, e.job, e.node, e.level)


_WRITE_JOB = JOBS.upsert()
RECOVERED = "UPDATE meta SET is_recovering = ?"

WRITERS: dict[type[Storable], tuple[str, Callable[[Any], Row]]] = {
    JobRecord: (_WRITE_JOB, _job_row),
    GangRecord: (GANGS.upsert(), _gang_row),
    AttemptRecord: (ATTEMPTS.upsert(), _attempt_row),
    NodeRecord: (NODES.upsert(), _node_row),
    BookRecord: (BOOKS.upsert(), _book_row),
    LimitRecord: (LIMITS.upsert(), msgspec.structs.astuple),
    DemandRecord: (DEMANDS.upsert(), _demand_row),
    RecoveryRecord: (RECOVERED, lambda r: (not r.is_over,)),
    MeterRecord: (METERS.upsert(), msgspec.structs.astuple),
    PlantRecord: (PLANTS.upsert(), msgspec.structs.astuple),
    UseRecord: (USES.upsert(), msgspec.structs.astuple),
    ReservationRecord: (RESERVATIONS.upsert(), _reservation_row),
    ProblemRecord: (PROBLEMS.upsert(), msgspec.structs.astuple),
    EventRecord: (EVENTS.upsert(), _event_row),
    ActRecord: (ACTS.upsert(), _event_row),
    MemberRecord: (MEMBERS.upsert(), msgspec.structs.astuple),
    DomainRollup: (ADD_DOMAIN_STEP, msgspec.structs.astuple),
    NodeRollup: (ADD_NODE_STEP, msgspec.structs.astuple),
    WebhookMark: (WEBHOOKS.upsert(), msgspec.structs.astuple),
}
"""Upsert statement and row converter of each record type."""


_STATE = _columns("ended_unix_s state reason is_held held_by is_late is_risk_told cancelled_by")

JOB_STATE_SET = {column: f"?{number}" for number, column in enumerate(_STATE, start=1)}
"""Columns that change for a job whose specification is already on disk."""

JOB_STATE_WHERE = f"id = ?{len(_STATE) + 1}"

JOB_STATE = (
    f"UPDATE jobs SET {', '.join(f'{c} = {value}' for c, value in JOB_STATE_SET.items())} "  # noqa: S608 - constants of this module
    f"WHERE {JOB_STATE_WHERE}"
)


def _job_state_row(r: JobRecord) -> Row:
    held, deadline = (r.is_held, r.held_by), (r.is_late, r.is_risk_told)
    return (r.ended_unix_s, r.state, r.reason, *held, *deadline, r.cancelled_by, r.id)


def by_statement(
    records: Sequence[Storable], specs: Mapping[JobId, JobSpec] = MappingProxyType({})
) -> dict[str, list[Row]]:
    """Group rows by the statement that writes them; the last row of a key wins.

    `specs`: job specifications on disk. If a job's specification is still that very object, only
    its state is written: an array's specification lists each index, and its state changes often.
    """
    groups: dict[str, list[Row]] = {}
    for record in records:
        if type(record) is not JobRecord:
            statement, row = WRITERS[type(record)]
            groups.setdefault(statement, []).append(row(record))
    for job in newest_jobs(records):
        if specs.get(job.id) is job.spec:
            groups.setdefault(JOB_STATE, []).append(_job_state_row(job))
        else:
            groups.setdefault(_WRITE_JOB, []).append(_job_row(job))
    return groups


def newest_jobs(records: Sequence[Storable]) -> list[JobRecord]:
    """The last record of each job."""
    return list({record.id: record for record in records if type(record) is JobRecord}.values())
