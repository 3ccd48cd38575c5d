"""The directory of all batches of a gateway, which its processes share. Runs in threads."""

import os
import shutil
import time
from collections.abc import Iterable
from errno import EACCES
from pathlib import Path
from threading import Lock as Mutex
from typing import NamedTuple

import structlog

from wattline_runtime.disk import DISK_FULL
from wattline_runtime.gateway.batches import folder as f
from wattline_runtime.gateway.batches.records import Batch, Progress

log = structlog.get_logger()

ABANDONED_S = 60.0
"""An upload without a process is deleted after this time."""
MAX_OPEN = 16
"""Batches of a key that have not ended."""
MAX_KEPT = 1_000
"""Batches of a key, ended ones included."""
MAX_KEPT_BYTES = 8 * 1024**3
"""Inputs and results of a key."""


class Found(NamedTuple):
    """A batch, as of the last look at the disk."""

    batch: Batch
    progress: Progress


class Use(NamedTuple):
    """What the batches of a key take."""

    is_open: int
    kept: int
    size_bytes: int


class BatchDirectory:
    """All batches; what never changes is read once."""

    def __init__(self, root: Path, reserve_bytes: int) -> None:
        """While the disk is full it is made later. Raises OSError for one that cannot be used."""
        self.root = root
        self._reserve_bytes = reserve_bytes
        self._known: dict[str, Batch] = {}
        self._ended: dict[str, Progress] = {}
        self._damaged: set[str] = set()
        self._mutex = Mutex()
        self._is_made = False
        try:
            self.make()
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise OSError(error.errno, f"batch directory {root}: {error.strerror}") from error
            log.warning("batches_stopped", path=str(root), why=error.strerror)

    def make(self) -> None:
        """Make it once: later it may be missing because its disk is, which takes no batch then.
        Raises OSError, as while the disk is full."""
        if self._is_made:
            return
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(self.root, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(EACCES, "not readable and writable for this user")
        self._is_made = True

    def path(self, batch_id: str) -> Path:
        """Folder of a batch."""
        return self.root / batch_id

    def all(self) -> list[Found]:
        """Every batch, newest first."""
        with self._mutex:
            names = {one.name for one in self._entries() if f.ID.fullmatch(one.name)}
            for removed in self._known.keys() - names:
                self._forget(removed)
            found = [one for name in names if (one := self._read(name)) is not None]
        return sorted(found, key=lambda one: (-one.batch.created_unix_s, one.batch.id))

    def _entries(self) -> list[os.DirEntry[str]]:
        try:
            return list(os.scandir(self.root))
        except FileNotFoundError:
            if self._is_made:
                raise
            return []

    def find(self, batch_id: str) -> Found | None:
        """One batch; None: there is none of this ID."""
        if not f.ID.fullmatch(batch_id):
            return None
        with self._mutex:
            found = self._read(batch_id)
            if found is None or found.progress.is_open or (self.root / batch_id).is_dir():
                return found
            self._forget(batch_id)
            return None

    def spare_bytes(self) -> int:
        """Free space beyond the reserve."""
        return shutil.disk_usage(self.root).free - self._reserve_bytes

    def _read(self, name: str) -> Found | None:
        folder = self.root / name
        try:
            batch = self._known.get(name)
            if batch is None:
                batch = self._known[name] = _record_of(folder)
            progress = self._ended.get(name) or f.read_progress(folder)
        except FileNotFoundError:
            self._forget(name)
            return None
        except (OSError, ValueError) as error:
            self.note_damaged(name, error)
            return None
        if not progress.is_open:
            self._ended[name] = progress
        return Found(batch, progress)

    def note_damaged(self, name: str, error: Exception) -> None:
        """A batch cannot be read or run; others can."""
        if name not in self._damaged:
            self._damaged.add(name)
            log.error("batch_unreadable", id=name, detail=str(error))

    def _forget(self, name: str) -> None:
        self._known.pop(name, None)
        self._ended.pop(name, None)

    def sweep(self, retention_s: float) -> None:
        """Delete ended batches that were kept for long enough, and remains of uploads."""
        now_s = time.time()
        for found in self.all():
            progress = found.progress
            if not progress.is_open and progress.ended_unix_s + retention_s < now_s:
                f.remove(self.path(found.batch.id))
                log.info("batch_deleted", id=found.batch.id, why="retention")
        for one in self._entries():
            if one.name.startswith(f.OLD):
                f.remove(Path(one.path))
            elif one.name.startswith(f.NEW):
                self._sweep_upload(Path(one.path), now_s)

    @staticmethod
    def _sweep_upload(folder: Path, now_s: float) -> None:
        """One whose process has it is left alone."""
        try:
            if folder.stat().st_mtime > now_s - ABANDONED_S:
                return
            f.Lock(folder).release()
        except OSError:
            return
        f.remove(folder)


def use_of(key: str, found: Iterable[Found]) -> Use:
    """What the batches of a key take, of all that there are."""
    own = [one for one in found if one.batch.key == key]
    size_bytes = sum(one.batch.input_bytes + one.progress.output_bytes for one in own)
    return Use(sum(one.progress.is_open for one in own), len(own), size_bytes)


def _record_of(folder: Path) -> Batch:
    batch = f.read_record(folder, "batch.json", Batch)
    if batch.id != folder.name:
        raise ValueError(f"{folder / 'batch.json'}: it is of another batch")
    return batch
