"""cgroup v2 groups for tasks, as far as this host permits.

Where the unified hierarchy is mounted and our own group is writable, each task gets a group of its
own: `cgroup.kill`, `cgroup.freeze` and CPU accounting then cover whatever it forks. Limits also
need controllers; hybrid hosts (controllers bound to v1) have none, which is normal and reported in
`Site.words`. Without v2 everything falls back to signals and /proc.
"""

import os
from dataclasses import dataclass
from pathlib import Path

WANTED_CONTROLLERS = ("cpu", "memory", "pids")
MAX_PIDS = 32768
"""Processes and threads of one task: protects the host from a fork bomb."""
CPU_PERIOD_US = 100_000
READ_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Site:
    """Where task groups are created, and which features work there."""

    base: Path | None
    """Directory under which groups are created; None = no groups on this host."""
    controllers: frozenset[str]
    words: str
    """One sentence for `wattline agent --check` and the log."""


NO_SITE = Site(None, frozenset(), "cgroups are disabled: tasks are tracked by session and /proc")


def find_own_group(mountinfo: str, own: str) -> Path | None:
    """This process's directory in the unified hierarchy, from the texts of
    /proc/self/mountinfo and /proc/self/cgroup; None where it is not mounted or not visible."""
    paths = [line[3:] for line in own.splitlines() if line.startswith("0::/")]
    for line in mountinfo.split("\n"):
        left, _, right = line.partition(" - ")
        if not right.startswith("cgroup2 ") or not paths:
            continue
        root, mount = left.split()[3:5]
        if paths[0] == root or root == "/" or paths[0].startswith(root.rstrip("/") + "/"):
            inside = paths[0] if root == "/" else paths[0][len(root) :]
            return Path(mount + inside.rstrip("/")) if inside != "/" else Path(mount)
    return None


def discover(name: str) -> Site:
    """Create the group `name` for task groups, if this process may. Never raises.

    `name` must be unique on the host. Moves this process into a leaf group beside it where the
    kernel would otherwise refuse to delegate controllers (no process in an inner group).
    """
    own = find_own_group(text_of("/proc/self/mountinfo"), text_of("/proc/self/cgroup"))
    if own is None:
        return Site(None, frozenset(), "no cgroup v2: tasks are tracked by session and /proc")
    base = own / name
    try:
        base.mkdir(exist_ok=True)
    except OSError as error:
        return Site(
            None,
            frozenset(),
            f"cgroup v2 at {own} is not writable ({error.strerror}): tasks are tracked by session",
        )
    offered = set(text_of(f"{own}/cgroup.controllers").split())
    wanted = [c for c in WANTED_CONTROLLERS if c in offered]
    if wanted and _has_parent_processes_rule(own):
        _move_self(own / f"{name}-keeper")
    got = [c for c in wanted if _hand_down(own, c) and _hand_down(base, c)]
    return Site(base, frozenset(got), _describe(own, got))


def _describe(own: Path, got: list[str]) -> str:
    missing = [c for c in WANTED_CONTROLLERS if c not in got]
    if not missing:
        return f"cgroup v2 groups under {own} with limits for {', '.join(got)}"
    return (
        f"cgroup v2 groups under {own}, but no {', '.join(missing)} controller there: "
        "such limits of jobs are not enforced on this node"
    )


def text_of(path: str) -> str:
    """Content of a small file of /proc or a cgroup; empty where there is none. Names in it may be
    any bytes: users mount FUSE file systems anywhere."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        data = b""
        while chunk := os.read(file, READ_BYTES):
            data += chunk
    except OSError:  # the group was removed meanwhile
        return ""
    finally:
        os.close(file)
    return os.fsdecode(data)


def _has_parent_processes_rule(own: Path) -> bool:
    return (own / "cgroup.type").exists()  # every group but the root group has one


def _move_self(leaf: Path) -> None:
    try:
        leaf.mkdir(exist_ok=True)
        (leaf / "cgroup.procs").write_text("0")
    except OSError:
        return  # then delegation fails too, which `words` reports


def _hand_down(group: Path, controller: str) -> bool:
    try:
        (group / "cgroup.subtree_control").write_text(f"+{controller}")
    except OSError:
        return False
    return controller in text_of(f"{group}/cgroup.subtree_control").split()


class Group:
    """The cgroup of one attempt."""

    def __init__(self, path: str, *, has_memory: bool = True) -> None:
        """`has_memory`: whether its memory may be accounted."""
        self.path = path
        self._has_memory = has_memory

    @staticmethod
    def make(site: Site, key: str, cpus: int, memory_bytes: int) -> "Group | None":
        """A new group with its limits, or None where there are no groups. Raises OSError."""
        if site.base is None:
            return None
        group = Group(f"{site.base}/{key}", has_memory="memory" in site.controllers)
        try:
            os.mkdir(group.path)  # noqa: PTH102 - a start is a hot path, and Path costs
        except OSError:
            group._clear()
            os.makedirs(group.path)  # noqa: PTH103 - someone may have tidied the parent away
        if "pids" in site.controllers:
            group._write("pids.max", str(MAX_PIDS))
        if cpus and "cpu" in site.controllers:
            group._write("cpu.max", f"{cpus * CPU_PERIOD_US} {CPU_PERIOD_US}")
        if memory_bytes and "memory" in site.controllers:
            group._write("memory.max", str(memory_bytes))
            group._write("memory.oom.group", "1")
        return group

    def _clear(self) -> None:
        """Thaw a group that a dead keeper left frozen: it would freeze any process in it."""
        self.kill()
        self.freeze(False)
        self.remove()

    def _write(self, name: str, value: str) -> None:
        Path(self.path, name).write_text(value)

    def pids(self) -> frozenset[int]:
        """Processes in the group, zombies included."""
        return frozenset(int(word) for word in text_of(f"{self.path}/cgroup.procs").split())

    def is_populated(self) -> bool:
        """Whether any living process is in the group."""
        return "populated 1" in text_of(f"{self.path}/cgroup.events")

    def is_frozen(self) -> bool:
        """Whether every process has stopped after `freeze`."""
        return "frozen 1" in text_of(f"{self.path}/cgroup.events")

    def freeze(self, frozen: bool) -> None:
        """Freeze or thaw all processes; takes effect soon after, see `is_frozen`. No effect on a
        group that was removed."""
        try:
            self._write("cgroup.freeze", "1" if frozen else "0")
        except OSError:
            return

    def kill(self) -> None:
        """SIGKILL to every process in the group, forks in progress included."""
        try:
            self._write("cgroup.kill", "1")
        except OSError:  # before Linux 5.14, or the group was removed; signals follow in any case
            return

    def out_of_memory_kills(self) -> int:
        """OOM kills in this group; 0 where memory is not accounted."""
        return self._number("memory.events", "oom_kill") if self._has_memory else 0

    def cpu_s(self) -> float:
        """CPU time of all processes that ever ran in the group."""
        return self._number("cpu.stat", "usage_usec") / 1e6

    def peak_memory_bytes(self) -> int:
        """Peak memory use; 0 where memory is not accounted."""
        text = text_of(f"{self.path}/memory.peak").strip() if self._has_memory else ""
        return int(text) if text.isdigit() else 0

    def _number(self, name: str, key: str) -> int:
        for line in text_of(f"{self.path}/{name}").splitlines():
            word, _, value = line.partition(" ")
            if word == key:
                return int(value)
        return 0

    def remove(self) -> bool:
        """Remove the empty group, with groups that its processes made below it, as containers do;
        False when it is still in use."""
        if _removed(self.path):
            return True
        return all(_removed(folder) for folder, _, _ in os.walk(self.path, topdown=False))


def _removed(folder: str) -> bool:
    try:
        os.rmdir(folder)  # noqa: PTH106 - says what it does
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def remove_site(site: Site) -> None:
    """Remove the parent of the groups when the keeper ends; groups in use stay."""
    if site.base is not None:
        Group(str(site.base)).remove()
