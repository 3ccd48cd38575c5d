"""Finds attempts with processes that may set a GPU's power cap, like the host's root."""

import os
from collections.abc import Callable, Iterable, Mapping

from wattline_agent.executor.owners import owner_of
from wattline_agent.keeper.processes.tree import Process, has_marker, read_proc, read_process
from wattline_protocol.ids import TaskRef

CAP_SYS_ADMIN = 1 << 21
"""Required by the driver to set a limit (linux/capability.h)."""


def may_set_caps(status: str, user_namespace: str, own_namespace: str) -> bool:
    """Whether a process may, from the text of its /proc/PID/status.

    Any of its user ids is root, or CAP_SYS_ADMIN is effective or permitted (it can be raised at any
    time). In a user namespace of its own (a rootless container) neither counts outside.
    """
    if user_namespace != own_namespace:
        return False
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    held = int(fields.get("CapEff", "0"), 16) | int(fields.get("CapPrm", "0"), 16)
    return "0" in fields.get("Uid", "").split() or bool(held & CAP_SYS_ADMIN)


def process_may_set_caps(pid: int) -> bool:
    """Whether a process of this host may; False for one that has ended."""
    status = read_proc(f"/proc/{pid}/status")
    if status is None:
        return False
    return may_set_caps(status.decode(errors="replace"), _namespace(pid), _namespace(os.getpid()))


def _namespace(pid: int) -> str:
    """Name of its user namespace; empty where the kernel has none, or it is not readable."""
    try:
        return os.readlink(f"/proc/{pid}/ns/user")  # noqa: PTH115 - a link that names no file
    except OSError:
        return ""


def privileged_attempts(
    first: Mapping[int, TaskRef],
    markers: Mapping[TaskRef, bytes],
    pids: Iterable[int],
    may: Callable[[int], bool] = process_may_set_caps,
    read: Callable[[int], Process | None] = read_process,
    marked: Callable[[int, bytes], bool] = has_marker,
) -> frozenset[TaskRef]:
    """Attempts with a process that may set caps.

    `first`: attempts by first process; `markers`: content of the environment of each attempt's
    processes, for those that have detached themselves. Stops at the first match of an attempt.
    """
    found: set[TaskRef] = set()
    for pid in pids:
        if len(found) == len(markers):
            break
        if not may(pid):
            continue
        ref = owner_of(pid, first, read)
        if ref is None:
            ref = next((r for r in markers if r not in found and marked(pid, markers[r])), None)
        if ref is not None:
            found.add(ref)
    return frozenset(found)
