"""Copies checkpoints of a task into a store, the newest only; a half-copied one is never seen.

Each attempt of a job has a part of the store, so that a node that was given up disturbs no other.
A copy is a version of that part; its record `saves/…` comes last, and serves retention alone: what
a resume reads is on record elsewhere, by the hash of its manifest.
"""

import errno
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from wattline.task.directory import saves_in
from wattline.task.manifest import CheckpointError, check, read_header
from wattline_protocol.ids import UnixTime
from wattline_protocol.wire.task_reports.checkpoints import StoredCheckpoint
from wattline_runtime.data.add import NewVersion
from wattline_runtime.data.delete import MANIFESTS
from wattline_runtime.data.manifest import ManifestError, manifest_key, object_key
from wattline_runtime.data.stores.below import Below
from wattline_runtime.data.stores.interface import NotInStore, Store, StoreAway, StoreError
from wattline_runtime.data.tree import TreeError, TreeUnsettled
from wattline_runtime.data.verify import entries_of

KEPT = 3
"""Newest copies that stay, besides those of checkpoints that the task still has."""
SAVES, OBJECTS = "saves/", "objects/"
DAMAGED = (ValueError, KeyError, TypeError, RecursionError, CheckpointError, FileNotFoundError)
"""What a checkpoint raises that is damaged, or that its task removes now."""
MAX_RECORDS = 100_000
"""Bound on the records read of one attempt, however many its store lists."""

_PINNED = ".copying-"
_RECORD = re.compile(r"saves/([0-9]{8,20})-([0-9a-f]{64})")
_ATTEMPT = re.compile(r"[0-9]{1,20}")
_NO_LINKS = frozenset({errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP, errno.EMLINK})


class Local(NamedTuple):
    """A checkpoint in the directory of the task."""

    order: tuple[int, int]
    """Attempt that saved it, and number of the save."""
    step: int
    path: Path


class Copied(NamedTuple):
    """What the store has of a directory."""

    newest: StoredCheckpoint | None
    behind: int
    """Checkpoints of the directory that are newer."""
    left: str = ""
    """Why the newest was passed over, or older copies could not be removed."""


def copy_newest(
    store: Store, home: Path, attempt: int, recorded: StoredCheckpoint | None
) -> Copied:
    """Copies the newest intact checkpoint of a directory, if it is newer than the one on record.
    `store`: the part of the job. Raises StoreError, TreeError, OSError: then it copied none."""
    if not home.is_dir():
        if not home.parent.is_dir():
            raise StoreAway(f"{home.parent} is not there; is its file system mounted?")
        return Copied(recorded, 0)
    with _alone(home):
        _unpin(home)
        return _copy_newest(store, home, attempt, recorded)


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """No other copy of the directory is under way: it would take what this one writes for the rest
    of a killed copy. One whose fetch process was killed may last for some seconds."""
    folder = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(folder)
        raise StoreAway("an earlier copy of these checkpoints has not ended yet") from None
    try:
        yield
    finally:
        os.close(folder)


def _copy_newest(
    store: Store, home: Path, attempt: int, recorded: StoredCheckpoint | None
) -> Copied:
    here = _local(home, attempt)
    pending = [one for one in here if recorded is None or one.order > recorded.order]
    newest, left = _first_copy(Below(store, str(attempt)), home, attempt, pending)
    newest = newest or recorded
    if newest is not None and newest != recorded:
        try:
            _retain(store, attempt, {one.order[1] for one in here}, newest, recorded)
        except (StoreError, ManifestError) as error:  # keys may write, and not delete
            left = left or f"older copies stay: {error}"
    behind = sum(1 for one in here if newest is None or one.order > newest.order)
    return Copied(newest, behind, left)


def _first_copy(
    store: Store, home: Path, attempt: int, pending: list[Local]
) -> tuple[StoredCheckpoint | None, str]:
    """Of the newest one that is intact; and why a newer one is not."""
    why = ""
    for one in pending:
        try:
            return _copy(store, home, attempt, one), why
        except (TreeError, *DAMAGED) as error:  # or its task has removed it: the one before
            if isinstance(error, TreeUnsettled) and one.path.is_dir():
                raise  # it may be read later
            why = why or f"the checkpoint of step {one.step} is not copied: {error}"
    return None, why


def _local(home: Path, attempt: int) -> list[Local]:
    """Those of a directory, newest first. One without the attempt that saved it counts as of this
    one."""
    found = []
    for number, step, path in saves_in(home):
        with suppress(OSError, *DAMAGED):
            saved_by = read_header(path).attempt or attempt
            found.append(Local((saved_by, number), step, path))
    return sorted(found, reverse=True)


def _copy(store: Store, home: Path, attempt: int, one: Local) -> StoredCheckpoint:
    with _pinned(home, one.path) as folder:
        header = check(folder, one.step, verify=True)
        with NewVersion(folder) as version:
            version.put(store)
            tree = version.tree
    number = one.order[1]
    store.write(f"{SAVES}{number:08d}-{tree.sha256}", ())
    store.settle()
    saved = (one.order[0], one.step, tree.sha256, tree.size, UnixTime(header.saved_unix_s))
    return StoredCheckpoint(attempt, number, *saved)


# --- Pins ---------------------------------------------------------------------------------


@contextmanager
def _pinned(home: Path, path: Path) -> Iterator[Path]:
    """Its files under other names, which no retention of the task removes; where the file system
    has no links, the files themselves."""
    pin = home / f"{_PINNED}{os.getpid()}"
    try:
        _link_all(path, pin)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        yield path
    else:
        yield pin
    finally:
        shutil.rmtree(pin, ignore_errors=True)


def _link_all(path: Path, pin: Path) -> None:
    for root, _, names in os.walk(path):
        folder = pin / os.path.relpath(root, path)
        folder.mkdir(mode=0o700)
        for name in names:
            os.link(f"{root}/{name}", folder / name, follow_symlinks=False)


def _unpin(home: Path) -> None:
    """Removes what a killed copy has left."""
    for pin in home.glob(f"{_PINNED}*"):
        shutil.rmtree(pin, ignore_errors=True)


# --- Retention ----------------------------------------------------------------------------


def _retain(
    store: Store,
    attempt: int,
    here: set[int],
    newest: StoredCheckpoint,
    recorded: StoredCheckpoint | None,
) -> None:
    """Deletes copies that are not to stay, and what killed copies have left. Parts of earlier
    attempts leave once one of this attempt is on record."""
    part = Below(store, str(attempt))
    records = list(islice(_records(part), MAX_RECORDS))
    numbers = {number for number, _ in sorted(records)[-KEPT:]} | here
    kept = {sha256 for number, sha256 in records if number in numbers} | {newest.sha256}
    if recorded is not None:
        kept.add(recorded.sha256)
    for number, sha256 in records:
        if sha256 not in kept:
            part.delete(f"{SAVES}{number:08d}-{sha256}")
    used = {manifest_key(sha256) for sha256 in kept}
    for sha256 in kept:
        with suppress(NotInStore):  # the one on record is of another attempt
            used.update(object_key(entry.sha256) for entry in entries_of(part, sha256))
    for prefix in (MANIFESTS, OBJECTS):
        for key in part.keys(prefix):
            if key not in used:
                part.delete(key)
    if recorded is not None and recorded.stored_by == attempt:
        for key in store.keys(""):
            part_of = key.partition("/")[0]
            if _ATTEMPT.fullmatch(part_of) and int(part_of) < attempt:
                store.delete(key)


def _records(part: Store) -> Iterator[tuple[int, str]]:
    """Number of the save, and manifest."""
    for key in part.keys(SAVES):
        if found := _RECORD.fullmatch(key):
            yield int(found[1]), found[2]
