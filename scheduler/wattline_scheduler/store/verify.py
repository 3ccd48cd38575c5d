"""Verification of a store, in a separate process concurrent with the start.

Theory. With 100,000 jobs, reading every record takes a second and more, as long as loading the
newest of them. So a `Verification` begins before anything else is loaded, in a process that needs
only SQLite and MessagePack. It reads one snapshot and identifies it by instance and mark. Meanwhile
the start proceeds to the last step of its first transaction, which raises the epoch: that is
committed only after the verdict on the very same snapshot (`conclude`). Until then nothing is
changed, and the scheduler answers no request. Without a verdict (the process ended, or saw another
snapshot) the start verifies the store itself.

A small store is verified within the start: that takes less time than starting a process.
"""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Self

import msgspec

from wattline_scheduler.store.digests import damaged
from wattline_scheduler.store.errors import damage, store_error
from wattline_scheduler.store.marker import Mark, mark_of

DB_NAME = "wattline.db"

BUSY_TIMEOUT_MS = 5_000
"""Readers never block the writer under WAL; this covers an operator's own write transaction."""

ALONE_MIN_BYTES = 8 * 1024 * 1024
"""Size (database and log) from which a separate process is worth its start (0.1 s)."""

FULLY_VERIFIED_MAX_BYTES = 256 * 1024 * 1024
"""Up to this size a start also verifies every page, every index, the roll-ups and runs (0.4 s)."""

MEASURED = frozenset({"domain_rollups", "node_rollups", "service_rollups", "runs"})
"""Tables of a large store that only `--check` and backups verify."""

_NO_VERDICT = 1


class Snapshot(msgspec.Struct, frozen=True):
    """Identifies a state of a store: each run has its own instance, and each commit its mark."""

    schema: int
    instance: str
    mark: Mark

    @classmethod
    def of(cls, connection: sqlite3.Connection) -> Self | None:
        """The connection's snapshot; None = the row is missing. Raises sqlite3.Error."""
        (schema,) = connection.execute("PRAGMA user_version").fetchone()
        row = connection.execute("SELECT instance FROM meta").fetchone()
        return None if row is None else cls(schema, row[0], mark_of(connection))


class Verdict(msgspec.Struct, frozen=True):
    """Result of verifying a snapshot."""

    of: Snapshot
    damage: str
    """Empty = every page and record is as written."""


def damage_in(connection: sqlite3.Connection, *, fully: bool = True) -> str:
    """Description of the first damage found; empty = none. Raises sqlite3.Error,
    UnicodeDecodeError."""
    if fully:
        (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if found != "ok":
            return str(found)
    return damaged(connection, frozenset() if fully else MEASURED)


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open a read-only connection beside the writer. Raises sqlite3.Error."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}").fetchall()
    return connection


class Verification:
    """Verification of the store at `path` as found at a start; begins at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_concluded = False
        self._process: subprocess.Popen[bytes] | None = None
        if _size_bytes(path) >= ALONE_MIN_BYTES:
            command = [sys.executable, "-P", "-m", __name__, str(path)]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
            )

    @property
    def is_beside(self) -> bool:
        """Whether a separate process verifies."""
        return self._process is not None

    def conclude_on(self, connection: sqlite3.Connection) -> None:
        """Verify what the connection reads. Raises StoreError, sqlite3.Error."""
        self.close()
        self._refuse(damage_in(connection, fully=_is_small(self._path)))

    def conclude(self, snapshot: Snapshot | None) -> None:
        """Wait for the snapshot's verdict; only the first call can raise. Raises StoreError."""
        if self._is_concluded:
            return
        verdict = self._verdict()
        if verdict is None or verdict.of != snapshot:
            self._refuse(self._damage_found_here())
        else:
            self._refuse(verdict.damage)

    def _verdict(self) -> Verdict | None:
        process, self._process = self._process, None
        if process is None:
            return None
        output, _ = process.communicate()
        return msgspec.json.decode(output, type=Verdict) if process.returncode == 0 else None

    def _damage_found_here(self) -> str:
        """Verify by a new reader: changes of the start's transaction are not committed yet."""
        try:
            with closing(open_to_read(self._path)) as reader:
                return damage_in(reader, fully=_is_small(self._path))
        except sqlite3.Error as error:
            raise store_error(self._path, "opening", error) from error
        except UnicodeDecodeError as error:  # SQLite quotes the text that it cannot decode
            return str(error)

    def _refuse(self, found: str) -> None:
        self._is_concluded = True
        if found:
            raise damage(self._path, found)

    def close(self) -> None:
        """Stop the process, if any."""
        self._is_concluded = True
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


def _size_bytes(path: Path) -> int:
    """Size of database and log; a missing or inaccessible file counts as 0."""
    sizes = 0
    for file in (path, path.with_name(path.name + "-wal")):
        try:
            sizes += file.stat().st_size
        except OSError:
            continue  # opening the file reports the error
    return sizes


def _is_small(path: Path) -> bool:
    return path.stat().st_size <= FULLY_VERIFIED_MAX_BYTES


def main(path: Path) -> int:
    """Print the verdict as JSON; exit status 1 = no verdict, and the start verifies the store."""
    try:
        with closing(open_to_read(path)) as connection:
            if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
                return _NO_VERDICT  # a reader would block the writer
            connection.execute("BEGIN")
            snapshot = Snapshot.of(connection)
            if snapshot is None:
                return _NO_VERDICT
            verdict = Verdict(snapshot, damage_in(connection, fully=_is_small(path)))
    except (sqlite3.Error, UnicodeDecodeError):
        return _NO_VERDICT
    os.write(sys.stdout.fileno(), msgspec.json.encode(verdict))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
