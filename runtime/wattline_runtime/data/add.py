"""Puts a folder into a store as a version: objects that are missing, then the manifest."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import NamedTuple, Self

from wattline_runtime.data.manifest import Entry, Manifest, manifest_key, object_key
from wattline_runtime.data.stores.interface import Store
from wattline_runtime.data.tree import (
    READ_BYTES,
    Files,
    Found,
    Passed,
    Tree,
    TreeUnsettled,
    batches,
    hash_files,
    in_threads,
    read_unchanged,
    unseen,
)


class Stored(NamedTuple):
    """What a store did not have before; bytes with those of the manifest."""

    objects: int
    bytes: int


class NewVersion:
    """A folder that was hashed, and can be put into a store. Its manifest is in a temporary file
    without a name. Raises TreeError."""

    def __init__(self, root: Path, passed: Passed = unseen) -> None:
        """`passed`: is called with what is hashed."""
        self._files = Files(root)
        self._lines = TemporaryFile()  # noqa: SIM115 - closed with this object
        try:
            self.tree: Tree = hash_files(self._files, self._lines, passed)
        except BaseException:
            self._lines.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """It can be put into no store any more."""
        self._lines.close()

    def put(self, store: Store, passed: Passed = unseen) -> Stored:
        """Returns when the version is in the store, and durable. `passed`: is called with what the
        store has. Raises TreeError, StoreError."""
        writing = _Writing(store, self._files, passed)
        objects = size = 0
        entries = batches(self.entries(), _bytes_of)
        for stored in in_threads(writing.put, entries):
            objects, size = objects + stored.objects, size + stored.bytes
        store.settle()
        manifest = manifest_key(self.tree.sha256)
        if store.size(manifest) is None:
            size += sum(map(len, self._chunks()))
        store.write(manifest, self._chunks())
        store.settle()
        return Stored(objects, size)

    def entries(self) -> Iterator[Entry]:
        """Its files. One reader at a time."""
        return iter(Manifest(self._chunks()))

    def found(self, is_wanted: Callable[[str], bool]) -> Iterator[Found]:
        """Its files whose paths are wanted. One reader at a time."""
        return (self._files.at(one.path) for one in self.entries() if is_wanted(one.path))

    def _chunks(self) -> Iterator[bytes]:
        """The whole manifest. One reader at a time."""
        yield self.tree.head
        self._lines.seek(0)
        while chunk := self._lines.read(READ_BYTES):
            yield chunk


def _bytes_of(entry: Entry) -> int:
    return entry.bytes


class _Writing:
    """Writes each object once, in several threads."""

    def __init__(self, store: Store, files: Files, passed: Passed) -> None:
        self._store, self._files, self._passed = store, files, passed
        self._lock = threading.Lock()
        self._begun: set[str] = set()
        """Digests that a thread looks at now: two files may have the same bytes."""

    def put(self, entries: list[Entry]) -> Stored:
        objects = size = 0
        for entry in entries:
            if self._begins(entry.sha256):
                try:
                    is_stored = self._put_one(entry)
                finally:
                    self._begun.discard(entry.sha256)
                if is_stored:
                    objects, size = objects + 1, size + entry.bytes
            else:
                self._passed(0, entry.bytes)
            self._passed(1, 0)
        return Stored(objects, size)

    def _begins(self, sha256: str) -> bool:
        with self._lock:
            is_new = sha256 not in self._begun
            self._begun.add(sha256)
            return is_new

    def _put_one(self, entry: Entry) -> bool:
        key = object_key(entry.sha256)
        # One of another size is what a loss of power has left of it.
        if self._store.size(key) == entry.bytes:
            self._passed(0, entry.bytes)
            return False
        chunks = _checked(self._files.at(entry.path), entry)
        self._store.write(key, _counted(chunks, self._passed))
        return True


def _counted(chunks: Iterator[bytes], passed: Passed) -> Iterator[bytes]:
    for chunk in chunks:
        yield chunk
        passed(0, len(chunk))


def _checked(found: Found, entry: Entry) -> Iterator[bytes]:
    """The bytes of a file, which must be those that were hashed."""
    digest = hashlib.sha256()
    for chunk in read_unchanged(found):
        digest.update(chunk)
        yield chunk
    if digest.hexdigest() != entry.sha256:
        text = f"{entry.path} changed while it was added: no version was made"
        raise TreeUnsettled(f"{text}; add it when nothing writes to it")
