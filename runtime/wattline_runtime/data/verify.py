"""Verifies a version in its store: its manifest, and the size and SHA-256 of each object."""

import hashlib
from collections.abc import Iterator

import msgspec

from wattline_runtime.data.manifest import (
    Entry,
    Manifest,
    ManifestError,
    manifest_key,
    object_key,
)
from wattline_runtime.data.stores.interface import NotInStore, Store
from wattline_runtime.data.tree import batches, in_threads

MAX_PROBLEMS = 100


class Problem(msgspec.Struct, frozen=True):
    """A file that is not what its version says."""

    path: str
    problem: str


class Verified(msgspec.Struct, frozen=True):
    """Result of a verification."""

    ok: bool
    files: int
    bytes: int
    problems: tuple[Problem, ...] = ()
    """The first ones."""
    more: int = 0
    """Further ones."""


def read_manifest(store: Store, sha256: str) -> Manifest:
    """The manifest of a version; at its end `sha256` is to be compared. Raises ManifestError,
    StoreError."""
    return Manifest(store.read(manifest_key(sha256)))


def entries_of(store: Store, sha256: str) -> Iterator[Entry]:
    """Entries of a manifest that must have this digest. Raises ManifestError, StoreError."""
    manifest = read_manifest(store, sha256)
    yield from manifest
    if manifest.sha256 != sha256:
        raise ManifestError(f"{store.url}: the manifest {sha256} has another SHA-256")


def verify_version(store: Store, sha256: str) -> Verified:
    """Reads all of a version. Raises StoreError where the store cannot be read at all."""
    files = size = 0
    found: list[Problem] = []
    more = 0

    def check(entries: list[Entry]) -> tuple[int, int, list[Problem]]:
        problems = [one for entry in entries if (one := _problem(store, entry)) is not None]
        return len(entries), sum(entry.bytes for entry in entries), problems

    try:
        for count, part, problems in in_threads(check, batches(entries_of(store, sha256), _size)):
            files, size = files + count, size + part
            room = MAX_PROBLEMS - len(found)
            found, more = found + problems[:room], more + len(problems[room:])
    except (ManifestError, NotInStore) as error:
        found.insert(0, Problem("", str(error)))
    return Verified(not found, files, size, tuple(found), more)


def _size(entry: Entry) -> int:
    return entry.bytes


def _problem(store: Store, entry: Entry) -> Problem | None:
    digest, size = hashlib.sha256(), 0
    try:
        for chunk in store.read(object_key(entry.sha256)):
            digest.update(chunk)
            size += len(chunk)
    except NotInStore:
        return Problem(entry.path, f"object {entry.sha256} is missing")
    if size != entry.bytes:
        return Problem(entry.path, f"object has {size:,} bytes, not {entry.bytes:,}")
    if digest.hexdigest() != entry.sha256:
        return Problem(entry.path, f"object has SHA-256 {digest.hexdigest()}, not {entry.sha256}")
    return None
