"""Brings one version into the cache: its manifest, the contents that are missing, then all of it.

Whatever a store sends is checked against the hash by which it was asked for, so a store, or the
account that reads it, can put nothing else into the cache that others read.
"""

import time
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import closing, suppress
from itertools import islice
from threading import Lock

from wattline_protocol.wire.agents.data_messages import DataToHold
from wattline_runtime.data.cache.folder import CacheFolder, WrongContent
from wattline_runtime.data.cache.index import Needs, cost_of
from wattline_runtime.data.fetch.frames import ReadFailed
from wattline_runtime.data.fetch.opening import Opening
from wattline_runtime.data.fetch.reader import StoreReader
from wattline_runtime.data.manifest import Entry, ManifestError, manifest_key, object_key

AHEAD = 16
"""Contents requested at a time."""


class Unwanted(Exception):
    """The version is no longer to be held."""


class Damaged(Exception):
    """The store has other bytes than the version: the text names the file."""


class Bringing:
    """One version on its way into the cache."""

    def __init__(
        self,
        folder: CacheFolder,
        lock: Lock,
        version: DataToHold,
        keep: Callable[[], AbstractSet[str]],
        passed: Callable[[int], None],
    ) -> None:
        """`lock`: guards the folder. `keep`: versions that may not leave now. `passed`: called with
        the size of each piece; may sleep, and raises Unwanted."""
        self._folder, self._lock, self._version = folder, lock, version
        self._keep, self._passed = keep, passed
        self.done_bytes = self.total_bytes = 0

    def run(self, opening: Opening) -> None:
        """Raises ReadFailed, TooLarge, Damaged, Unwanted, OSError."""
        name = self._version.manifest_sha256
        try:
            with closing(StoreReader(opening)) as reader:
                needs = self._admit(reader, name)
                self._bring_all(reader, self._missing(name))
            with self._lock:
                self._folder.publish(name, needs, time.time())
        finally:
            with self._lock:
                self._folder.index.release(name)

    def _admit(self, reader: StoreReader, name: str) -> Needs:
        needs = self._needs(reader, name)
        self.total_bytes = sum(needs.objects.values())
        with self._lock:
            self._folder.make_room(name, needs, self._keep())
            there = filter(self._folder.index.has_object, needs.objects)
            self.done_bytes = sum(needs.objects[digest] for digest in there)
        return needs

    def _needs(self, reader: StoreReader, name: str) -> Needs:
        """By the list of its files; one that the disk has damaged is fetched again."""
        if self._folder.index.has_manifest(name):
            with suppress(FileNotFoundError, ManifestError):
                return self._folder.needs_of(name)
            with self._lock:
                self._folder.remove_manifest(name)
        self._bring_manifest(reader, name)
        return self._folder.needs_of(name)

    def _bring_manifest(self, reader: StoreReader, name: str) -> None:
        key = manifest_key(name)
        size_bytes = reader.size(key)
        with self._lock:
            self._folder.make_room(name, Needs({}, cost_of(size_bytes)), self._keep())
        reader.request(key)
        try:
            self._folder.put_manifest(name, size_bytes, self._watched(reader.answer()))
        except WrongContent as error:
            raise Damaged(f"its manifest {error}") from error

    def _missing(self, name: str) -> Iterator[Entry]:
        """Files of contents that are not there, each content once."""
        asked: dict[str, int] = {}
        for file in self._folder.files_of(name):
            size = self._folder.index.size_of(bytes.fromhex(file.sha256))
            known = asked.get(file.sha256) if size is None else size
            if known is None:
                asked[file.sha256] = file.bytes
                yield file
            elif known != file.bytes:  # else contents that others read would count as damaged
                raise Damaged(f"{file.path} has {known} bytes, and {file.bytes} in its manifest")

    def _bring_all(self, reader: StoreReader, missing: Iterator[Entry]) -> None:
        asked: list[Entry] = []
        while True:
            for file in islice(missing, AHEAD - len(asked)):
                reader.request(object_key(file.sha256))
                asked.append(file)
            if not asked:
                return
            self._bring_object(reader, asked.pop(0))

    def _bring_object(self, reader: StoreReader, file: Entry) -> None:
        mark = self._version.manifest_sha256[:16]
        try:
            chunks = self._watched(reader.answer())
            written = self._folder.write_object(file, mark, chunks)
        except WrongContent as error:
            raise Damaged(f"{file.path} {error}") from error
        except ReadFailed as error:
            if error.why == "missing":
                raise Damaged(f"{file.path} is not in its store") from error
            raise
        with self._lock:
            self._folder.keep_object(file, written)

    def _watched(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._passed(len(chunk))
            self.done_bytes = min(self.done_bytes + len(chunk), self.total_bytes)
            yield chunk
