"""Small versions of data sets: their files, their manifests, and a store that has them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from wattline_runtime.data.cache.folder import CacheFolder
from wattline_runtime.data.cache.index import Needs, TooLarge, cost_of
from wattline_runtime.data.manifest import (
    Entry,
    entry_line,
    head_line,
    manifest_key,
    object_key,
)


@dataclass(frozen=True)
class Tree:
    """A version: its files, and its manifest."""

    files: Mapping[str, bytes]
    manifest: bytes

    @property
    def sha256(self) -> str:
        """The version's identity."""
        return sha256(self.manifest).hexdigest()

    @property
    def bytes(self) -> int:
        return sum(map(len, self.files.values()))

    @property
    def entries(self) -> list[Entry]:
        return [
            Entry(len(data), path, sha256(data).hexdigest())
            for path, data in sorted(self.files.items())
        ]


def tree_of(files: Mapping[str, bytes]) -> Tree:
    """A version with these files."""
    lines = [
        entry_line(Entry(len(data), path, sha256(data).hexdigest()))
        for path, data in sorted(files.items())
    ]
    return Tree(files, head_line(len(files), sum(map(len, files.values()))) + b"".join(lines))


def put(store: Path, tree: Tree) -> None:
    """Lay a version into a local store."""
    for data in tree.files.values():
        _write(store / object_key(sha256(data).hexdigest()), data)
    _write(store / manifest_key(tree.sha256), tree.manifest)


def bring(folder: CacheFolder, tree: Tree, keep: set[str], now_s: float, *, how: str) -> bool:
    """Bring a version into a cache, or half of it; whether it is complete."""
    index, name = folder.index, tree.sha256
    if name in index.versions:
        folder.use(name, now_s)
        return True
    try:
        if not index.has_manifest(name):
            folder.make_room(name, Needs({}, cost_of(len(tree.manifest))), keep)
            folder.put_manifest(name, len(tree.manifest), [tree.manifest])
        needs = folder.needs_of(name)
        folder.make_room(name, needs, keep)
        missing = [one for one in tree.entries if not index.has_object(bytes.fromhex(one.sha256))]
        for entry in missing[: len(missing) // 2 if how == "half" else None]:
            written = folder.write_object(entry, "t", _chunks(tree.files[entry.path]))
            folder.keep_object(entry, written)
        if how == "all":
            folder.publish(name, needs, now_s)
        return how == "all"
    except TooLarge:
        return False
    finally:
        index.release(name)


def _chunks(data: bytes) -> Iterator[bytes]:
    yield from (data[at : at + 3000] for at in range(0, len(data), 3000))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
