"""Finds the processes of an attempt through /proc.

Theory of operation. The keeper is a child subreaper: whatever a task forks, however it detaches,
stays below the keeper, because an orphan's new parent is the keeper. So a process belongs to an
attempt when it descends from the attempt's first process, or from an orphan (a child of the keeper
that it did not start itself) that carries the attempt's session, marker or cgroup. After the
keeper's death that tree is lost; session, marker and cgroup still identify the processes.
"""

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from wattline_agent.keeper.spec import MARKER

READ_BYTES = 64 * 1024
MAX_PROC_BYTES = 2 * 1024 * 1024
"""Longest possible environment; every other file read here is far smaller."""
CHILDREN_TRIES = 4
_CAUGHT = re.compile(rb"^SigCgt:\s*([0-9a-f]+)", re.MULTILINE)
CLOCK_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Process(NamedTuple):
    """The fields of /proc/PID/stat that are used here."""

    pid: int
    parent: int
    session: int
    state: str
    cpu_ticks: int
    """Of itself and of the children it has waited for."""
    rss_pages: int

    @property
    def is_dead(self) -> bool:
        """Ended but not reaped yet."""
        return self.state in "ZX"

    @property
    def is_stopped(self) -> bool:
        """By SIGSTOP (a traced process counts too)."""
        return self.state in "Tt"


@dataclass(frozen=True, slots=True)
class Identity:
    """What identifies the processes of one attempt."""

    root: int
    """The first process, which is also the session; 0 = unknown."""
    marker: bytes
    """`NAME=value` in their environment."""
    cgroup_pids: frozenset[int] = frozenset()


def marker_of(task_dir: str) -> bytes:
    """What the environment of every process of the attempt in `task_dir` contains."""
    return f"{MARKER}={task_dir}".encode()


def read_proc(path: str, most_bytes: int = MAX_PROC_BYTES) -> bytes | None:
    """Read a file of /proc without the layers of `open`: a scan of a busy host reads thousands.
    None when the process has ended, or /proc hides it from this user (hidepid=1 of proc(5))."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    try:
        data = b""
        while chunk := os.read(descriptor, READ_BYTES):
            data += chunk
            if len(data) >= most_bytes:
                break
    except ProcessLookupError:
        return None
    finally:
        os.close(descriptor)
    return data


def read_process(pid: int) -> Process | None:
    """The process, or None when it has ended."""
    data = read_proc(f"/proc/{pid}/stat")
    if data is None:
        return None
    fields = data[data.rindex(b")") + 2 :].split()
    ticks = sum(map(int, fields[11:15]))
    return Process(pid, int(fields[1]), int(fields[3]), fields[0].decode(), ticks, int(fields[21]))


def all_processes() -> dict[int, Process]:
    """Every process of this host that still exists when it is read."""
    found = (read_process(int(name)) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208
    return {process.pid: process for process in found if process is not None}


def children_of(pid: int) -> list[int] | None:
    """Direct children of a single-threaded process; None where the kernel does not list them, or
    they change faster than they can be read."""
    path = f"/proc/{pid}/task/{pid}/children"
    first = read_proc(path)
    for _ in range(CHILDREN_TRIES):
        again = read_proc(path)  # one may lack entries while a child exits
        if again is None or again == first:
            break
        first = again
    else:
        return None
    return None if again is None else [int(word) for word in again.split()]


def has_marker(pid: int, marker: bytes) -> bool:
    """Whether the environment with which `pid` was executed contains `marker`."""
    return marker in marks_of(pid)


def marks_of(pid: int) -> frozenset[bytes]:
    """What `marker_of` is compared with: of the environment with which it was executed. None are
    readable of another user's process, which is not one of ours."""
    return marks_in(read_proc(f"/proc/{pid}/environ") or b"")


def marks_in(environ: bytes) -> frozenset[bytes]:
    """The first `NAME=value` of the marker. Found without splitting: an environment may have 2 MiB,
    in hundreds of thousands of words, of each of thousands of processes."""
    found = (b"\0" + environ).partition(b"\0" + MARKER.encode() + b"=")
    value, _, _ = found[2].partition(b"\0")
    return frozenset((f"{MARKER}=".encode() + value,)) if found[1] else frozenset()


def descendants(table: Mapping[int, Process], tops: Iterable[int]) -> list[int]:
    """`tops` that exist in `table` and all their descendants; of one top, parents first."""
    return _below(_children(table), [pid for pid in tops if pid in table], set())


def _children(table: Mapping[int, Process]) -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process.pid)
    return children


def _below(children: Mapping[int, Sequence[int]], tops: Iterable[int], seen: set[int]) -> list[int]:
    """`tops` and all below them, without what was seen before, to which they are added."""
    found, waiting = list[int](), list(tops)
    while waiting:
        pid = waiting.pop()
        if pid not in seen:
            seen.add(pid)
            found.append(pid)
            waiting.extend(children.get(pid, ()))
    return found


def parents_first(processes: Iterable[Process]) -> list[Process]:
    """Order for signals: a process to be killed must not see a child's end first. A shell would
    write "Killed" to the log, or continue with its next command."""
    table = {process.pid: process for process in processes}
    tops = [pid for pid, process in table.items() if process.parent not in table]
    return [table[pid] for pid in descendants(table, [*table, *tops])]


def catches(pid: int, number: int) -> bool:
    """Whether the process has a handler for the signal."""
    status = read_proc(f"/proc/{pid}/status") or b""  # its name may be cut within a character
    found = _CAUGHT.search(status)
    return found is not None and bool(int(found[1], 16) >> (number - 1) & 1)


def topmost(
    processes: Iterable[Process], number: int, is_caught: Callable[[int, int], bool] = catches
) -> list[Process]:
    """Of processes in the order of `parents_first`: those that handle the signal, and have no
    ancestor among them that does."""
    found: list[Process] = []
    covered: set[int] = set()
    for process in processes:
        if process.parent in covered:
            covered.add(process.pid)
        elif is_caught(process.pid, number):
            covered.add(process.pid)
            found.append(process)
    return found


def claimed(
    table: dict[int, Process],
    tasks: dict[str, Identity],
    candidates: Iterable[int],
    marks: Callable[[int], Collection[bytes]] = marks_of,
) -> dict[int, str]:
    """Which of the `candidates` (tops of trees) belong to which attempt, by key."""
    by_root = {identity.root: key for key, identity in tasks.items() if identity.root}
    # Before what a process declares: another user's could claim to be of this attempt.
    by_group = {pid: key for key, identity in tasks.items() for pid in identity.cgroup_pids}
    owners: dict[int, str] = {}
    for pid in candidates:
        process = table.get(pid)
        if process is None:
            continue
        key = by_root.get(pid) or by_root.get(process.session) or by_group.get(pid)
        if key is None:
            words = marks(pid)
            key = next((k for k, identity in tasks.items() if identity.marker in words), None)
        if key is not None:
            owners[pid] = key
    return owners


def members(
    table: dict[int, Process],
    tasks: dict[str, Identity],
    candidates: Iterable[int],
    marks: Callable[[int], Collection[bytes]] = marks_of,
) -> dict[str, list[Process]]:
    """Living processes per attempt: the claimed candidates and all their descendants. Linear: a
    task may leave as many orphans as it has processes."""
    owners, children = claimed(table, tasks, candidates, marks), _children(table)
    found: dict[str, list[Process]] = {key: [] for key in tasks}
    seen: set[int] = set()
    for top, key in owners.items():
        below = (table[pid] for pid in _below(children, [top], seen))
        found[key] += [process for process in below if not process.is_dead]
    return found


def living_below(table: dict[int, Process], tops: Iterable[int]) -> list[Process]:
    """The processes `tops` and their descendants, without those that have ended."""
    below = (table[pid] for pid in descendants(table, tops))
    return [process for process in below if not process.is_dead]


def moving(processes: Iterable[Process]) -> list[int]:
    """Processes that may still run after all were sent SIGSTOP.

    A process that has called vfork waits in the kernel (D) until its child executes a program. If
    the child is stopped before that, it waits as long as the child is stopped, and never shows T;
    it runs nothing before its child does, and then stops at once. Shells and subprocess use vfork.
    """
    seen = list(processes)
    parents_of_stopped = {process.parent for process in seen if process.is_stopped}
    return [
        p.pid
        for p in seen
        if not p.is_stopped and not (p.state == "D" and p.pid in parents_of_stopped)
    ]


def start_ticks(pid: int) -> int:
    """Start time of the process in ticks since boot; with its number, it identifies it uniquely. 0
    when it has ended."""
    data = read_proc(f"/proc/{pid}/stat")
    if data is None:
        return 0
    return int(data[data.rindex(b")") + 2 :].split()[19])
