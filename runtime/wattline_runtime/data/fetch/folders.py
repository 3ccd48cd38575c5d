"""Folders that become versions: read, compared and put by the child that writes into a store."""

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from wattline_protocol.text.toml_fields import DocumentError
from wattline_protocol.text.visible import visible_line
from wattline_runtime.data.add import NewVersion
from wattline_runtime.data.check_version import Before, Checked, check_version
from wattline_runtime.data.difference import difference
from wattline_runtime.data.fetch.code_of import code_in
from wattline_runtime.data.fetch.frames import MAX_TEXT_CHARS
from wattline_runtime.data.fetch.writing import Beat, FolderPut, FolderRead, PutFolder, ReadFolder
from wattline_runtime.data.manifest import ManifestError
from wattline_runtime.data.stores.interface import (
    NotInStore,
    Store,
    StoreAway,
    StoreError,
    StoreRefused,
)
from wattline_runtime.data.tree import TreeError
from wattline_runtime.data.verify import entries_of


@dataclass(slots=True)
class Progress:
    """How much of a folder is in its store, as its child says now and then."""

    done_bytes: int = 0
    total_bytes: int = 0

    def beat(self) -> Beat:
        """The next sign of life."""
        return Beat(min(self.done_bytes, self.total_bytes), self.total_bytes)


class Folders:
    """One that was read just before it is put is not read again. Methods raise `Failures`."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._read: tuple[str, NewVersion] | None = None
        self._checked: Checked | None = None

    def read(self, store: Store, wish: ReadFolder) -> FolderRead:
        """Hash a folder, and compare it with a version."""
        self._forget()
        if _is_gone(wish):
            raise NotInStore(f"{wish.folder} is not there")
        version = NewVersion(Path(wish.folder))
        self._read = wish.folder, version
        if wish.equals is None:
            self._checked = _checked(version, store, wish) if wish.is_checked else None
            verdict = None if self._checked is None else self._checked.verdict
            return FolderRead("", code_in(wish.workdir), verdict)
        if version.tree.sha256 == wish.equals:
            return FolderRead()
        try:
            found = difference(entries_of(store, wish.equals), version.entries())
        except NotInStore as error:
            raise StoreError(f"{store.url} has no manifest {wish.equals}") from error
        return FolderRead(visible_line(found.text)[:MAX_TEXT_CHARS])

    def put(self, store: Store, wish: PutFolder) -> FolderPut:
        """Publish a folder."""
        folder, version = self._read or ("", None)
        if version is None or folder != wish.folder:
            self._forget()
            version = NewVersion(Path(wish.folder))
            self._read = wish.folder, version
        try:
            if self._checked is not None:
                self._checked.put(store, version.tree.sha256)
            stored = version.put(_Counted(store, self._progress, version.tree.size))
            tree = version.tree
            return FolderPut(tree.sha256, tree.files, tree.size, stored.bytes)
        finally:
            self._forget()

    def _forget(self) -> None:
        if self._read is not None:
            self._read[1].close()
        self._read = self._checked = None


def _is_gone(wish: ReadFolder) -> bool:
    """Whether its folder was removed. If the file system is away, the directory of the attempt is
    missing too."""
    try:
        os.stat(wish.folder)  # noqa: PTH116 - `Path.exists` hides some errors
    except FileNotFoundError:
        return Path(wish.attempt).exists()
    except OSError:
        return False
    return False


def _checked(version: NewVersion, store: Store, wish: ReadFolder) -> Checked | None:
    """None too where the account has no access to the programs that read columns, and where the
    version before is not in its store as it was: that keeps no new one from being published."""
    if not (os.access(sys.executable, os.X_OK) and os.access(__file__, os.R_OK)):
        return None
    try:
        return check_version(version, store, Before(wish.before, wish.before_sha256 or ""))
    except (DocumentError, UnicodeDecodeError) as error:
        raise TreeError(str(error)) from error
    except (StoreAway, StoreRefused):
        raise
    except (StoreError, ManifestError):
        return None


class _Counted:
    """A store that counts what it has of the objects of a version."""

    def __init__(self, store: Store, progress: Progress, total_bytes: int) -> None:
        self._store, self._progress = store, progress
        progress.done_bytes, progress.total_bytes = 0, total_bytes
        self.url, self.read, self.settle = store.url, store.read, store.settle
        self.keys, self.delete = store.keys, store.delete

    def size(self, key: str) -> int | None:
        """As the store says."""
        found = self._store.size(key)
        self._progress.done_bytes += found or 0
        return found

    def write(self, key: str, chunks: Iterable[bytes]) -> None:
        """As the store does."""
        self._store.write(key, self._watched(chunks))

    def _watched(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._progress.done_bytes += len(chunk)
            yield chunk
