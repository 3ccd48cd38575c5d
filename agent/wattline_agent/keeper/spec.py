"""Messages of the keeper's socket: what a client requests to start, and how an attempt ended.

The keeper is standard library only, so requests are checked field by field: each key has one type,
no key is optional or extra, and the error names the key.
"""

import signal
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, TypeGuard

PROTOCOL_VERSION = 8
"""Version of the socket's requests: a keeper outlives upgrades of the agent."""
ACCOUNTS_PROTOCOL = 2
"""First version in which tasks may run as other accounts."""
MAKING_PROTOCOL = 3
"""First version in which `make` is created for every task."""
ENVIRONMENT_PROTOCOL = 4
"""First version in which a task sees only the named variables of the keeper's environment."""
PREFERENCE_PROTOCOL = 5
"""First version with a directory preferred to `cwd`."""
RECOVERY_PROTOCOL = 6
"""First version with task leases for running attempts, and stop signals."""
HELPER_PROTOCOL = 7
"""First version with the request `helper`."""
SECRETS_PROTOCOL = 8
"""First version with variables whose values are in files."""
SOCKET_NAME = "keeper.sock"
LOCK_NAME = "keeper.lock"
TASKS_DIR = "tasks"
STARTS_FILE = "starts.journal"
"""Journal of the attempts that the keeper has started and the agent has not dropped yet."""
ENDS_FILE = "ends.journal"
STOP_FILE = "stop"
INVENTORY_FILE = "inventory"
"""Output of the helper of an attempt."""
MARKER = "WATTLINE_TASK_DIR"
"""Every process of an attempt carries this in its environment; its value is unique on a host."""

MAX_LINE_BYTES = 4 * 1024 * 1024
"""Longest request or answer; twice what Linux lets a command line and environment be."""
MAX_KEY_CHARS = 64
MAX_ACCOUNT_CHARS = 64
MAX_TASKS = 4096
"""Maximum of attempts in a keeper, ended ones included until they are dropped."""
MAX_SECONDS = 1e12
"""Of a time: thirty thousand years. A longer one is no number of a clock."""
MAX_NUMBER = 2**31 - 1
"""Of a process, a signal or an exit status."""
MAX_BYTES = 2**63 - 1
RLIMIT_NAMES = frozenset({"core", "nofile", "nproc", "memlock", "fsize", "stack"})

STOP_SIGNALS = frozenset(
    (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)
)

_ACCOUNT_KEYS = frozenset({"run_as", "own", "make"})


class BadRequest(ValueError):
    """An invalid request; the text says why."""


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One attempt to start. Times in seconds, sizes in bytes, 0 = no limit."""

    key: str
    """`JOB.TASK.ATTEMPT`: the name of its directory under `tasks/`."""
    argv: tuple[str, ...]
    env: dict[str, str]
    """Added to the variables it sees of the keeper's own environment (`pass_env`)."""
    env_append: dict[str, str]
    """Path lists: appended, after a colon, to the variable's value so far."""
    cwd: str
    rlimits: dict[str, int]
    cpus: int
    memory_bytes: int
    grace_s: float
    runtime_limit_s: float
    lease_until_s: float | None
    """Expiry of the task lease (CLOCK_BOOTTIME); the attempt is killed then. None = no lease."""
    log_limit_bytes: int
    run_as: str
    """Account of the host; empty = the keeper's own."""
    own: tuple[str, ...]
    """Files and directories whose owner becomes the account."""
    make: str
    """A directory created as the task's account, which may have more access there; empty = none."""
    prefer_cwd: str
    """Used in place of `cwd` if it exists and is accessible; empty = none."""
    pass_env: tuple[str, ...]
    """Variables of the keeper's environment that it sees besides the usual ones: names, or prefixes
    followed by a star."""
    stop_signal: int = signal.SIGTERM
    """Requests its stop: of the programs that handle it."""
    env_files: dict[str, str] = field(default_factory=dict)
    """Secrets: by variable the file that has its value, which only the child reads."""

    def to_json(self, protocol: int = PROTOCOL_VERSION) -> dict[str, Any]:
        """A dictionary of plain values, as a keeper of this protocol version reads it."""
        spec = {f.name: getattr(self, f.name) for f in fields(self)}
        if protocol < SECRETS_PROTOCOL:
            del spec["env_files"]
        if protocol < RECOVERY_PROTOCOL:
            del spec["stop_signal"]
        if protocol < PREFERENCE_PROTOCOL:
            del spec["prefer_cwd"]
        if protocol < ENVIRONMENT_PROTOCOL:
            del spec["pass_env"]
        if protocol >= ACCOUNTS_PROTOCOL:
            return spec
        return {name: spec[name] for name in spec if name not in _ACCOUNT_KEYS} | {"uid": None}


@dataclass(frozen=True, slots=True)
class ExitRecord:
    """How an attempt ended; a line of the journal of exit records."""

    kind: str
    code: int | None = None
    signal: int | None = None
    detail: str = ""
    ended_unix_s: float = 0.0
    started_unix_s: float | None = None
    run_s: float = 0.0
    cpu_s: float = 0.0
    max_rss_bytes: int = 0
    leftover_pids: list[int] = field(default_factory=list)
    note: str = ""
    """A remark about its start for the user."""

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain values."""
        return {name: getattr(self, name) for name in _EXIT_CHECKS}

    @staticmethod
    def from_json(data: object) -> "ExitRecord | None":
        """The record in `data`, or None when it is not one (torn, damaged or foreign file)."""
        if not isinstance(data, dict) or "kind" not in data:
            return None
        known = {name: value for name, value in data.items() if name in _EXIT_CHECKS}
        if not all(_EXIT_CHECKS[name](value) for name, value in known.items()):
            return None
        return ExitRecord(**known)


def _is_text_map(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(k, str) and isinstance(v, str) and "\0" not in k + v for k, v in value.items()
    )


def _is_argv(value: object) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(word, str) and "\0" not in word for word in value)
    )


def _is_path(value: object) -> bool:
    return isinstance(value, str) and value.startswith("/") and "\0" not in value


def _is_account(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_ACCOUNT_CHARS and "\0" not in value


def _are_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) and name for name in value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_seconds(value: object) -> TypeGuard[float]:
    """Whether a value of a request is a time."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return 0 <= value <= MAX_SECONDS


def _is_stop_signal(value: object) -> bool:
    return _is_count(value) and value in STOP_SIGNALS


def _is_limits(value: object) -> bool:
    return (
        isinstance(value, dict)
        and set(value) <= RLIMIT_NAMES
        and all(_is_count(limit) for limit in value.values())
    )


_CHECKS: dict[str, tuple[Any, str]] = {
    "argv": (_is_argv, "a list of at least one string"),
    "env": (_is_text_map, "a map of strings"),
    "env_append": (_is_text_map, "a map of strings"),
    "cwd": (_is_path, "an absolute path"),
    "rlimits": (_is_limits, f"a map with keys among {sorted(RLIMIT_NAMES)}"),
    "cpus": (_is_count, "a count"),
    "memory_bytes": (_is_count, "a number of bytes"),
    "grace_s": (is_seconds, "seconds"),
    "runtime_limit_s": (is_seconds, "seconds"),
    "lease_until_s": (lambda v: v is None or is_seconds(v), "seconds or null"),
    "log_limit_bytes": (_is_count, "a number of bytes"),
    "run_as": (_is_account, "the name of an account, or empty"),
    "own": (lambda v: isinstance(v, list) and all(map(_is_path, v)), "a list of absolute paths"),
    "make": (lambda v: v == "" or _is_path(v), "an absolute path, or empty"),
    "prefer_cwd": (lambda v: v == "" or _is_path(v), "an absolute path, or empty"),
    "pass_env": (_are_names, "a list of names of variables"),
    "stop_signal": (_is_stop_signal, "the number of a signal that requests a stop"),
    "env_files": (_is_text_map, "a map of paths"),
}


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object, most: int = MAX_NUMBER) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


_EXIT_CHECKS: dict[str, Callable[[object], bool]] = {
    "kind": _is_text,
    "code": lambda v: v is None or _is_number(v),
    "signal": lambda v: v is None or _is_number(v),
    "detail": _is_text,
    "ended_unix_s": is_seconds,
    "started_unix_s": lambda v: v is None or is_seconds(v),
    "run_s": is_seconds,
    "cpu_s": is_seconds,
    "max_rss_bytes": lambda v: _is_number(v, MAX_BYTES),
    "leftover_pids": lambda v: isinstance(v, list) and all(map(_is_number, v)),
    "note": _is_text,
}


def check_argv(value: object) -> tuple[str, ...]:
    """The words of a command. Raises BadRequest."""
    if not _is_argv(value):
        raise BadRequest(f"argv should be a list of at least one string, not {value!r:.100}")
    return tuple(value)  # type: ignore[arg-type]  # checked


def is_key(value: object) -> TypeGuard[str]:
    """Whether a value can name a directory: three numbers joined by dots."""
    return (
        isinstance(value, str)
        and len(value) <= MAX_KEY_CHARS
        and value.count(".") == 2
        and all(part.isascii() and part.isdigit() for part in value.split("."))
    )


def check_key(key: object) -> str:
    """`key` if it is one. Raises BadRequest."""
    if is_key(key):
        return key
    raise BadRequest(f"key {key!r} is not JOB.TASK.ATTEMPT")


def parse_spec(data: object) -> TaskSpec:
    """The spec in a decoded request. Raises BadRequest naming the wrong key."""
    if not isinstance(data, dict):
        raise BadRequest("the task is not a map")
    wanted = {"key", *_CHECKS}
    if set(data) != wanted:
        odd = sorted(set(data) ^ wanted)
        raise BadRequest(f"the task has missing or unknown keys: {', '.join(map(str, odd))}")
    for name, (holds, should_be) in _CHECKS.items():
        if not holds(data[name]):
            raise BadRequest(f"{name} should be {should_be}, not {data[name]!r:.100}")
    lists = {name: tuple(data[name]) for name in ("argv", "own", "pass_env")}
    return TaskSpec(**{**data, **lists, "key": check_key(data["key"])})
