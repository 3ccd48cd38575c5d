"""Whose a process on a GPU is: the driver names it, the keeper the first one of each task."""

from collections.abc import Callable, Mapping

from wattline_agent.keeper.tree import Process, read_process
from wattline_protocol.ids import TaskRef

MAX_DEPTH = 64
"""Parents looked at; deeper trees are nobody's."""


def use_by_attempt(
    percent: Mapping[int, int],
    first: Mapping[int, TaskRef],
    read: Callable[[int], Process | None] = read_process,
) -> dict[TaskRef, int]:
    """What each attempt used of a GPU. `percent`: by process; `first`: attempts by first process.

    Processes of nobody (a monitor, an MPS server that stands for its clients) are left out.
    """
    used: dict[TaskRef, int] = {}
    for pid, part in percent.items():
        ref = _owner(pid, first, read)
        if ref is not None:
            used[ref] = used.get(ref, 0) + part
    return used


def _owner(
    pid: int, first: Mapping[int, TaskRef], read: Callable[[int], Process | None]
) -> TaskRef | None:
    """The attempt that started the process: by its parents, or the session it was born into."""
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
