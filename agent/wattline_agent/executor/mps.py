"""Detects whether NVIDIA's Multi-Process Service (MPS) serves the tasks that share a GPU.

With MPS their kernels run concurrently and the driver enforces each one's limits; without it they
use the GPU in turn, and observing the limits is left to the program. A control daemon writes its
process number into its pipe directory; one of root serves every user, another only its own
(https://docs.nvidia.com/deploy/mps/).

The usual directory is in /tmp, where any user may be the first to create it: one that is owned
neither by root nor by the daemon's user is ignored, because its owner would get the tasks' work.
"""

import errno
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from wattline_agent.keeper.mounts import NotLocal
from wattline_protocol.job.spec import WHOLE_GPU
from wattline_protocol.wire.task_order import TaskOrder

PIPES_VARIABLE = "CUDA_MPS_PIPE_DIRECTORY"
DEFAULT_PIPES = "/tmp/nvidia-mps"  # noqa: S108 - where NVIDIA puts it
PID_FILE = "nvidia-cuda-mps-control.pid"
DAEMON = "nvidia-cuda-mps"
"""Process name of `nvidia-cuda-mps-control`, as truncated by the kernel."""
MAX_PID_BYTES = 32
MIB = 2**20
ROOT = 0
PROC = Path("/proc")


def find_pipes(
    order: TaskOrder,
    environ: Mapping[str, str],
    uid: int | None,
    touch: Callable[[str], None],
    proc: Path = PROC,
) -> str:
    """Pipe directory of the daemon that will serve this task; empty = none does, or no sharing.

    The job may name a daemon of its own; else the agent's environment, else the usual place.
    """
    if order.gpu_share_permille == WHOLE_GPU or order.mig:
        return ""
    return serving_pipes({**environ, **order.env}, uid, touch, proc)


def serving_pipes(
    environ: Mapping[str, str], uid: int | None, touch: Callable[[str], None], proc: Path = PROC
) -> str:
    """Pipe directory of the daemon that serves this user (None = any); empty = none does, or an
    access could hang, as checked by `touch` (`Mounts.touch`)."""
    pipes = environ.get(PIPES_VARIABLE) or DEFAULT_PIPES
    if not pipes.startswith("/"):  # a relative path differs between processes
        return ""
    try:
        touch(pipes)
    except NotLocal:
        return ""
    owner = _owner(Path(pipes), proc)
    return pipes if owner is not None and owner in (ROOT, uid) else ""


def _owner(pipes: Path, proc: Path) -> int | None:
    """User of the daemon with these pipes; None where it does not run, or they are not its own."""
    try:
        note, makers = _read_note(pipes)
        process = proc / str(int(note))
        is_daemon = (process / "comm").read_text().strip() == DAEMON
        owner = process.stat().st_uid
    except (OSError, ValueError):
        return None
    return owner if is_daemon and makers <= {ROOT, owner} else None


def _read_note(pipes: Path) -> tuple[bytes, set[int]]:
    """Beginning of the daemon's file, and the IDs of users that may have placed it: owners of the
    directory, of a link to it, of the file. Raises OSError."""
    folder = os.open(pipes, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        makers = {pipes.lstat().st_uid, os.fstat(folder).st_uid}
        note, maker = _read_plain(folder)
    finally:
        os.close(folder)
    return note, makers | {maker}


def _read_plain(folder: int) -> tuple[bytes, int]:
    """Beginning of the file and its owner. The directory is named by a job: the file could be a
    pipe, which would block, or a link to a device, which root must not open. Raises OSError."""
    if not stat.S_ISREG(os.stat(PID_FILE, dir_fd=folder, follow_symlinks=False).st_mode):
        raise OSError(errno.EINVAL, f"{PID_FILE} is no plain file")
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    file = os.open(PID_FILE, flags, dir_fd=folder)  # it may have been replaced; this never blocks
    try:
        return os.read(file, MAX_PID_BYTES), os.fstat(file).st_uid
    finally:
        os.close(file)


def limits(order: TaskOrder, gpu_memory_bytes: int, pipes: str) -> dict[str, str]:
    """Variables by which the daemon limits a task to its share; empty without a daemon.

    Its one visible GPU is number 0 to it. Shares of the threads are whole per cent, rounded up;
    memory is rounded down, so that the limits of all sharing tasks fit.
    """
    if not pipes:
        return {}
    percent = -(-order.gpu_share_permille * 100 // WHOLE_GPU)
    limited = {
        PIPES_VARIABLE: pipes,
        "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": str(percent),
    }
    if gpu_memory_bytes >= MIB:
        limited["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] = f"0={gpu_memory_bytes // MIB}M"
    return limited
