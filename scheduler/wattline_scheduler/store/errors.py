"""What can be wrong with the store, each with what to do about it.

Any of these stops the scheduler: it must not acknowledge what is not on disk.
"""

import sqlite3
from pathlib import Path


class StoreError(Exception):
    """The store cannot be used; the text says what happened and what would help."""


class StoreLocked(StoreError):
    """Another scheduler works on this state directory."""


class StoreFenced(StoreError):
    """Another scheduler raised the epoch: this one may not write any more (I8)."""


class StoreFull(StoreError):
    """No room, or a file size limit, on the state directory's file system."""


class StoreUnwritable(StoreError):
    """The state directory or the database cannot be written."""


class StoreCorrupt(StoreError):
    """The database is damaged."""


class StoreForeign(StoreError):
    """The file is a database of something else."""


class StoreTooNew(StoreError):
    """The database was written by a newer Wattline."""


class StoreIsBackup(StoreError):
    """The database is a backup and must be started with `--recover` (I8)."""


_FULL = {"SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE"}
_UNWRITABLE = ("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")
_CORRUPT = ("SQLITE_CORRUPT", "SQLITE_NOTADB")


def store_error(path: Path, doing: str, error: sqlite3.Error) -> StoreError:
    """The typed error for what SQLite reported while `doing` something to `path`."""
    name = getattr(error, "sqlite_errorname", None) or ""
    story = f"{doing} {path}: {error}"
    if name in _FULL:
        return StoreFull(
            f"{story} ({name}). Nothing unsaved was acknowledged. Free space on its file system "
            "(or raise the file size limit), then start the scheduler again."
        )
    if name.startswith(_UNWRITABLE):
        return StoreUnwritable(
            f"{story} ({name}). The state directory and its files must be writable by the "
            "scheduler's user; check owner, mode and whether the file system is read-only."
        )
    if name.startswith(_CORRUPT):
        return StoreCorrupt(
            f"{story} ({name}). The database is damaged. Move it aside, put a backup in its place "
            "and start with `wattline scheduler --recover`."
        )
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StoreLocked(
            f"{story} ({name}). Another program holds the database; end it and start again."
        )
    return StoreError(f"{story} ({name or type(error).__name__}). The scheduler cannot go on.")
