"""The cache on disk: one folder, written by one process, crash-safe at every moment.

    objects/ab/abcdef…   contents, read-only, named by their SHA-256
    versions/MANIFEST/   a version: its files as hard links to objects
    manifests/MANIFEST   the list of its files
    tmp/                 what is not complete yet

An object is renamed into place once its hash is verified, and a version once all its files are
linked and on disk: a version that is visible is complete. What a killed process leaves in `tmp`
is removed by the next one before it writes. Complete objects and manifests without a version are
kept for the next try, unless the host has restarted since: then their last bytes may be missing. A
version whose manifest or objects a disk has lost is removed at the start, and fetched again.

Every object has the same time of modification. So a changed file is found without reading it, and
no list of times can be out of date.
"""

import fcntl
import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import suppress
from hashlib import file_digest, sha256
from pathlib import Path

from wattline_runtime.data.cache.index import (
    BLOCK_BYTES,
    ENTRY_BYTES,
    NOTHING,
    CacheIndex,
    Digest,
    Needs,
    TooLarge,
)
from wattline_runtime.data.manifest import Entry, Manifest, ManifestError
from wattline_runtime.disk import sync_file_system, sync_folder, write_all

MTIME_NS = 1_000_000_000
"""Of every object: one second after 1970."""
FILE_MODE, FOLDER_MODE, PASSED_MODE, OWN_MODE = 0o444, 0o755, 0o711, 0o700
CHUNK_BYTES = 1024 * 1024
FOLDER_BYTES = 128
"""Of memory for the name of a folder, besides its characters."""
MAX_FOLDERS_BYTES = 256 * 1024 * 1024
"""Of memory for the names of a version's folders: each file may be in hundreds of its own."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class CacheInUse(Exception):
    """Another process has this cache."""


class WrongContent(Exception):
    """Bytes that are not what their name says: the text says how they differ."""


class CacheFolder:
    """One cache, locked until `close`. Raises CacheInUse, OSError."""

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self.path = path
        self._objects, self._versions = path / "objects", path / "versions"
        self._manifests, self._tmp = path / "manifests", path / "tmp"
        path.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(path / "lock")
        path.chmod(PASSED_MODE)
        modes = {self._objects: OWN_MODE, self._versions: PASSED_MODE}
        modes |= {self._manifests: OWN_MODE, self._tmp: OWN_MODE}
        for folder, mode in modes.items():
            folder.mkdir(exist_ok=True)
            folder.chmod(mode)
        self.index = CacheIndex(limit_bytes)
        self._clear_tmp()
        self._load()

    def close(self) -> None:
        """Another process may use it."""
        os.close(self._lock)

    def version_path(self, version: str) -> Path:
        """Where tasks find it."""
        return self._versions / version

    # --- Reading ------------------------------------------------------------------------

    def files_of(self, version: str) -> Iterator[Entry]:
        """Files of a version whose manifest is here. Raises ManifestError."""
        with (self._manifests / version).open("rb") as lines:
            manifest = Manifest(iter(lambda: lines.read(CHUNK_BYTES), b""))
            yield from manifest
        if manifest.sha256 != version:
            raise ManifestError("its copy in the cache has another SHA-256")

    def needs_of(self, version: str) -> Needs:
        """What a version takes, by its manifest. Raises ManifestError."""
        objects: dict[Digest, int] = {}
        folders: set[str] = {""}
        count = taken = 0
        for file in self.files_of(version):
            objects[bytes.fromhex(file.sha256)] = file.bytes
            folder = file.path.rpartition("/")[0]
            while folder not in folders:
                folders.add(folder)
                taken += len(folder) + FOLDER_BYTES
                folder = folder.rpartition("/")[0]
            count += 1
            if taken > MAX_FOLDERS_BYTES:
                raise ManifestError("it has too many folders, or too deep ones")
        doubles = count - len(objects)
        return Needs(objects, BLOCK_BYTES * len(folders) + ENTRY_BYTES * (doubles + len(folders)))

    def damaged(self, version: str) -> list[Entry]:
        """Files of a version that are not as they were written; only those are read that have
        another size or time."""
        folder = self.version_path(version)
        return [file for file in self.files_of(version) if not _is_intact(folder / file.path, file)]

    # --- Writing ------------------------------------------------------------------------

    def make_room(self, wanted: str, needs: Needs, keep: Collection[str]) -> None:
        """Reserve the bytes of a version, and remove what must leave for it. Raises TooLarge."""
        admission = self.index.admit(wanted, needs, keep, self.objects_of)
        for version in admission.versions:
            self.remove(version)
        for version in admission.manifests:
            self.remove_manifest(version)
        for digest in admission.objects:
            self._remove_object(digest)

    def shrink(self, keep: Collection[str]) -> None:
        """The limit may be lower than that of the process before: remove what may leave."""
        with suppress(TooLarge):
            self.make_room("", NOTHING, keep)
        self.index.release("")

    def objects_of(self, version: str) -> set[Digest]:
        """Contents that a version links."""
        return {bytes.fromhex(file.sha256) for file in self.files_of(version)}

    def put_manifest(self, version: str, size_bytes: int, chunks: Iterable[bytes]) -> None:
        """Write the list of a version's files. Raises WrongContent."""
        temporary = self._tmp / f"{version}.manifest"
        _write(temporary, version, size_bytes, chunks)
        temporary.rename(self._manifests / version)
        self.index.manifest_there(version, size_bytes)

    def write_object(self, file: Entry, mark: str, chunks: Iterable[bytes]) -> Path:
        """Write one content beside the cache, for `keep_object`; never more bytes than it has.
        `mark`: distinguishes concurrent writers. Raises WrongContent."""
        temporary = self._tmp / f"{file.sha256}.{mark}"
        _write(temporary, file.sha256, file.bytes, chunks)
        return temporary

    def keep_object(self, file: Entry, temporary: Path) -> None:
        """Take what `write_object` wrote."""
        digest = bytes.fromhex(file.sha256)
        if self.index.has_object(digest):
            temporary.unlink()
            return
        path = self._object(file.sha256)
        path.parent.mkdir(exist_ok=True)
        temporary.rename(path)
        self.index.object_there(digest, file.bytes)

    def publish(self, version: str, needs: Needs, now_s: float) -> None:
        """Make a version visible, whose objects are all there."""
        temporary = self._tmp / f"{version}.version"
        try:
            self._link_files(version, temporary)
            sync_file_system(self._tmp)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        temporary.rename(self.version_path(version))
        self.index.version_there(version, needs, now_s)
        self.use(version, now_s)
        sync_folder(self._versions)

    def _link_files(self, version: str, root: Path) -> None:
        made = {""}
        _make_folder(root)
        for file in self.files_of(version):
            folder = file.path.rpartition("/")[0]
            if folder not in made:
                _make_folders(root, folder, made)
            os.link(self._object(file.sha256), f"{root}/{file.path}")

    def use(self, version: str, now_s: float) -> None:
        """It is used now."""
        self.index.use(version, now_s)
        os.utime(self._manifests / version, (now_s, now_s))

    def remove(self, version: str) -> None:
        """Remove a version, and the objects that nothing else needs."""
        objects = self.objects_of(version)
        gone = self._tmp / f"{version}.gone"
        self.version_path(version).rename(gone)
        shutil.rmtree(gone)
        for digest in self.index.version_gone(version, objects):
            self._remove_object(digest)
        self.remove_manifest(version)

    def drop_damaged(self, files: Iterable[Entry], keep: AbstractSet[str]) -> bool:
        """Remove these contents, with all versions that link them. False, and nothing is removed,
        where one of them is to be kept."""
        bad = {bytes.fromhex(file.sha256) for file in files}
        linked = [v for v in self.index.versions if not bad.isdisjoint(self.objects_of(v))]
        if not keep.isdisjoint(linked):
            return False
        for version in linked:
            self.remove(version)
        for digest in filter(self.index.has_object, bad):
            self._remove_object(digest)
        return True

    def remove_manifest(self, version: str) -> None:
        """Remove the list of a version that is not complete."""
        (self._manifests / version).unlink(missing_ok=True)
        self.index.manifest_gone(version)

    def _object(self, name: str) -> Path:
        return self._objects / name[:2] / name

    def _remove_object(self, digest: Digest) -> None:
        self._object(digest.hex()).unlink(missing_ok=True)
        self.index.object_gone(digest)

    # --- Start --------------------------------------------------------------------------

    def _clear_tmp(self) -> None:
        for left in self._tmp.iterdir():
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left)
            else:
                left.unlink()

    def _load(self) -> None:
        """Find what is there: versions link objects, so these are read first."""
        boot, noted = BOOT_ID.read_text(encoding="ascii"), self.path / "boot"
        is_same_boot = noted.is_file() and noted.read_text(encoding="ascii") == boot
        for entry in (entry for folder in self._objects.iterdir() for entry in os.scandir(folder)):
            seen = entry.stat(follow_symlinks=False)
            if is_same_boot or seen.st_nlink > 1:
                self.index.object_there(bytes.fromhex(entry.name), seen.st_size)
            else:
                Path(entry.path).unlink()
        for path in self._versions.iterdir():
            self._load_version(path)
        for manifest in self._manifests.iterdir():
            if is_same_boot or manifest.name in self.index.versions:
                self.index.manifest_there(manifest.name, manifest.stat().st_size)
            else:
                manifest.unlink()
        if not is_same_boot:
            (self._tmp / "boot").write_text(boot, encoding="ascii")
            (self._tmp / "boot").rename(noted)

    def _load_version(self, path: Path) -> None:
        version = path.name
        try:
            used_s, needs = (self._manifests / version).stat().st_mtime, self.needs_of(version)
        except (FileNotFoundError, ManifestError):
            self._discard(path)
            return
        if all(map(self.index.has_object, needs.objects)):
            self.index.version_there(version, needs, used_s)
        else:
            self._discard(path)

    def _discard(self, path: Path) -> None:
        """Remove what is no version any more; its objects stay for the next try."""
        gone = self._tmp / f"{path.name}.gone"
        path.rename(gone)
        shutil.rmtree(gone)
        (self._manifests / path.name).unlink(missing_ok=True)


def _locked(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise CacheInUse(f"{path.parent} is in use by another process") from error
    return descriptor


def _write(path: Path, name: str, size_bytes: int, chunks: Iterable[bytes]) -> None:
    """A file whose content has this hash and size; else there is none. Raises WrongContent."""
    try:
        _write_checked(path, name, size_bytes, chunks)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _write_checked(path: Path, name: str, size_bytes: int, chunks: Iterable[bytes]) -> None:
    digest, written = sha256(), 0
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o600), "wb", buffering=0) as out:
        for chunk in chunks:
            written += len(chunk)
            if written > size_bytes:
                raise WrongContent(f"has more than {size_bytes} bytes")
            digest.update(chunk)
            write_all(out.fileno(), chunk)
        if written < size_bytes:
            raise WrongContent(f"has {written} of {size_bytes} bytes")
        if digest.hexdigest() != name:
            raise WrongContent("has another SHA-256")
        os.fchmod(out.fileno(), FILE_MODE)
        os.utime(out.fileno(), ns=(MTIME_NS, MTIME_NS))


def _make_folder(path: Path) -> None:
    path.mkdir()
    path.chmod(FOLDER_MODE)


def _make_folders(root: Path, folder: str, made: set[str]) -> None:
    above = folder.rpartition("/")[0]
    if above not in made:
        _make_folders(root, above, made)
    _make_folder(root / folder)
    made.add(folder)


def _is_intact(path: Path, file: Entry) -> bool:
    try:
        seen = path.lstat()
        if seen.st_size != file.bytes:
            return False
        if seen.st_mtime_ns == MTIME_NS:
            return True
        with path.open("rb") as content:
            is_same = file_digest(content, "sha256").hexdigest() == file.sha256
        if is_same:
            os.utime(path, ns=(MTIME_NS, MTIME_NS))
    except OSError:
        return False
    return is_same
