"""Start one process as a task: fork, set it apart, exec.

It is forked from the keeper's only thread: PR_SET_PDEATHSIG is about the *thread* that forked, and
it must be set inside the child. `vfork` does that at a fraction of the cost, where it was built and
nothing on the way can hang; else, or as another user, it is a plain fork: then anything that goes
wrong before or in exec comes back through a close-on-exec pipe, so that a failed start is told
apart from a program's own status 127. Nobody waits for that here: see `starting`.
"""

import ctypes
import errno
import os
import resource
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from wattline_agent.keeper.processes.account import Account, become
from wattline_agent.keeper.processes.command import (
    DEFAULT_PATH,
    NotStarted,
    resolve_command,
    why_not_in,
)
from wattline_agent.keeper.vfork import Launcher, load_launcher

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36
TASK_OOM_SCORE_ADJ = "300"
"""Tasks are to be the kernel's choice before keeper and agent when memory runs out."""
KEEPER_NICENESS = -10
"""So that leases are kept, and tasks started, on a host whose processors are all busy."""
TASK_NICENESS = 0
KEEPER_SIGNALS = (
    signal.SIGPIPE,
    signal.SIGXFSZ,
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGCHLD,
)
"""Those that Python or the keeper handles or ignores; a task begins with the defaults."""
MAX_ERROR_BYTES = 2048
NOTE, END_OF_NOTE = b"note:", b"\0"
"""What the child says that stops nothing, before what does."""
DESCRIPTORS = "/proc/self/fd"
LAST_STANDARD = 2

_libc = ctypes.CDLL(None, use_errno=True)
_launcher = load_launcher()


def way() -> str:
    """How tasks are started on this host, unless what they need may hang."""
    return "fork, for launch.c was not compiled" if _launcher is None else "vfork"


def prctl(option: int, argument: int | bytes) -> None:
    """The system call; raises OSError."""
    if _libc.prctl(option, argument, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


@dataclass(frozen=True, slots=True)
class Launch:
    """All that the child needs between fork and exec."""

    path: str
    """Empty = the child looks it up: as the account it becomes, or because that may hang."""
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str
    output: int
    """Descriptor that becomes standard output and error."""
    rlimits: Mapping[str, int]
    account: Account | None = None
    """None = the keeper's own."""
    cgroup: str = ""
    """Directory of the task's own cgroup; empty = none."""
    make: str = ""
    """A directory that the child makes, for that may hang; empty = none, or its account's."""
    prefer_cwd: str = ""
    """Where the child starts in place of `cwd` if it can; empty = nowhere."""


class Heard(NamedTuple):
    """What the child of `fork` said."""

    note: str = ""
    """What its user should know; empty = nothing."""
    problem: NotStarted | None = None
    """Why its program will never run."""
    is_over: bool = True
    """It is at its program, or has ended on its way there."""


def has_vfork() -> bool:
    """Whether `spawn_quick` can be called."""
    return _launcher is not None


def spawn_quick(launch: Launch) -> int:
    """Process number of the started task, after its exec succeeded; nothing on the way to that may
    hang. Raises NotStarted."""
    assert _launcher is not None, "it is quick by vfork only"  # noqa: S101 - see has_vfork
    return _vfork(_launcher, launch)


def _vfork(launcher: Launcher, launch: Launch) -> int:
    pid, step, code = launcher.start(
        launch.path,
        launch.argv,
        launch.env,
        cwd=launch.cwd,
        cgroup=launch.cgroup,
        oom_score_adj=TASK_OOM_SCORE_ADJ,
        output=launch.output,
        niceness=TASK_NICENESS,
        limits=_limits(launch.rlimits),
    )
    if pid < 0 and step == "fork":
        raise NotStarted("not_startable", f"no new process: {os.strerror(code)}")
    if step:
        if pid > 0:
            os.waitpid(pid, 0)
        raise _explain(launch, step, code, os.strerror(code))
    return pid


def fork(launch: Launch) -> tuple[int, int]:
    """A child on its way to the program, and a descriptor that is at its end once the program runs,
    or says before that why it does not (`hear`). Raises NotStarted."""
    told, tell = os.pipe()
    parent = os.getpid()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _become_task(launch, tell, parent)
    except OSError as error:
        os.close(told)
        raise NotStarted("not_startable", f"no new process: {error.strerror}") from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(tell)
    os.set_blocking(told, False)
    return pid, told


def hear(told: int, launch: Launch) -> Heard:
    """What came from the child of `fork` since it was heard last."""
    note, data = "", _read(told)
    if data is not None and data.startswith(NOTE):
        text, _, data = data.removeprefix(NOTE).partition(END_OF_NOTE)
        note, data = text.decode(errors="replace"), data or _read(told)
    if data is None:
        return Heard(note, is_over=False)
    if not data:
        return Heard(note)
    step, code, words = (*data.decode(errors="replace").split(":", 2), "", "")[:3]
    return Heard(note, _explain(launch, step, int(code) if code.isdigit() else 0, words))


def _read(told: int) -> bytes | None:
    """None: nothing yet; empty: nothing any more."""
    try:
        return os.read(told, 2 * MAX_ERROR_BYTES)
    except BlockingIOError:
        return None


def _become_task(launch: Launch, tell: int, parent: int) -> NoReturn:
    """In the child: never returns, never raises. All signals are blocked until they do what they
    do to any program: the keeper's own handlers would tell the keeper of them."""
    step = "signals"
    try:
        signal.set_wakeup_fd(-1)
        for number in KEEPER_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        step = "parent"
        _die_with(parent)
        os.setsid()
        step = "descriptors"
        _keep_only({launch.output, tell})
        step = "cgroup"
        if launch.cgroup:
            _write_file(f"{launch.cgroup}/cgroup.procs", b"0")
        step = "priority"
        _step_back()
        step = "limits"
        for which, soft, hard in _limits(launch.rlimits):
            resource.setrlimit(which, (soft, hard))
        step = "output"
        _set_streams(launch.output)
        step = "account"
        path, env = launch.path, dict(launch.env)
        if launch.account is not None:
            env = {**become(launch.account, launch.output), **env}
        step = "checkpoints"
        if launch.make:
            os.makedirs(launch.make, exist_ok=True)  # noqa: PTH103 - says what it does
        step = "chdir"
        cwd = _choose_cwd(launch, tell)
        step = "command"
        if not path:
            path = resolve_command(launch.argv[0], env.get("PATH", DEFAULT_PATH), cwd)
        step = "parent"  # once more: a change of user clears it
        _die_with(parent)
        step = "chdir"
        os.chdir(cwd)
        step = "exec"
        os.execve(path, list(launch.argv), env)  # noqa: S606 - no shell wanted
    except NotStarted as error:
        os.write(tell, f"{error.kind}:0:{error}".encode()[:MAX_ERROR_BYTES])
    except BaseException as error:
        code = error.errno if isinstance(error, OSError) and error.errno else 0
        os.write(tell, f"{step}:{code}:{_in_words(error)}".encode()[:MAX_ERROR_BYTES])
    finally:
        os._exit(127)


def _choose_cwd(launch: Launch, tell: int) -> str:
    """The directory that is preferred, where this user can start in it; else it says why not."""
    preferred = launch.prefer_cwd
    if not preferred:
        return launch.cwd
    try:
        os.chdir(preferred)  # a server may refuse more than the file's mode does
    except OSError as error:
        why = why_not_in(preferred) or error.strerror or "cannot be entered"
        words = elsewhere(preferred, why).encode(errors="replace")
        os.write(tell, NOTE + words[: MAX_ERROR_BYTES // 2] + END_OF_NOTE)
        return launch.cwd
    return preferred


def elsewhere(preferred: str, why: str) -> str:
    """What the user of a task should know that starts in a directory of its own."""
    return f"it started in a directory of its own ($WATTLINE_TASK_DIR): {preferred} {why}"


def _die_with(parent: int) -> None:
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it died before the line above took effect


def _keep_only(kept: set[int]) -> None:
    """Of what the keeper had open: while this hangs, nobody is to take it for the keeper, by its
    lock, its line to the warden, its connections."""
    for name in os.listdir(DESCRIPTORS):  # noqa: PTH208 - a start is a hot path
        descriptor = int(name)
        if descriptor > LAST_STANDARD and descriptor not in kept:
            with suppress(OSError):  # that of the listing itself
                os.close(descriptor)


def _write_file(path: str, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    os.write(descriptor, data)
    os.close(descriptor)


def _step_back() -> None:
    """Behind the keeper, for processors and for the kernel that looks for memory. Never forward,
    which would need a permission."""
    if os.getpriority(os.PRIO_PROCESS, 0) < TASK_NICENESS:
        os.setpriority(os.PRIO_PROCESS, 0, TASK_NICENESS)
    try:
        _write_file("/proc/self/oom_score_adj", TASK_OOM_SCORE_ADJ.encode())
    except PermissionError:
        return  # it is higher already


def _limits(limits: Mapping[str, int]) -> Iterator[tuple[int, int, int]]:
    """Which resource, its soft and its hard limit."""
    for name, wanted in limits.items():
        which = getattr(resource, f"RLIMIT_{name.upper()}")
        _, hard = resource.getrlimit(which)
        if hard != resource.RLIM_INFINITY and wanted > hard:
            wanted = hard
        yield which, wanted, max(wanted, 0) if name == "core" else hard


def _set_streams(output: int) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)


def _in_words(error: BaseException) -> str:
    """Without the number that Python puts before the text of an OSError."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    return f"{error.strerror}: {error.filename!r}" if error.filename else error.strerror


def _explain(launch: Launch, step: str, number: int, words: str) -> NotStarted:
    name = launch.argv[0]
    if step in ("not_found", "not_startable"):
        return NotStarted(step, words)
    if step == "exec" and number == errno.ENOEXEC:
        detail = f"{name} is neither a program nor a script with a #! line"
    elif step == "exec" and number == errno.ENOENT:
        detail = f"{name} names an interpreter that does not exist"
    elif step == "exec" and number == errno.E2BIG:
        detail = "command line and environment are too long"
    elif step == "exec":
        detail = f"{name} cannot be executed: {os.strerror(number)}"
    elif step == "chdir":
        detail = f"no access to the working directory {launch.cwd}: {os.strerror(number)}"
    elif step == "account" and launch.account is not None:
        detail = f"cannot run as {launch.account.name}: {words}"
    elif step == "checkpoints":
        detail = f"no directory for checkpoints: {words}"
    else:
        detail = f"could not set {step} for {name}: {words}"
    return NotStarted("not_startable", detail)
