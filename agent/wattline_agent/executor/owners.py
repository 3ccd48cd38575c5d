"""Attributes GPU processes, listed by the driver, to attempts, by their first processes."""

import os
import pwd
from collections.abc import Callable, Collection, Mapping, Sequence

from wattline_agent.core.ports import ComputeProcess
from wattline_agent.keeper.processes.tree import Process, read_process
from wattline_protocol.ids import GpuIndex, TaskRef
from wattline_protocol.wire.gpu_process import MAX_PROCESS_CHARS, GpuProcess

MAX_DEPTH = 64
"""Maximum of parents checked; deeper trees belong to no attempt."""


def use_by_attempt(
    percent: Mapping[int, int],
    first: Mapping[int, TaskRef],
    read: Callable[[int], Process | None] = read_process,
) -> dict[TaskRef, int]:
    """Utilisation per attempt of a GPU. `percent`: by process; `first`: attempts by first process.

    Processes of no attempt (a monitor, an MPS server that acts for its clients) are omitted.
    """
    used: dict[TaskRef, int] = {}
    for pid, part in percent.items():
        ref = owner_of(pid, first, read)
        if ref is not None:
            used[ref] = used.get(ref, 0) + part
    return used


def owner_of(
    pid: int, first: Mapping[int, TaskRef], read: Callable[[int], Process | None]
) -> TaskRef | None:
    """The attempt that started the process: by its parents, or by its original session."""
    for _ in range(MAX_DEPTH):
        if pid in first:
            return first[pid]
        process = read(pid)
        if process is None:
            return None
        if process.session in first:
            return first[process.session]
        pid = process.parent
    return None


MPS = "nvidia-cuda-mps"
"""Process name of `nvidia-cuda-mps-server` and `-control`, as truncated by the kernel."""


class ForeignProcesses:
    """Filters the processes that the driver lists on a GPU for those that belong to no attempt.

    A process is ours if it descends from an attempt's first process, was started in its session, or
    is any other child of the keeper, which is the parent of every orphan of its tasks. An MPS
    server computes for its clients, which are listed too, and belongs to no attempt itself.

    A process that is not in this /proc has ended since, or is in another PID namespace, for which
    drivers report no number, or a meaningless one. On a GPU with a task it is attributed to that
    task, else it is foreign once a second listing shows it too.
    """

    def __init__(
        self,
        read: Callable[[int], Process | None] = read_process,
        describe: Callable[[int], tuple[str, str]] | None = None,
    ) -> None:
        """`describe`: name and user of a process."""
        self._read, self._describe = read, describe or name_and_user
        self._unresolved: dict[GpuIndex, frozenset[int]] = {}

    def of(
        self,
        index: GpuIndex,
        listed: Sequence[ComputeProcess],
        roots: Collection[int],
        *,
        is_held: bool,
    ) -> tuple[GpuProcess, ...]:
        """Largest memory first. `roots`: the keeper and the first processes of attempts."""
        here = {one.pid for one in listed if one.pid and self._read(one.pid) is not None}
        unresolved = frozenset(one.pid for one in listed if one.pid not in here)
        known, self._unresolved[index] = self._unresolved.get(index, frozenset()), unresolved
        lasting = frozenset() if is_held else unresolved & known
        found = [
            one
            for one in listed
            if one.pid in lasting or (one.pid in here and not self._is_ours(one.pid, roots))
        ]
        found.sort(key=lambda one: one.memory_bytes or 0, reverse=True)
        return tuple(self._described(one, is_here=one.pid in here) for one in found)

    def _is_ours(self, pid: int, roots: Collection[int]) -> bool:
        if self._describe(pid)[0].startswith(MPS):
            return True
        for _ in range(MAX_DEPTH):
            if pid in roots:
                return True
            process = self._read(pid)
            if process is None:
                return False
            if process.session in roots:
                return True
            pid = process.parent
        return False

    def _described(self, one: ComputeProcess, *, is_here: bool) -> GpuProcess:
        name, user = self._describe(one.pid) if is_here else ("", "")
        return GpuProcess(
            one.pid, name[:MAX_PROCESS_CHARS], user[:MAX_PROCESS_CHARS], one.memory_bytes
        )


def name_and_user(pid: int) -> tuple[str, str]:
    """Name and user of a process, as far as readable; a user without a name by its number."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            name = "".join(c if c.isprintable() else "?" for c in file.read().strip())
        uid = os.stat(f"/proc/{pid}").st_uid  # noqa: PTH116 - a Path for each process costs more
    except OSError:  # it has ended
        return "", ""
    try:
        return name, pwd.getpwuid(uid).pw_name
    except KeyError:
        return name, str(uid)
