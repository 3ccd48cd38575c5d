"""Files of a folder that becomes a version, in the order of a manifest; hashed in threads.

A folder may hold a million files: they are found, hashed and written as lines in batches, and none
is kept in memory.
"""

import errno
import hashlib
import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple, Protocol, TypeVar

from wattline_runtime.data.manifest import (
    Entry,
    ManifestError,
    check_path,
    entry_line,
    head_line,
)

READ_BYTES = 1024 * 1024
BATCH_FILES = 256
BATCH_BYTES = 64 * 1024 * 1024
MAX_THREADS = 8
AHEAD = 3
"""Batches that wait for each thread."""

T = TypeVar("T")
R = TypeVar("R")

_PERMANENT = frozenset({errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG})
"""Errors of the file itself, which do not pass."""

_KINDS = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device",
    stat.S_IFIFO: "a pipe",
}


class TreeError(Exception):
    """A file that cannot be part of a data set; the text names it, and what to do."""


class TreeUnsettled(TreeError):
    """A file that cannot be read now, but may be later: its file system is away or has an error, or
    a program still writes to it."""


class Found(NamedTuple):
    """A file as it was when it was found."""

    path: str
    """In the manifest."""
    at: str
    """Where it is read; behind a link that stays inside the folder, the file itself."""
    size: int
    mtime_ns: int
    inode: tuple[int, int]


class Tree(NamedTuple):
    """A hashed folder."""

    files: int
    size: int
    sha256: str
    """Of its manifest."""
    head: bytes
    """The first line of it."""


class Files:
    """The files of a folder, or one file. Raises TreeError, as its methods do."""

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            self._is_folder = stat.S_ISDIR(root.stat().st_mode)
        except OSError as error:
            raise _read_error(str(root), error) from error
        self._inside = os.path.realpath(root)

    def __iter__(self) -> Iterator[Found]:
        """Each one, in the order of paths."""
        if not self._is_folder:
            yield self.at(self.root.name)
            return
        folders = [iter(_children(self._inside, ""))]
        while folders:
            child = next(folders[-1], None)
            if child is None:
                folders.pop()
            elif child.endswith("/"):
                folders.append(iter(_children(self._inside, child)))
            else:
                yield self.at(child)

    def at(self, path: str) -> Found:
        """The file of a path."""
        try:
            check_path(path)
        except ManifestError as error:
            raise TreeError(str(error)) from error
        if not self._is_folder:
            return _found(path, self._inside, os.lstat(self._inside))
        return _file(self._inside, path)


class Passed(Protocol):
    """Called from any thread with the files, and the bytes of files, that are done since."""

    def __call__(self, files: int, size: int, /) -> object: ...


def unseen(files: int, size: int) -> None:
    """A `Passed` that shows nothing."""


def hash_files(source: Files, lines: IO[bytes], passed: Passed = unseen) -> Tree:
    """Writes the lines of the manifest, without the first, and returns that. Raises TreeError,
    also for a file that changes meanwhile."""
    files = size = 0
    lines_of = partial(_lines_of, passed)
    try:
        for part, count, part_bytes in in_threads(lines_of, batches(source, _size_of)):
            lines.write(part)
            files, size = files + count, size + part_bytes
        head = head_line(files, size)
    except ManifestError as error:
        if not files:
            raise TreeError(f"{source.root} holds no file") from error
        raise TreeError(str(error)) from error
    lines.flush()
    lines.seek(0)
    digest = hashlib.sha256(head)
    while chunk := lines.read(READ_BYTES):
        digest.update(chunk)
    return Tree(files, size, digest.hexdigest(), head)


def in_threads(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Results in the order of the items; few items are taken ahead of the results."""
    count = min(MAX_THREADS, 2 * len(os.sched_getaffinity(0)))
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(count, "wattline-data")
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > AHEAD * count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def batches(items: Iterable[T], size_of: Callable[[T], int]) -> Iterator[list[T]]:
    """Files that one thread handles at a time."""
    batch: list[T] = []
    size = 0
    for one in items:
        batch.append(one)
        size += size_of(one)
        if len(batch) >= BATCH_FILES or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _size_of(found: Found) -> int:
    return found.size


def _lines_of(passed: Passed, batch: list[Found]) -> tuple[bytes, int, int]:
    lines = [entry_line(Entry(one.size, one.path, _sha256_of(one, passed))) for one in batch]
    return b"".join(lines), len(batch), sum(one.size for one in batch)


def _sha256_of(found: Found, passed: Passed) -> str:
    digest = hashlib.sha256()
    for chunk in read_unchanged(found):
        digest.update(chunk)
        passed(0, len(chunk))
    passed(1, 0)
    return digest.hexdigest()


def read_unchanged(found: Found) -> Iterator[bytes]:
    """The bytes of a file. Raises TreeError if it is not, or does not stay, as it was found."""
    try:
        # A pipe that has taken its place blocks nothing.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(found.at, flags)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            _check_same(found, os.fstat(descriptor))
            while chunk := file.read(READ_BYTES):
                yield chunk
            _check_same(found, os.fstat(descriptor))
    except OSError as error:
        raise _read_error(found.path, error) from error


def _read_error(path: str, error: OSError) -> TreeError:
    kind = TreeError if error.errno in _PERMANENT else TreeUnsettled
    return kind(f"{path}: {error.strerror or error}")


def _check_same(found: Found, now: os.stat_result) -> None:
    before = (found.size, found.mtime_ns, found.inode)
    if (now.st_size, now.st_mtime_ns, (now.st_dev, now.st_ino)) != before:
        text = f"{found.path} changed while it was added: no version was made"
        raise TreeUnsettled(f"{text}; add it when nothing writes to it")


def _children(root: str, folder: str) -> list[str]:
    """Paths of what is in a folder, in order; those of folders end with a slash."""
    try:
        with os.scandir(f"{root}/{folder}") as found:
            names = [
                f"{one.name}/" if one.is_dir(follow_symlinks=False) else one.name for one in found
            ]
    except OSError as error:
        raise _read_error(folder or root, error) from error
    names.sort()
    return [f"{folder}{name}" for name in names]


def _file(root: str, path: str) -> Found:
    at = f"{root}/{path}"
    try:
        found = os.lstat(at)
        if stat.S_ISLNK(found.st_mode):
            at = _target(at, path)
            if not at.startswith(f"{root}/"):
                raise TreeError(
                    f"{path} is a link to {at}, outside of {root}: only links inside the folder "
                    "are followed; copy the files (cp -RL)"
                )
            found = os.lstat(at)
    except OSError as error:
        raise _read_error(path, error) from error
    return _found(path, at, found)


def _target(at: str, path: str) -> str:
    """Where a link leads to."""
    try:
        return os.path.realpath(at, strict=True)
    except FileNotFoundError as error:
        raise TreeError(f"{path}: {error.strerror}") from error


def _found(path: str, at: str, found: os.stat_result) -> Found:
    if stat.S_ISDIR(found.st_mode):
        text = f"{path} is a link to a folder; link the files, or copy them (cp -RL)"
        raise TreeError(text)
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "no file")
        raise TreeError(f"{path} is {kind}: a data set holds files only; move it elsewhere")
    return Found(path, at, found.st_size, found.st_mtime_ns, (found.st_dev, found.st_ino))
