"""Tables and migrations. Columns are typed, so that an operator can query with any SQLite tool.

Columns named after structs of ours (`gpus`, `spec`, `sent`, `exit`, `mig` …) hold JSON. Times are
Unix seconds, power milliwatts, energy millijoules. A released migration is never edited: a change
is a new one at the end of `MIGRATIONS`.

Every table has a column `digest` over all its other ones. A migration that adds a table or a column
need not handle it: `migrate` adds the column where it is missing, after each migration, and digests
all rows at the end; `digests.arm` covers every statement that writes a row later.
"""

from collections.abc import Callable

from sqlite_utils import Database

from wattline_scheduler.store.digests import DIGEST, digest_all, tables

APPLICATION_ID = 0x57415454
"""`WATT`: identifies the file to `file(1)` and to the check for foreign databases."""

Columns = dict[str, type]


def _table(
    db: Database, name: str, columns: Columns, pk: str | tuple[str, ...], optional: tuple[str, ...]
) -> None:
    db.create_table(
        name,
        columns,
        pk=pk,
        not_null=[column for column in columns if column not in optional],
        strict=True,
    )


def _records(db: Database) -> None:
    """The records of the core, and the owner of the store."""
    meta = {"id": int, "epoch": int, "instance": str, "is_backup": int}
    _table(db, "meta", {**meta, "job_floor": int, "event_floor": int}, "id", ())
    db.execute("INSERT INTO meta VALUES (1, 0, '', 0, 0, 0)")
    _jobs(db)
    _gangs(db)
    _attempts(db)
    _nodes(db)
    _power(db)
    _events(db)


def _jobs(db: Database) -> None:
    columns: Columns = {
        "id": int,
        "token": str,
        "owner": str,
        "account": str,
        "name": str,
        "kind": str,
        "queue": str,
        "priority": int,
        "submitted_unix_s": float,
        "ended_unix_s": float,
        "state": str,
        "reason": str,
        "is_held": int,
        "cancelled_by": str,
        "spec": str,
    }
    _table(db, "jobs", columns, "id", ("ended_unix_s",))
    # A restart queries exactly these two sets (restart budget, DESIGN 10).
    db.execute("CREATE INDEX jobs_open ON jobs (id) WHERE ended_unix_s IS NULL")
    db.execute("CREATE INDEX jobs_ended ON jobs (ended_unix_s) WHERE ended_unix_s IS NOT NULL")


def _gangs(db: Database) -> None:
    columns: Columns = {
        "job": int,
        "gang": int,
        "phase": str,
        "attempt": int,
        "failures": int,
        "outcome": str,
        "reason": str,
        "not_before_unix_s": float,
    }
    _table(db, "gangs", columns, ("job", "gang"), ("outcome",))


def _attempts(db: Database) -> None:
    columns: Columns = {
        "job": int,
        "task": int,
        "attempt": int,
        "node": str,
        "gpus": str,
        "state": str,
        "placed_unix_s": float,
        "started_unix_s": float,
        "ended_unix_s": float,
        "run_s": float,
        "gpu_s": float,
        "gpu_energy_mj": int,
        "node_energy_mj": int,
        "util_gpu_s": float,
        "cap_bound_gpu_s": float,
        "cpu_s": float,
        "max_rss_bytes": int,
        "metrics": str,
        "worker_public_key": str,
        "pid": int,
        "readopted": int,
        "exit": str,
    }
    optional = ("started_unix_s", "ended_unix_s", "pid", "exit")
    _table(db, "attempts", columns, ("job", "task", "attempt"), optional)
    db.execute("CREATE INDEX attempts_placed ON attempts (placed_unix_s)")


def _nodes(db: Database) -> None:
    columns: Columns = {
        "node": str,
        "incarnation": int,
        "boot_id": str,
        "hostname": str,
        "agent_version": str,
        "cpus": int,
        "memory_bytes": int,
        "gpus": str,
        "is_observe": int,
        "is_simulated": int,
        "is_draining": int,
        "drain_reason": str,
        "is_off": int,
        "off_reason": str,
    }
    _table(db, "nodes", columns, "node", ())


def _power(db: Database) -> None:
    books = {"node": str, "standing": str, "acked_mw": int, "acked_caps_mw": str, "sent": str}
    _table(db, "books", books, "node", ())
    sheds: Columns = {
        "domain": str,
        "budget_mw": int,
        "requested_fraction": float,
        "who": str,
        "reason": str,
        "since_unix_s": float,
        "until_unix_s": float,
    }
    _table(db, "sheds", sheds, "domain", ("budget_mw", "until_unix_s"))


def _events(db: Database) -> None:
    columns: Columns = {
        "seq": int,
        "unix_s": float,
        "kind": str,
        "who": str,
        "text": str,
        "job": int,
        "node": str,
        "level": str,
    }
    _table(db, "events", columns, "seq", ("job", "node"))


def _rollups(db: Database) -> None:
    """Roll-ups of power draw: per domain for the peaks, per node for the energy."""
    domains: Columns = {
        "domain": str,
        "start_unix_s": int,
        "seconds": float,
        "budget_mw": int,
        "committed_max_mw": int,
        "leased_max_mw": int,
        "measured_max_mw": int,
        "measured_mean_mw": int,
    }
    _table(db, "domain_rollups", domains, ("domain", "start_unix_s"), ())
    nodes: Columns = {
        "node": str,
        "start_unix_s": float,
        "source": str,
        "seconds": float,
        "node_energy_mj": int,
        "gpu_energy_mj": int,
        "node_peak_mw": int,
        "cap_bound_gpu_ms": int,
    }
    _table(db, "node_rollups", nodes, ("node", "start_unix_s", "source"), ())
    db.execute("ALTER TABLE meta ADD COLUMN folded_upto_s INTEGER NOT NULL DEFAULT 0")
    db.execute("CREATE INDEX domain_rollups_start ON domain_rollups (start_unix_s)")
    db.execute("CREATE INDEX node_rollups_start ON node_rollups (start_unix_s)")


def _limits(db: Database) -> None:
    """Sheds become one kind of limit."""
    columns: Columns = {
        "domain": str,
        "name": str,
        "source": str,
        "phase": str,
        "value_mw": int,
        "from_mw": int,
        "start_unix_s": float,
        "ramp_s": float,
        "end_unix_s": float,
        "release_s": float,
        "who": str,
        "why": str,
    }
    _table(db, "limits", columns, ("domain", "name"), ("from_mw", "end_unix_s"))
    db.execute(
        "INSERT INTO limits SELECT domain, 'shed', 'operator', 'in_force', budget_mw, budget_mw,"
        " since_unix_s, 0.0, until_unix_s, 0.0, who, reason FROM sheds WHERE budget_mw IS NOT NULL"
    )
    db.execute("DROP TABLE sheds")


def _demands(db: Database) -> None:
    """Observed power draw of each kind of job."""
    columns: Columns = {
        "slot": int,
        "fingerprint": str,
        "label": str,
        "mean_mw": int,
        "p95_mw": int,
        "p99_mw": int,
        "ramp_mw": int,
        "samples": int,
        "beyond": int,
        "swing_permille": int,
        "steepness_permille": int,
        "width_mw": int,
        "sum_mw": int,
        "bins": str,
        "seen_unix_s": float,
    }
    _table(db, "demands", columns, "slot", ())


def _sensing(db: Database) -> None:
    """Learned meter corrections, and cooling units as set by operators."""
    meters: Columns = {"domain": str, "held_mw": int, "factor_permille": int}
    _table(db, "meters", meters, "domain", ())
    plants: Columns = {
        "zone": str,
        "units_said": int,
        "who": str,
        "why": str,
        "since_unix_s": float,
    }
    _table(db, "plants", plants, "zone", ("units_said",))


def _webhooks(db: Database) -> None:
    """The newest event settled for each webhook."""
    _table(db, "webhooks", {"url": str, "settled_seq": int}, "url", ())


def _recoveries(db: Database) -> None:
    """Whether a restored backup is still recovering, and the floor of its numbers."""
    for column in ("is_recovering", "attempt_floor"):
        db.execute(f"ALTER TABLE meta ADD COLUMN {column} INTEGER NOT NULL DEFAULT 0")


def _spared(db: Database) -> None:
    """Whether out-of-band power-off of a node is suspended."""
    db.execute("ALTER TABLE nodes ADD COLUMN is_spared INTEGER NOT NULL DEFAULT 0")


def _control(db: Database) -> None:
    """Why an attempt is ending, which indices are held, and losses forgiven by a requeue."""
    db.execute("ALTER TABLE gangs ADD COLUMN cause TEXT")
    for column in ("is_held", "losses"):
        db.execute(f"ALTER TABLE gangs ADD COLUMN {column} INTEGER NOT NULL DEFAULT 0")


def _job_life(db: Database) -> None:
    """Consecutive failures of a gang soon after its start."""
    db.execute("ALTER TABLE gangs ADD COLUMN crashes INTEGER NOT NULL DEFAULT 0")


def _late(db: Database) -> None:
    """Whether a missed deadline of a job was reported."""
    db.execute("ALTER TABLE jobs ADD COLUMN is_late INTEGER NOT NULL DEFAULT 0")


def _drained(db: Database) -> None:
    """When the last task left a drained node."""
    db.execute("ALTER TABLE nodes ADD COLUMN drained_unix_s REAL")


def _uses(db: Database) -> None:
    """Usage of accounts and queues: for fair share, by day and by month."""
    columns: Columns = {
        "kind": str,
        "name": str,
        "as_of_unix_s": float,
        "gpu_s": float,
        "energy_mj": float,
        "day_unix_s": float,
        "day_energy_mj": float,
        "month_unix_s": float,
        "month_gpu_s": float,
        "month_energy_mj": float,
    }
    _table(db, "uses", columns, ("kind", "name"), ())


def _mig(db: Database) -> None:
    """MIG device of an attempt."""
    db.execute("ALTER TABLE attempts ADD COLUMN mig TEXT")


def _reservations(db: Database) -> None:
    """Reservations: nodes, accounts, users, start and end."""
    columns: Columns = {
        "name": str,
        "phase": str,
        "start_unix_s": float,
        "end_unix_s": float,
        "nodes": str,
        "accounts": str,
        "users": str,
        "who": str,
        "why": str,
    }
    _table(db, "reservations", columns, "name", ())
    db.execute("CREATE INDEX reservations_open ON reservations (name) WHERE phase <> 'over'")


def _risk_told(db: Database) -> None:
    """Whether a job's deadline risk (planned start too late) was reported."""
    db.execute("ALTER TABLE jobs ADD COLUMN is_risk_told INTEGER NOT NULL DEFAULT 0")


def _quota_told(db: Database) -> None:
    """Until when a quota was reported as exceeded, and its value at that time."""
    for column in ("told_until_unix_s", "told_limit"):
        db.execute(f"ALTER TABLE uses ADD COLUMN {column} REAL NOT NULL DEFAULT 0")


def _held_by(db: Database) -> None:
    """Operator that holds a job of another user."""
    db.execute("ALTER TABLE jobs ADD COLUMN held_by TEXT NOT NULL DEFAULT ''")


def _problems(db: Database) -> None:
    """Conditions with one start and one end; open ones survive a restart."""
    columns: Columns = {
        "number": int,
        "kind": str,
        "subject": str,
        "severity": str,
        "since_unix_s": float,
        "until_unix_s": float,
        "evidence": str,
        "occurrences": int,
        "node": str,
        "job": int,
    }
    _table(db, "problems", columns, "number", ("until_unix_s", "node", "job"))
    db.execute("CREATE INDEX problems_until ON problems (until_unix_s)")


def _digests(db: Database) -> None:
    """A digest per row, and the number of commits of the store."""
    db.execute("ALTER TABLE meta ADD COLUMN commits INTEGER NOT NULL DEFAULT 0")


def _notes(db: Database) -> None:
    """Note for the user about the start of an attempt."""
    db.execute("ALTER TABLE attempts ADD COLUMN note TEXT NOT NULL DEFAULT ''")


def _acts(db: Database) -> None:
    """Acts and refused acts of members, beside the event log, and the members of the allow-list."""
    columns: Columns = {
        "seq": int,
        "unix_s": float,
        "kind": str,
        "who": str,
        "text": str,
        "job": int,
        "node": str,
        "level": str,
    }
    _table(db, "acts", columns, "seq", ("job", "node"))
    db.execute("CREATE INDEX acts_who ON acts (who, seq)")
    members: Columns = {"name": str, "role": str, "public_key": str, "is_removed": int}
    _table(db, "members", members, "name", ())


def _quarantine(db: Database) -> None:
    """Whether a node is quarantined, and why."""
    db.execute("ALTER TABLE nodes ADD COLUMN is_quarantined INTEGER NOT NULL DEFAULT 0")
    db.execute("ALTER TABLE nodes ADD COLUMN quarantine_reason TEXT NOT NULL DEFAULT ''")


MIGRATIONS: tuple[Callable[[Database], None], ...] = (
    _records,
    _rollups,
    _limits,
    _demands,
    _sensing,
    _webhooks,
    _recoveries,
    _spared,
    _control,
    _job_life,
    _late,
    _drained,
    _uses,
    _mig,
    _reservations,
    _risk_told,
    _quota_told,
    _held_by,
    _problems,
    _digests,
    _notes,
    _acts,
    _quarantine,
)
"""In order; the database's `user_version` counts the applied ones."""

SCHEMA_VERSION = len(MIGRATIONS)

DIGESTS_SINCE = MIGRATIONS.index(_digests) + 1
"""First schema version whose rows carry digests."""


def schema_version(db: Database) -> int:
    """Number of migrations applied to the database."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def migrate(db: Database, *, upto: int = SCHEMA_VERSION) -> None:
    """Apply the missing migrations in one transaction, then digest all rows.

    A store that carries digests must be verified first: this also redigests damaged rows.
    """
    first = schema_version(db)
    if first >= upto:
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        for version in range(first, upto):
            MIGRATIONS[version](db)
            if version + 1 >= DIGESTS_SINCE:
                _add_digests(db)
        if upto >= DIGESTS_SINCE:
            digest_all(db.conn)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {upto}")
        db.execute("COMMIT")
    except BaseException:
        db.conn.rollback()
        raise


def _add_digests(db: Database) -> None:
    """Add the digest column to tables without one."""
    for table in sorted(set(db.table_names()) - set(tables(db.conn))):
        db.execute(f"ALTER TABLE {table} ADD COLUMN {DIGEST} BLOB")
