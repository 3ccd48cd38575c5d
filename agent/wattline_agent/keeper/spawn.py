"""Start one process as a task: fork, isolate, exec.

The fork is done by the keeper's only thread: PR_SET_PDEATHSIG refers to the *thread* that forked,
and must be set inside the child. `vfork` does that at a fraction of the cost, where it was built
and nothing before exec can hang. Otherwise, or for another account, it is a plain fork: an error
before or in exec is reported through a close-on-exec pipe, which distinguishes a failed start from
a program's own status 127. The keeper does not wait for that here: see `starting`.
"""

import ctypes
import errno
import os
import resource
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn

from wattline_agent.keeper.processes.account import Account, become
from wattline_agent.keeper.processes.command import (
    DEFAULT_PATH,
    NotStarted,
    kind_of,
    resolve_command,
    why_not_in,
)
from wattline_agent.keeper.vfork import Launcher, load_launcher

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36
TASK_OOM_SCORE_ADJ = "300"
"""Makes tasks the OOM killer's choice before keeper and agent."""
KEEPER_NICENESS = -10
"""So that leases are enforced and tasks start on a host whose processors are all busy."""
TASK_NICENESS = 0
KEEPER_SIGNALS = (
    signal.SIGPIPE,
    signal.SIGXFSZ,
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGCHLD,
)
"""Signals that Python or the keeper handles or ignores; a task starts with the defaults."""
MAX_ERROR_BYTES = 2048
MAX_VALUE_BYTES = 64 * 1024
"""Of a variable from a file: half of what Linux accepts."""
NOTE, END_OF_NOTE = b"note:", b"\0"
"""Prefix and end of a remark from the child that is no error; it precedes any error."""
DESCRIPTORS = "/proc/self/fd"
LAST_STANDARD = 2

_libc = ctypes.CDLL(None, use_errno=True)
_launcher = load_launcher()


def method() -> str:
    """How tasks are started on this host, unless what they need may hang."""
    return "fork (launch.c was not compiled)" if _launcher is None else "vfork"


def prctl(option: int, argument: int | bytes) -> None:
    """The prctl system call. Raises OSError."""
    if _libc.prctl(option, argument, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


@dataclass(frozen=True, slots=True)
class Launch:
    """Everything the child needs between fork and exec."""

    path: str
    """Empty = the child resolves it: as the account it becomes, or because that may hang."""
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
    """A directory that the child creates, because that may hang; empty = none, or its account's."""
    prefer_cwd: str = ""
    """Preferred working directory, used in place of `cwd` where possible; empty = none."""
    env_files: Mapping[str, str] = field(default_factory=dict)
    """By variable the file of its value: read by the child, so that no other process has it."""


class StartStatus(NamedTuple):
    """What the child of `fork` has reported."""

    note: str = ""
    """A remark for the user; empty = none."""
    problem: NotStarted | None = None
    """Why its program will never run."""
    is_over: bool = True
    """The child has executed its program, or has ended before that."""


def has_vfork() -> bool:
    """Whether `spawn_quick` can be called."""
    return _launcher is not None


def spawn_quick(launch: Launch) -> int:
    """Start a task and return its process number after exec succeeded; nothing before exec may
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
        raise NotStarted(kind_of(code), f"no new process: {os.strerror(code)}")
    if step:
        if pid > 0:
            os.waitpid(pid, 0)
        raise _explain(launch, step, code, os.strerror(code))
    return pid


def fork(launch: Launch) -> tuple[int, int]:
    """Fork a child that will exec the program. Returns its process number and a descriptor that
    reports an error (`read_status`), or closes once the program runs. Raises NotStarted."""
    status_pipe, status_end = os.pipe()
    parent = os.getpid()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _become_task(launch, status_end, parent)
    except OSError as error:
        os.close(status_pipe)
        raise NotStarted(kind_of(error.errno), f"no new process: {error.strerror}") from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(status_end)
    os.set_blocking(status_pipe, False)
    return pid, status_pipe


def read_status(status_pipe: int, launch: Launch) -> StartStatus:
    """What the child of `fork` has reported since the last call."""
    note, data = "", _read(status_pipe)
    if data is not None and data.startswith(NOTE):
        text, _, data = data.removeprefix(NOTE).partition(END_OF_NOTE)
        note, data = text.decode(errors="replace"), data or _read(status_pipe)
    if data is None:
        return StartStatus(note, is_over=False)
    if not data:
        return StartStatus(note)
    step, code, words = (*data.decode(errors="replace").split(":", 2), "", "")[:3]
    return StartStatus(note, _explain(launch, step, int(code) if code.isdigit() else 0, words))


def _read(status_pipe: int) -> bytes | None:
    """None: nothing yet; empty: end of file."""
    try:
        return os.read(status_pipe, 2 * MAX_ERROR_BYTES)
    except BlockingIOError:
        return None


def _become_task(launch: Launch, status_end: int, parent: int) -> NoReturn:
    """Run in the child: never returns, never raises. All signals are blocked until their default
    actions are restored: the keeper's own handlers would notify the keeper of them."""
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
        _close_except({launch.output, status_end})
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
        step = "secrets"
        for name, file in launch.env_files.items():
            env[name] = _value_in(name, file)
        step = "checkpoints"
        if launch.make:
            os.makedirs(launch.make, exist_ok=True)  # noqa: PTH103 - says what it does
        step = "chdir"
        cwd = _choose_cwd(launch, status_end)
        step = "command"
        if not path:
            path = resolve_command(launch.argv[0], env.get("PATH", DEFAULT_PATH), cwd)
        step = "parent"  # set again: a change of user clears it
        _die_with(parent)
        step = "chdir"
        os.chdir(cwd)
        step = "exec"
        os.execve(path, list(launch.argv), env)  # noqa: S606 - no shell wanted
    except NotStarted as error:
        os.write(status_end, f"{error.kind}:0:{error}".encode()[:MAX_ERROR_BYTES])
    except BaseException as error:
        code = error.errno if isinstance(error, OSError) and error.errno else 0
        os.write(status_end, f"{step}:{code}:{_in_words(error)}".encode()[:MAX_ERROR_BYTES])
    finally:
        os._exit(127)


def _value_in(name: str, path: str) -> str:
    """The secret in a file, as the value of a variable: without the line break at its end."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    value = os.read(file, MAX_VALUE_BYTES).removesuffix(b"\n").removesuffix(b"\r")
    os.close(file)
    if b"\0" in value:
        text = f"secret {name} contains a NUL byte: it can be a file, but no variable"
        raise NotStarted("not_startable", text)
    return os.fsdecode(value)


def _choose_cwd(launch: Launch, status_end: int) -> str:
    """The preferred directory where this user can start in it; else `cwd`, and a remark why."""
    preferred = launch.prefer_cwd
    if not preferred:
        return launch.cwd
    try:
        os.chdir(preferred)  # a server may refuse more than the file's mode does
    except OSError as error:
        why = why_not_in(preferred) or error.strerror or "cannot be entered"
        words = elsewhere(preferred, why).encode(errors="replace")
        os.write(status_end, NOTE + words[: MAX_ERROR_BYTES // 2] + END_OF_NOTE)
        return launch.cwd
    return preferred


def elsewhere(preferred: str, why: str) -> str:
    """Remark for the user of a task that starts in its own directory."""
    return f"it started in its own directory ($WATTLINE_TASK_DIR): {preferred} {why}"


def _die_with(parent: int) -> None:
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # the parent died before the line above took effect


def _close_except(descriptors: set[int]) -> None:
    """Close all other descriptors of the keeper: a child that hangs must not retain the keeper's
    lock, its line to the warden, or its connections."""
    for name in os.listdir(DESCRIPTORS):  # noqa: PTH208 - a start is a hot path
        descriptor = int(name)
        if descriptor > LAST_STANDARD and descriptor not in descriptors:
            with suppress(OSError):  # the descriptor of the listing itself
                os.close(descriptor)


def _write_file(path: str, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    os.write(descriptor, data)
    os.close(descriptor)


def _step_back() -> None:
    """Lower the CPU priority and raise the OOM score, relative to the keeper. Never the opposite,
    which would need a privilege."""
    if os.getpriority(os.PRIO_PROCESS, 0) < TASK_NICENESS:
        os.setpriority(os.PRIO_PROCESS, 0, TASK_NICENESS)
    try:
        _write_file("/proc/self/oom_score_adj", TASK_OOM_SCORE_ADJ.encode())
    except PermissionError:
        return  # it is higher already


def _limits(limits: Mapping[str, int]) -> Iterator[tuple[int, int, int]]:
    """Resource number, soft limit and hard limit."""
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
    """Message of an error, without the number that Python puts before the text of an OSError."""
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
    elif step == "secrets":
        detail = f"its secrets cannot be read: {words}"
    else:
        detail = f"cannot set {step} for {name}: {words}"
    return NotStarted("not_startable", detail)
