"""Errors of the store, each with a remedy.

Any of these stops the scheduler: it must not acknowledge what is not on disk.
"""

import sqlite3
from pathlib import Path


class StoreError(Exception):
    """The store cannot be used; the text states the cause and a remedy."""


class StoreLocked(StoreError):
    """Another scheduler uses this state directory."""


class StoreFenced(StoreError):
    """Another scheduler raised the epoch: this one must not write any more (I8)."""


class StoreFull(StoreError):
    """The state directory's file system is full, or a file size limit is reached."""


class StoreUnwritable(StoreError):
    """The state directory or the database cannot be written."""


class StoreCorrupt(StoreError):
    """The database is damaged."""


class StoreIncomplete(StoreError):
    """Acknowledged commits are missing, or their completeness cannot be verified."""


class StoreReplaced(StoreError):
    """A file of the store was deleted or replaced while it was in use."""


class StoreForeign(StoreError):
    """The file is a database of another application."""


class StoreOtherVersion(StoreError):
    """The database has another version of the schema."""


class StoreIsBackup(StoreError):
    """The database is a backup and must be started with `--recover` (I8)."""


_FULL = {"SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE"}
_UNWRITABLE = ("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")
_CORRUPT = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_IOERR_SHORT_READ")
_AT_START = ("opening", "loading")
"""Phases in which a failing statement means that the tables do not match the schema."""


def store_error(path: Path, doing: str, error: sqlite3.Error) -> StoreError:
    """The typed error for an error of SQLite while `doing` something to `path`."""
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
            "scheduler's user; check owner, mode and whether the file system is read-only. Where "
            "all is writable the file is damaged: put a backup in its place and start once with "
            "`wattline scheduler --recover`."
        )
    if name.startswith(_CORRUPT) or (name in ("SQLITE_ERROR", "") and doing in _AT_START):
        return damage(path, f"{doing}: {error}")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StoreLocked(
            f"{story} ({name}). Another program holds the database; end it and start again."
        )
    return StoreError(f"{story} ({name or type(error).__name__}). The scheduler cannot continue.")


def damage(path: Path, found: str) -> StoreCorrupt:
    """The error for a damaged database."""
    return StoreCorrupt(
        f"{path} is damaged: {found}. Move it aside, put a backup in its place and start once with "
        "`wattline scheduler --recover`."
    )
