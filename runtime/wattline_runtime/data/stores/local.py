"""A store in a directory, which several users and hosts may share.

An object is written beside its place and renamed: a reader sees all of it or nothing. Folders get
the mode of the directory itself, and files its rights to read: `chmod 2775` makes a store that a
group shares, `chmod 0700` one that is private. The directory must exist: below a file system that
is not mounted nothing is written.
"""

import contextlib
import errno
import os
import re
import secrets
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from wattline_runtime.data.stores.interface import (
    CHUNK_BYTES,
    NotInStore,
    StoreAway,
    StoreError,
    StoreFull,
    StoreRefused,
)
from wattline_runtime.disk import DISK_FULL, sync_file_system, write_all

PARTS = "parts"
"""Folder of what is being written."""
PART_LASTS_S = 86_400.0
"""An older part is of a writer that was killed."""

_PART = re.compile(r"[0-9a-f]{24}")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""Opens a folder itself, not what a link in its place leads to: whoever may write in the directory
may put one there."""

_REFUSALS = (errno.EACCES, errno.EPERM, errno.EROFS)
_MISSING = (errno.ENOENT, errno.ENOTDIR)


class LocalStore:
    """A directory. Raises StoreAway if it does not exist."""

    def __init__(self, root: str) -> None:
        self._root = Path(root)
        try:
            found = self._root.stat()
        except OSError as error:
            raise self._error(error, "") from error
        if not stat.S_ISDIR(found.st_mode):
            raise StoreRefused(f"{root} is not a directory")
        self._folder_mode = stat.S_IMODE(found.st_mode)
        self._file_mode = self._folder_mode & 0o444

    @property
    def url(self) -> str:
        """Its path."""
        return str(self._root)

    def size(self, key: str) -> int | None:
        """Bytes of an object; None = there is none."""
        try:
            found = self._path(key).lstat()
        except OSError as error:
            if error.errno in _MISSING:
                self._check_there()
                return None
            raise self._error(error, key) from error
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def read(self, key: str) -> Iterator[bytes]:
        """The bytes of an object. Raises NotInStore at the first of them."""
        try:
            # Not blocked by a pipe that another user has put there.
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            descriptor = os.open(self._path(key), flags)
        except OSError as error:
            if error.errno in _MISSING:
                self._check_there()
                raise NotInStore(f"{self._root} has no {key}") from error
            raise self._error(error, key) from error
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise NotInStore(f"{self._root}: {key} is not a file")
            try:
                while chunk := file.read(CHUNK_BYTES):
                    yield chunk
            except OSError as error:
                raise self._error(error, key) from error

    def write(self, key: str, chunks: Iterable[bytes]) -> None:
        """Writes an object: others see all of it or nothing."""
        part = self._root / PARTS / secrets.token_hex(12)
        try:
            descriptor = self._create(part)
            try:
                with os.fdopen(descriptor, "wb", buffering=0) as file:
                    os.fchmod(descriptor, self._file_mode)
                    for chunk in chunks:
                        write_all(file.fileno(), chunk)
                self._place(part, self._path(key))
            except BaseException:
                part.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise self._error(error, key) from error

    def settle(self) -> None:
        """Returns when all that was written is durable."""
        try:
            sync_file_system(self._root)
            self._drop_old_parts()
        except OSError as error:
            raise self._error(error, "") from error

    def keys(self, prefix: str) -> Iterator[str]:
        """Keys below a prefix that ends with a slash."""
        self._check_there()
        folders = [prefix.rstrip("/")]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(self._path(folder)) as found:
                    entries = [(one.name, one.is_dir(follow_symlinks=False)) for one in found]
            except OSError as error:
                if error.errno in _MISSING:
                    continue
                raise self._error(error, folder) from error
            for name, is_folder in entries:
                if is_folder:
                    folders.append(f"{folder}/{name}")
                else:
                    yield f"{folder}/{name}"

    def delete(self, key: str) -> None:
        """Deletes an object, if there is one."""
        try:
            self._path(key).unlink()
        except OSError as error:
            if error.errno not in _MISSING:
                raise self._error(error, key) from error

    def _path(self, key: str) -> Path:
        if key.startswith("/") or any(part in ("", ".", "..") for part in key.split("/")):
            raise StoreError(f"{key!r} is no key")
        return self._root / key

    def _check_there(self) -> None:
        """Nothing is missing from a directory that is away."""
        if not self._root.is_dir():
            raise StoreAway(f"{self._root} is not there; is its file system mounted?")

    def _create(self, part: Path) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            return os.open(part, flags, self._file_mode)
        except FileNotFoundError:
            self._make_folder(part.parent)
            return os.open(part, flags, self._file_mode)

    def _place(self, part: Path, path: Path) -> None:
        try:
            part.rename(path)
        except FileNotFoundError:
            self._make_folder(path.parent)
            part.rename(path)

    def _make_folder(self, path: Path) -> None:
        """A folder and those above it, below the directory, with its mode."""
        self._check_there()
        if path.parent != self._root and not path.parent.is_dir():
            self._make_folder(path.parent)
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            with _opened(path) as folder:
                os.fchmod(folder, self._folder_mode)

    def _drop_old_parts(self) -> None:
        """Those of other users stay: their owners drop them."""
        oldest = time.time() - PART_LASTS_S
        missing = contextlib.suppress(FileNotFoundError, NotADirectoryError)
        with missing, _opened(self._root / PARTS) as folder:
            for name in filter(_PART.fullmatch, os.listdir(folder)):  # noqa: PTH208 - of a descriptor
                with contextlib.suppress(FileNotFoundError):
                    found = os.lstat(name, dir_fd=folder)
                    if found.st_uid == os.geteuid() and found.st_mtime < oldest:
                        os.unlink(name, dir_fd=folder)

    def _error(self, error: OSError, key: str) -> StoreError:
        where = f"{self._root}/{key}" if key else self._root
        text = f"{where}: {error.strerror or error}"
        if error.errno in _REFUSALS:
            return StoreRefused(f"{text}; the account {_account()} needs access to {self._root}")
        if error.errno in _MISSING:
            text = f"{self._root} is not there; make the directory, or mount its file system"
        return StoreFull(text) if error.errno in DISK_FULL else StoreAway(text)


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, _FOLDER)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _account() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"with uid {os.geteuid()}"
