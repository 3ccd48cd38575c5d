"""Has the programs of an attempt write the stacks of all their threads to its log."""

import os
from collections.abc import Iterable
from contextlib import suppress

from wattline.rank import STACKS_SIGNAL
from wattline_agent.executor.tasklib import RANK_MODULE
from wattline_agent.keeper.processes.tree import READ_BYTES, catches, has_marker, read_proc


def dump_stacks(marker: bytes, first_pid: int, pids: Iterable[int]) -> None:
    """Signal the supervisors of ranks among the attempt's processes; without any its first process,
    if that handles the signal. `marker`: in the environment of the attempt's processes."""
    supervisors = [pid for pid in pids if _is_supervisor(pid) and has_marker(pid, marker)]
    for pid in supervisors or [first_pid]:
        if catches(pid, STACKS_SIGNAL):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, STACKS_SIGNAL)


def _is_supervisor(pid: int) -> bool:
    """Of one rank: torchrun has the path of its program among its arguments, not as its own."""
    line = read_proc(f"/proc/{pid}/cmdline", READ_BYTES) or b""  # a line may have 2 MiB
    command = line.split(b"\0", 4)
    return b"-m" not in command[:3] and any(
        word.endswith(f"/wattline/{RANK_MODULE}".encode()) for word in command[:4]
    )
