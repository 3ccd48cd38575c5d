"""The schema of a store, in one version: tables and indexes derive from `tables`.

Every table has a column `digest` over all its other ones (`digests`).
"""

from sqlite_utils import Database

from wattline_scheduler.store.digests import DIGEST, digest_of
from wattline_scheduler.store.record_table import JSON
from wattline_scheduler.store.tables import META, TABLES, Meta

APPLICATION_ID = 0x57415454
"""`WATT`: identifies the file to `file(1)` and to the check for foreign databases."""

SCHEMA_VERSION = 54
"""Version of the schema, in `user_version`: raised whenever a table or a JSON form changes."""

_INDEXES = (
    # A restart queries exactly these two sets (restart budget, DESIGN 10).
    "jobs_open ON jobs (id) WHERE ended_unix_s IS NULL",
    "jobs_ended ON jobs (ended_unix_s) WHERE ended_unix_s IS NOT NULL",
    "attempts_placed ON attempts (placed_unix_s)",
    "domain_rollups_start ON domain_rollups (start_unix_s)",
    "node_rollups_start ON node_rollups (start_unix_s)",
    "service_rollups_start ON service_rollups (start_unix_s)",
    "service_rollups_hours ON service_rollups (service, owner, start_unix_s, seconds, arrived)",
    "reservations_open ON reservations (name) WHERE phase <> 'over'",
    "problems_until ON problems (until_unix_s)",
    "notifications_open ON notifications (unix_s) WHERE outcome = ''",
    "acts_who ON acts (who, seq)",
    "runs_sizes ON runs (owner, ended_unix_s, size_bytes)",
)


_TYPES = {bool: int, JSON: str}


def schema_version(db: Database) -> int:
    """Version of a database's schema; 0 = none was created by Wattline."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def create_tables(db: Database) -> None:
    """Create all tables, in one transaction, unless the database has a schema."""
    if schema_version(db):
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        for table in TABLES:
            columns = {one.name: _TYPES.get(one.kind, one.kind) for one in table.columns}
            columns[DIGEST] = int
            filled = {one.name for one in table.columns if not one.is_optional}
            db.create_table(table.name, columns, pk=table.key, not_null=filled, strict=True)
        for index in _INDEXES:
            db.execute(f"CREATE INDEX {index}")
        owner = META.row(Meta())
        db.execute(META.upsert(DIGEST), [*owner, digest_of(owner)])
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.execute("COMMIT")
    except BaseException:
        db.conn.rollback()
        raise
