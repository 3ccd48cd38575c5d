"""What a cache holds, by size: admission below its limit, and which versions leave first.

Pure: no file is touched. `folder` does on disk what these decide, and reports what is there.
Bytes count as a file system allocates them (`cost_of`), so that the sum is never below what the
disk has: a file takes whole blocks and two directory entries, that of the object and that of the
link.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

BLOCK_BYTES = 4096
ENTRY_BYTES = 1024
"""Directory entries of one file: its hash, and its path in a version."""
BASE_BYTES = 4 * 1024 * 1024
"""The cache's own directories, 256 for the objects among them."""

Digest = bytes
"""SHA-256 of a file, 32 bytes."""


def blocks(size_bytes: int) -> int:
    """Whole blocks of so many bytes."""
    return -(-size_bytes // BLOCK_BYTES) * BLOCK_BYTES


def cost_of(size_bytes: int) -> int:
    """What one file of this size takes."""
    return blocks(size_bytes) + ENTRY_BYTES


class TooLarge(Exception):
    """The version does not fit beside what may not leave."""

    def __init__(self, needed_bytes: int, free_bytes: int, limit_bytes: int) -> None:
        super().__init__(needed_bytes, free_bytes, limit_bytes)
        self.needed_bytes, self.free_bytes, self.limit_bytes = needed_bytes, free_bytes, limit_bytes


class Needs(NamedTuple):
    """What a version takes."""

    objects: Mapping[Digest, int]
    """Each file's content once, with its size."""
    own_bytes: int
    """Its directories, and entries of files whose content it has more than once."""


NOTHING = Needs({}, 0)


@dataclass(slots=True)
class _Version:
    own_bytes: int
    used_s: float


class Admission(NamedTuple):
    """What to remove before a version is fetched."""

    versions: tuple[str, ...]
    """The least recently used first."""
    manifests: tuple[str, ...]
    """Of versions that are not complete."""
    objects: tuple[Digest, ...]
    """Without a version, of fetches that were broken off."""


@dataclass(slots=True)
class _Fetch:
    needs: Needs
    reserved_bytes: int


@dataclass(slots=True)
class CacheIndex:
    """Versions, objects and bytes of one cache."""

    limit_bytes: int
    used_bytes: int = BASE_BYTES
    _fetching: dict[str, _Fetch] = field(default_factory=dict)
    """Versions that were admitted and are not complete."""
    _versions: dict[str, _Version] = field(default_factory=dict)
    _manifests: dict[str, int] = field(default_factory=dict)
    """Lists of files, with their sizes; that of a version is there before it is complete."""
    _size: dict[Digest, int] = field(default_factory=dict)
    _refs: dict[Digest, int] = field(default_factory=dict)
    """Versions that link each object; none: it has no entry."""

    @property
    def versions(self) -> Collection[str]:
        """Complete ones."""
        return self._versions.keys()

    @property
    def reserved_bytes(self) -> int:
        """For versions that are being fetched."""
        return sum(fetch.reserved_bytes for fetch in self._fetching.values())

    def has_object(self, digest: Digest) -> bool:
        """Whether it need not be fetched."""
        return digest in self._size

    def size_of(self, digest: Digest) -> int | None:
        """Bytes of an object; None = it is not there."""
        return self._size.get(digest)

    def has_manifest(self, version: str) -> bool:
        """Whether the list of its files is there."""
        return version in self._manifests

    def is_wanted(self, digest: Digest) -> bool:
        """Whether a version that is being fetched needs it."""
        return any(digest in fetch.needs.objects for fetch in self._fetching.values())

    def last_used_first(self) -> list[str]:
        """Complete versions, the most recently used first."""
        return self._oldest_first(())[::-1]

    def use(self, version: str, now_s: float) -> None:
        """It is used now: it leaves after those used before."""
        self._versions[version].used_s = now_s

    # --- Admission ----------------------------------------------------------------------

    def admit(
        self,
        wanted: str,
        needs: Needs,
        keep: Collection[str],
        objects_of: Callable[[str], Iterable[Digest]],
    ) -> Admission:
        """Reserve the bytes of the version `wanted`. `keep`: versions that may not leave. What the
        answer lists must be removed before a byte is written. Raises TooLarge."""
        self._fetching.pop(wanted, None)
        lacks = self._lacks(needs)
        free = self.limit_bytes - self.used_bytes - self.reserved_bytes
        leave: list[str] = []
        manifests: list[str] = []
        objects: list[Digest] = []
        if free < lacks:
            here = {wanted, *self._versions, *self._fetching}
            manifests = [version for version in self._manifests if version not in here]
            loose = (digest for digest in self._size if digest not in self._refs)
            objects = [d for d in loose if d not in needs.objects and not self.is_wanted(d)]
            free += sum(cost_of(self._manifests[version]) for version in manifests)
            free += sum(cost_of(self._size[digest]) for digest in objects)
        refs: dict[Digest, int] = {}
        for version in self._oldest_first(keep):
            if free >= lacks:
                break
            leave.append(version)
            free += self._versions[version].own_bytes + cost_of(self._manifests[version])
            for digest in objects_of(version):
                refs[digest] = refs.get(digest, self._refs[digest]) - 1
                if not (refs[digest] or digest in needs.objects or self.is_wanted(digest)):
                    free += cost_of(self._size[digest])
        if free < lacks:
            raise TooLarge(lacks, max(0, free), self.limit_bytes)
        self._fetching[wanted] = _Fetch(needs, lacks)
        return Admission(tuple(leave), tuple(manifests), tuple(objects))

    def _lacks(self, needs: Needs) -> int:
        missing = (size for digest, size in needs.objects.items() if digest not in self._size)
        return needs.own_bytes + sum(map(cost_of, missing))

    def _oldest_first(self, keep: Collection[str]) -> list[str]:
        """Versions that may leave, the least recently used first."""
        return sorted(
            (version for version in self._versions if version not in keep),
            key=lambda version: (self._versions[version].used_s, version),
        )

    def release(self, wanted: str) -> None:
        """Its fetch is over, complete or not: nothing is reserved for it."""
        self._fetching.pop(wanted, None)

    # --- What happened on disk ----------------------------------------------------------

    def manifest_there(self, version: str, size_bytes: int) -> None:
        """The list of a version's files is on disk."""
        self.manifest_gone(version)
        self._manifests[version] = size_bytes
        self._add(version, cost_of(size_bytes))

    def manifest_gone(self, version: str) -> None:
        """The list was removed."""
        if version in self._manifests:
            self.used_bytes -= cost_of(self._manifests.pop(version))

    def _add(self, version: str, count_bytes: int) -> None:
        self.used_bytes += count_bytes
        if (fetch := self._fetching.get(version)) is not None:
            fetch.reserved_bytes = max(0, fetch.reserved_bytes - count_bytes)

    def object_there(self, digest: Digest, size_bytes: int) -> None:
        """An object is on disk, its hash verified."""
        if digest in self._size:
            return
        self._size[digest] = size_bytes
        self.used_bytes += cost_of(size_bytes)
        for fetch in self._fetching.values():
            if digest in fetch.needs.objects:
                fetch.reserved_bytes = max(0, fetch.reserved_bytes - cost_of(size_bytes))

    def object_gone(self, digest: Digest) -> None:
        """An object was removed."""
        self.used_bytes -= cost_of(self._size.pop(digest))
        self._refs.pop(digest, None)

    def version_there(self, version: str, needs: Needs, used_s: float) -> None:
        """A version is complete on disk."""
        if version in self._versions:
            return
        for digest in needs.objects:
            self._refs[digest] = self._refs.get(digest, 0) + 1
        self._versions[version] = _Version(needs.own_bytes, used_s)
        self._add(version, needs.own_bytes)

    def version_gone(self, version: str, objects: Iterable[Digest]) -> list[Digest]:
        """A version was removed; returns the objects that nothing needs any more."""
        self.used_bytes -= self._versions.pop(version).own_bytes
        unlinked: list[Digest] = []
        for digest in objects:
            self._refs[digest] -= 1
            if not self._refs[digest]:
                del self._refs[digest]
                if not self.is_wanted(digest):
                    unlinked.append(digest)
        return unlinked
