"""Paths that match a pattern, and the files below each: bounded, and never through a link."""

from __future__ import annotations

import glob
import heapq
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath

MAX_MATCHES = 1_000
"""Of more matches the newest are read."""
MAX_FILES = 100_000
"""Of one checkpoint."""
MAX_STEP = 2**53
_LAST_NUMBER = re.compile(r"(\d+)\D*\Z")


class Unreadable(Exception):
    """It cannot be a checkpoint as it is now; the text says why."""


@dataclass(frozen=True)
class Entry:
    """A file, or a symbolic link, which is not followed."""

    name: str
    """Path in the checkpoint; empty: the checkpoint is this file."""
    bytes: int
    mtime_ns: int
    target: str = ""
    """Of a link."""


@dataclass(frozen=True)
class Found:
    """A match with at least one file."""

    path: str
    entries: tuple[Entry, ...]

    @cached_property
    def bytes(self) -> int:
        """Of all its files."""
        return sum(entry.bytes for entry in self.entries)

    @cached_property
    def newest_ns(self) -> int:
        """When it was last written."""
        return max(entry.mtime_ns for entry in self.entries)

    @cached_property
    def oldest_ns(self) -> int:
        """When the first of its files was complete."""
        return min(entry.mtime_ns for entry in self.entries)


def step_of(path: str) -> int:
    """The last number of its name, without a suffix; 0 = it has none."""
    name = PurePath(path).name
    number = _LAST_NUMBER.search(PurePath(name).stem) or _LAST_NUMBER.search(name)
    step = int(number[1][-20:]) if number else 0
    return step if step < MAX_STEP else 0


def matches(pattern: str) -> list[str]:
    """Paths that match, the newest `MAX_MATCHES` of them; a link is another name of something."""
    listed = glob.iglob(pattern)  # noqa: PTH207 - Path.glob takes no absolute pattern
    paths = (path for path in listed if not os.path.islink(path))  # noqa: PTH114 - raises nothing
    return heapq.nlargest(MAX_MATCHES, paths, key=_changed_ns)


def every_path(pattern: str) -> set[str]:
    """All that match, absolute."""
    return {os.path.abspath(path) for path in glob.iglob(pattern)}  # noqa: PTH100, PTH207 - as above


def _changed_ns(path: str) -> int:
    try:
        return os.lstat(path).st_mtime_ns
    except OSError:  # just removed
        return 0


def read(path: str) -> Found:
    """What lies at a path now. Raises Unreadable."""
    try:
        entries = tuple(sorted(_entries(path), key=lambda entry: entry.name))
    except OSError as error:
        raise Unreadable(f"{error.strerror}: {error.filename or path}") from error
    if not entries:
        raise Unreadable("it has no file")
    return Found(path, entries)


def _entries(path: str) -> Iterator[Entry]:
    found = os.lstat(path)
    if stat.S_ISREG(found.st_mode):
        yield Entry("", found.st_size, found.st_mtime_ns)
        return
    count, folders = 0, [""]
    while folders:
        folder = folders.pop()
        with os.scandir(f"{path}/{folder}") as listed:
            for one in listed:
                count += 1
                if count > MAX_FILES:
                    raise Unreadable(f"it has more than {MAX_FILES:,} files")
                name = f"{folder}{one.name}"
                if one.is_dir(follow_symlinks=False):
                    folders.append(f"{name}/")
                else:
                    yield _entry_of(one, name)


def _entry_of(one: os.DirEntry[str], name: str) -> Entry:
    found = one.stat(follow_symlinks=False)
    if one.is_symlink():
        return Entry(name, 0, found.st_mtime_ns, str(Path(one.path).readlink()))
    if not stat.S_ISREG(found.st_mode):
        raise Unreadable(f"{name} is no file")
    return Entry(name, found.st_size, found.st_mtime_ns)
