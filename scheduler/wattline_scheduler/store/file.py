"""Opens the database file: checks its owner and integrity, and sets how it is written."""

import os
import sqlite3
from pathlib import Path

from sqlite_utils import Database

from wattline_scheduler.store.digests import arm
from wattline_scheduler.store.durable import sync
from wattline_scheduler.store.errors import (
    StoreForeign,
    StoreOtherVersion,
    StoreUnwritable,
    damage,
    store_error,
)
from wattline_scheduler.store.schema import (
    APPLICATION_ID,
    SCHEMA_VERSION,
    create_tables,
    schema_version,
)
from wattline_scheduler.store.verify import BUSY_TIMEOUT_MS, Verification, damage_in, open_to_read

STATEMENTS_KEPT = 32
"""Prepared statements of the writer: as many as the loop uses. The hundred and more that a start
uses once would occupy the memory in which SQLite keeps short-lived values (lookaside), and a commit
of 300 rows would take 3 % longer."""


def make_directory(directory: Path) -> None:
    """Create the state directory, accessible to the scheduler's user only."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnwritable(
            f"cannot make the state directory {directory}: {error.strerror}. Create it, owned by "
            "the scheduler's user, on a writable file system."
        ) from error


def open_database(path: Path, verification: Verification) -> Database:
    """Open the database at `path`, or create it. Raises StoreError.

    On return it is verified, or `verification` runs concurrently.
    """
    _create_private(path)
    connection = sqlite3.connect(path, isolation_level=None, cached_statements=STATEMENTS_KEPT)
    try:
        db = Database(connection)
        _refuse_foreign(db, path)
        for pragma in (
            f"busy_timeout = {BUSY_TIMEOUT_MS}",
            "journal_mode = WAL",
            "synchronous = FULL",
            "temp_store = MEMORY",
        ):
            db.execute(f"PRAGMA {pragma}").fetchall()
        if not verification.is_beside:
            verification.conclude_on(connection)
        create_tables(db)
    except sqlite3.Error as error:
        connection.close()
        raise store_error(path, "opening", error) from error
    except UnicodeDecodeError as error:  # SQLite quotes the text that it cannot decode
        connection.close()
        raise damage(path, str(error)) from error
    except BaseException:
        connection.close()
        raise
    return db


def empty_image() -> bytes:
    """A database without records, in the format of `sqlite3.Connection.deserialize`."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        create_tables(Database(connection))
        return connection.serialize()
    finally:
        connection.close()


def open_reader(path: Path) -> Database:
    """Open a second, read-only connection, for reports beside the writer. Raises StoreError."""
    try:
        return Database(open_to_read(path))
    except sqlite3.Error as error:
        raise store_error(path, "reading", error) from error


def copy_database(path: Path, target: Path) -> None:
    """Write a consistent copy of a database in use, marked as a backup. Raises StoreError, OSError.

    The copy appears under its name only when it is complete and on disk.
    """
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    _create_private(part)
    source = open_reader(path)
    copy = sqlite3.connect(part, isolation_level=None)
    try:
        source.conn.backup(copy)
        _check_whole(Database(copy), path)
        mark_backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE").fetchall()
    except sqlite3.Error as error:
        raise store_error(target, "writing the backup", error) from error
    finally:
        copy.close()
        source.conn.close()
    sync(part)
    part.replace(target)
    sync(target.parent)


def private_copy(path: Path) -> sqlite3.Connection:
    """A consistent copy of a database in use, verified, deleted when it is closed.
    Raises StoreError."""
    source = open_reader(path)
    copy = sqlite3.connect("", isolation_level=None)  # a temporary database without a file name
    try:
        _refuse_foreign(source, path)
        source.conn.backup(copy)
        _check_whole(Database(copy), path)
        create_tables(Database(copy))
    except sqlite3.Error as error:
        copy.close()
        raise store_error(path, "reading", error) from error
    except BaseException:
        copy.close()
        raise
    finally:
        source.conn.close()
    return copy


def mark_backup(copy: sqlite3.Connection) -> None:
    """Mark a copy as a backup: it starts only with `--recover` (I8)."""
    arm(copy)
    copy.execute("UPDATE meta SET is_backup = 1")


def _create_private(path: Path) -> None:
    try:
        is_new = not path.exists()
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        if is_new:
            sync(path.parent)  # without its directory entry on disk, the file would be lost
    except OSError as error:
        raise StoreUnwritable(
            f"cannot write {path}: {error.strerror}. It must be writable by the scheduler's user."
        ) from error


def _refuse_foreign(db: Database, path: Path) -> None:
    is_empty = not db.table_names()
    if db.execute("PRAGMA application_id").fetchone() != (APPLICATION_ID,) and not is_empty:
        raise StoreForeign(
            f"{path} is a database, but not one of Wattline's. Move it elsewhere; if a backup is "
            "put in its place, start once with `wattline scheduler --recover`."
        )
    version = schema_version(db)
    if version != SCHEMA_VERSION and not (is_empty and version == 0):
        raise StoreOtherVersion(
            f"{path} has schema version {version}, this Wattline reads and writes version "
            f"{SCHEMA_VERSION} only. Start the Wattline that wrote it; or put a backup of version "
            f"{SCHEMA_VERSION} in its place, or leave the place empty to begin with nothing on "
            "record, and start once with `wattline scheduler --recover`."
        )


def _check_whole(db: Database, path: Path) -> None:
    """Verify every page and every record."""
    found = damage_in(db.conn)
    if found:
        raise damage(path, found)
