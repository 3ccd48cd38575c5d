"""Which paths lead to file systems that may hang, found without touching those.

Theory of operation. Whoever asks a file system that is away waits for it, if only for a name in it.
So a path is walked name by name: what is a mount point stands in the kernel's table, and only names
on file systems of this host are read, for the links that they may be.
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
"""Whatever else there is may wait for a server, or for a process."""
MAX_LINKS = 40
"""As many as the kernel follows."""
MAX_STEPS = 256
"""Names on one way; a longer one is walked by whoever may take his time."""
CHANGED = select.POLLERR | select.POLLPRI
_ESCAPED = re.compile(r"\\([0-7]{3})")


class Elsewhere(Exception):
    """The path leads to a file system that may hang, or is too long to tell."""


class Mounts:
    """The table, read again when it has changed."""

    def __init__(self, table: Path = TABLE, *, may_touch_root: bool = False) -> None:
        """`may_touch_root`: of whoever hangs with the root file system anyway. Raises OSError."""
        self._may_touch_root = may_touch_root
        self._table = table.open("rb", buffering=0)
        self._poll = select.poll()
        self._poll.register(self._table, CHANGED)
        self._kinds = self._read()

    def close(self) -> None:
        """It is not asked any more."""
        self._table.close()

    def covers(self, path: str) -> bool:
        """Whether something is mounted right there. Whoever owns a file may do that (FUSE)."""
        self._follow()
        return path in self._kinds

    def is_any_below(self, path: str) -> bool:
        """Whether something is mounted there, or on anything in it."""
        self._follow()
        return any(f"{place}/".startswith(f"{path}/") for place in self._kinds)

    def touch(self, path: str) -> None:
        """To be called before this path is touched. Raises Elsewhere."""
        if not self.is_local(path):
            raise Elsewhere(path)

    def is_local(self, path: str) -> bool:
        """Whether all on the way to it lies on this host, and that can be told."""
        self._follow()
        return self._walk(path)

    def _follow(self) -> None:
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
        """Types of file systems by where they are mounted; of several at one place the last."""
        self._table.seek(0)
        lines = os.fsdecode(self._table.read()).split("\n")
        rows = (line.partition(" - ") for line in lines if line)
        return {_plain(left.split(" ")[4]): right.split(" ")[0] for left, _, right in rows}


def _link(path: str) -> str:
    """Where a link leads; empty = it is none, or there is nothing."""
    try:
        return os.readlink(path)  # noqa: PTH115 - a start is a hot path, and Path costs
    except OSError:
        return ""


def _plain(escaped: str) -> str:
    """A name of the table, in which what separates stands as \\040 and the like."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), escaped)
