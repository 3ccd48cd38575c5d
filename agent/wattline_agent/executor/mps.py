"""Whether NVIDIA's Multi-Process Service (MPS) takes the tasks that share a GPU.

With it their kernels run at the same time and the driver keeps each within its limits; without it
the GPU is theirs in turn, and the limits are asked of the program. A control daemon writes its
process number into the directory of its pipes; one of root serves every user, another one only its
own (https://docs.nvidia.com/deploy/mps/).

The usual directory lies in /tmp, where any user may be the first to make it: one that is neither
root's nor the daemon's own does not count, for tasks would hand their work to whoever made it.
"""

import errno
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from wattline_agent.keeper.mounts import Elsewhere
from wattline_protocol.job.spec import WHOLE_GPU
from wattline_protocol.wire.task_order import TaskOrder

PIPES_VARIABLE = "CUDA_MPS_PIPE_DIRECTORY"
DEFAULT_PIPES = "/tmp/nvidia-mps"  # noqa: S108 - where NVIDIA puts it
PID_FILE = "nvidia-cuda-mps-control.pid"
DAEMON = "nvidia-cuda-mps"
"""Of `nvidia-cuda-mps-control`, what the kernel keeps as a process's name."""
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
    """Directory of the daemon that will serve this task; empty = none does, or it shares nothing.

    The job may name a daemon of its own; else the agent's environment, else the usual place.
    """
    if order.gpu_share_permille == WHOLE_GPU or order.mig:
        return ""
    return serving_pipes({**environ, **order.env}, uid, touch, proc)


def serving_pipes(
    environ: Mapping[str, str], uid: int | None, touch: Callable[[str], None], proc: Path = PROC
) -> str:
    """Directory of the daemon that serves this user, None = whoever it is; empty = none does, or it
    lies where to look could hang, which `touch` tells (`Mounts.touch`)."""
    pipes = environ.get(PIPES_VARIABLE) or DEFAULT_PIPES
    if not pipes.startswith("/"):  # it would be another one to each process
        return ""
    try:
        touch(pipes)
    except Elsewhere:
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
    """The begin of the daemon's file, and the users who could have laid it there: of the directory,
    of a link to it, of the file. Raises OSError."""
    folder = os.open(pipes, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        makers = {pipes.lstat().st_uid, os.fstat(folder).st_uid}
        note, maker = _read_plain(folder)
    finally:
        os.close(folder)
    return note, makers | {maker}


def _read_plain(folder: int) -> tuple[bytes, int]:
    """The begin of the file and whose it is. A job has named the directory: it could be a pipe,
    which would hold us up, or a link to a device, which does what it does when root opens it.
    Raises OSError."""
    if not stat.S_ISREG(os.stat(PID_FILE, dir_fd=folder, follow_symlinks=False).st_mode):
        raise OSError(errno.EINVAL, f"{PID_FILE} is no plain file")
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    file = os.open(PID_FILE, flags, dir_fd=folder)  # by now it may be another; this never waits
    try:
        return os.read(file, MAX_PID_BYTES), os.fstat(file).st_uid
    finally:
        os.close(file)


def limits(order: TaskOrder, gpu_memory_bytes: int, pipes: str) -> dict[str, str]:
    """Variables by which the daemon keeps a task within its share; empty without a daemon.

    Its one visible GPU is number 0 to it. Shares of the threads are whole per cent, rounded up;
    memory is rounded down, so that all holders' limits fit.
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
