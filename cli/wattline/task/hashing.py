"""Digests of the files of a checkpoint: threads hash them in pieces while the disk is busy.

The digest of a file is the hash of the digests of its pieces of 8 MiB, in their order. Pieces need
no order while they are hashed, so that also one large file is hashed by all threads. The hash is
BLAKE3 where its package is installed, since it takes a third of the time of SHA-256.
"""

from __future__ import annotations

import functools
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

PIECE_BYTES = 8 * 1024 * 1024
"""Part of the manifest's format."""
READ_BYTES = 1024 * 1024
MOST_THREADS = 4
"""A processor hashes 1 to 4 GB/s; more threads would take processors from the program."""


class Digest(Protocol):
    """What a hash of `hashlib` or BLAKE3 offers."""

    def update(self, data: bytes | memoryview, /) -> object:
        """More of the content."""

    def digest(self) -> bytes:
        """Of the content so far."""


@functools.cache
def hashes() -> Mapping[str, Callable[[], Digest]]:
    """By name, the fastest first: new checkpoints have that one."""
    try:
        from blake3 import blake3  # the environment of a user may lack it
    except ImportError:
        return {"sha256": hashlib.sha256}
    return {"blake3": blake3, "sha256": hashlib.sha256}


@dataclass(frozen=True)
class FileEntry:
    """One file, by its path in the checkpoint."""

    name: str
    bytes: int
    algorithm: str
    """One of `hashes` on the machine where it was saved."""
    digest: str
    """Over its pieces; in a manifest of format 1 or 2: of the file as a whole."""


@dataclass
class _File:
    """A file as far as it is hashed."""

    name: str
    size_bytes: int
    digests: list[bytes]
    """Of each piece; empty = not hashed yet."""


class Hashing:
    """Hashes files in threads. The caller copies, syncs or waits meanwhile."""

    def __init__(
        self, root: Path, names: Sequence[str], threads: int = 0, algorithm: str = ""
    ) -> None:
        """`threads`: to begin with; 0 = one for each processor, up to `MOST_THREADS`.

        `algorithm`: one of `hashes`; empty = the fastest.
        """
        self._root, self._names = root, names
        self._algorithm = algorithm or next(iter(hashes()))
        self._new_digest = hashes()[self._algorithm]
        self._files: list[_File] = []
        self._pieces = self._cut()
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._threads: list[threading.Thread] = []
        self.use_threads(threads or all_threads())

    def use_threads(self, count: int) -> None:
        """From now on so many, if there are fewer."""
        for _ in range(count - len(self._threads)):
            thread = threading.Thread(target=self._run, name="wattline-hash", daemon=True)
            self._threads.append(thread)
            thread.start()

    def entries(self) -> list[FileEntry]:
        """Those of all files, in the order of their names; raises what reading one raised."""
        for thread in self._threads:
            thread.join()
        if self._error is not None:
            raise self._error
        return [self._entry(one) for one in self._files]

    def _entry(self, file: _File) -> FileEntry:
        whole = self._new_digest()
        whole.update(b"".join(file.digests))
        return FileEntry(file.name, file.size_bytes, self._algorithm, whole.digest().hex())

    def _cut(self) -> Iterator[tuple[_File, int]]:
        """Each piece of each file, by its number."""
        for name in self._names:
            size = os.stat(f"{self._root}/{name}").st_size  # noqa: PTH116 - a hot path
            file = _File(name, size, [b""] * -(-size // PIECE_BYTES))
            self._files.append(file)
            for number in range(len(file.digests)):
                yield file, number

    def _run(self) -> None:
        buffer = memoryview(bytearray(READ_BYTES))
        try:
            while (piece := self._next()) is not None:
                file, number = piece
                digest = self._new_digest()
                _read_piece(f"{self._root}/{file.name}", number, buffer, digest)
                file.digests[number] = digest.digest()
        except BaseException as error:
            self._error = error

    def _next(self) -> tuple[_File, int] | None:
        with self._lock:
            return None if self._error is not None else next(self._pieces, None)


def all_threads() -> int:
    """One for each processor that this process may use, within bounds."""
    has_affinity = hasattr(os, "sched_getaffinity")
    processors = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return min(processors, MOST_THREADS)


def threads_beside_a_copy() -> int:
    """One processor is left to the thread that copies: the disk waits for it."""
    return max(1, all_threads() - 1)


def _read_piece(path: str, number: int, buffer: memoryview, digest: Digest) -> None:
    """Hashes one piece of a file. The buffer stays in the processor's cache."""
    begin = number * PIECE_BYTES
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a hot path
        file.seek(begin)
        left = PIECE_BYTES
        while left and (count := file.readinto(buffer[:left])):
            digest.update(buffer[:count])
            left -= count


def sha256_of(path: str) -> str:
    """Of a file's content as a whole, as manifests of formats 1 and 2 have it."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:  # noqa: PTH123 - a hot path
        while chunk := file.read(READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
