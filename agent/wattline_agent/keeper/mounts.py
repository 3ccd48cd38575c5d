"""Finds the paths on file systems that may hang, without accessing those.

Theory of operation. Any access to a file system whose server is unreachable blocks, even a lookup
of a name. So a path is resolved name by name: mount points are taken from the kernel's mount table,
and only names on local file systems are read, as they may be symbolic links.
"""

import os
import re
import select
from pathlib import Path

TABLE = Path("/proc/self/mountinfo")
LOCAL = frozenset(
    {"btrfs", "erofs", "ext2", "ext3", "ext4", "f2fs", "overlay", "rootfs", "squashfs", "tmpfs"}
    | {"xfs", "zfs"}
)
"""Local file system types; any other may wait for a server or for a process (FUSE)."""
MAX_LINKS = 40
"""The kernel's own limit."""
MAX_STEPS = 256
"""Maximum of names in a path; a longer one is resolved by a process that may block."""
CHANGED = select.POLLERR | select.POLLPRI
_ESCAPED = re.compile(r"\\([0-7]{3})")


class NotLocal(Exception):
    """The path is on a file system that may hang, or is too long to be resolved."""


class Mounts:
    """The kernel's mount table, read again when it has changed."""

    def __init__(self, table: Path = TABLE, *, may_touch_root: bool = False) -> None:
        """`may_touch_root`: the caller depends on the root file system. Raises OSError."""
        self._may_touch_root = may_touch_root
        self._table = table.open("rb", buffering=0)
        self._poll = select.poll()
        self._poll.register(self._table, CHANGED)
        self._kinds = self._read()

    def close(self) -> None:
        """Close the mount table."""
        self._table.close()

    def covers(self, path: str) -> bool:
        """Whether the path is a mount point. The owner of a file may mount there (FUSE)."""
        self._refresh()
        return path in self._kinds

    def is_any_below(self, path: str) -> bool:
        """Whether the path or anything below it is a mount point."""
        self._refresh()
        return any(f"{place}/".startswith(f"{path}/") for place in self._kinds)

    def touch(self, path: str) -> None:
        """Check a path before it is accessed. Raises Elsewhere."""
        if not self.is_local(path):
            raise NotLocal(path)

    def is_local(self, path: str) -> bool:
        """Whether every part of the path is known to be on a local file system."""
        self._refresh()
        return self._walk(path)

    def _refresh(self) -> None:
        if any(events & CHANGED for _, events in self._poll.poll(0)):
            self._kinds = self._read()

    def _walk(self, path: str) -> bool:
        if not self._may_touch_root and self._kinds.get("/") not in LOCAL:
            return False
        at, links, steps = "", 0, 0
        names = path.split("/")[::-1]
        while names and links <= MAX_LINKS:
            name, steps = names.pop(), steps + 1
            if steps > MAX_STEPS:
                return False
            if name == "..":
                at = at.rpartition("/")[0]
            if name in ("", ".", ".."):
                continue
            step = f"{at}/{name}"
            kind = self._kinds.get(step)
            if kind is not None and kind not in LOCAL:
                return False
            target = _link(step) if kind is None else ""
            if target:
                links += 1
                names += target.split("/")[::-1]
                step = "" if target.startswith("/") else at
            at = step
        return True

    def _read(self) -> dict[str, str]:
        """File system type by mount point; of several at one mount point, the last."""
        self._table.seek(0)
        lines = os.fsdecode(self._table.read()).split("\n")
        rows = (line.partition(" - ") for line in lines if line)
        return {_plain(left.split(" ")[4]): right.split(" ")[0] for left, _, right in rows}


def _link(path: str) -> str:
    """Target of a symbolic link; empty = it is no link, or does not exist."""
    try:
        return os.readlink(path)  # noqa: PTH115 - a start is a hot path, and Path costs
    except OSError:
        return ""


def _plain(escaped: str) -> str:
    """A name of the mount table with its octal escapes (\040 for a space) decoded."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), escaped)
