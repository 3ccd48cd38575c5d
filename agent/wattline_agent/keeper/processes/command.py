"""Resolves the command of a task to a file, and explains why it cannot be started."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

from wattline_agent.keeper.processes.account import closed_above

DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"


HOST_LACKS = frozenset(
    (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT)
)
"""Errors of a host that has no process, memory, descriptor or space left."""


def kind_of(number: int | None) -> str:
    """How an attempt ends whose start failed with this error. No job is at fault where the host
    lacks what every start needs: it is tried again, and one host does not fail a whole queue."""
    return "keeper_lost" if number in HOST_LACKS else "not_startable"


class NotStarted(Exception):
    """The command could not be started. `kind` is not_found, or that of `kind_of`."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


def _freely(_: str) -> None:
    """Permits access to every path."""


def resolve_command(
    name: str, search_path: str, cwd: str, touch: Callable[[str], None] = _freely
) -> str:
    """The file that `name` means for a process in `cwd` with this PATH. Calls `touch` with each
    path before accessing it. Raises NotStarted, or what `touch` raises."""
    touch(cwd)
    if missing := why_missing(cwd):
        raise NotStarted("not_startable", f"the working directory {cwd} {missing}")
    if "/" in name:
        touch(os.path.join(cwd, name))  # noqa: PTH118
        return _resolve_file(name, cwd)
    refused = ""
    for folder in search_path.split(":"):
        candidate = os.path.join(cwd, folder, name)  # noqa: PTH118
        touch(candidate)
        if os.path.isfile(candidate):  # noqa: PTH113
            if os.access(candidate, os.X_OK):
                return candidate
            refused = refused or candidate
    if refused:
        raise NotStarted("not_startable", f"{refused} is not executable")
    beside = os.path.join(cwd, name)  # noqa: PTH118
    touch(beside)
    is_there = os.path.isfile(beside)  # noqa: PTH113
    hint = f"; it is in the working directory: write ./{name}" if is_there else ""
    raise NotStarted("not_found", f"command not found: {name} (not in PATH){hint}")


def why_missing(cwd: str) -> str:
    """What is wrong with a working directory for this user; empty = nothing."""
    if os.path.isdir(cwd):  # noqa: PTH112 - a start is a hot path, and Path costs
        return ""
    if closed := closed_above(cwd):
        return f"is not accessible: this user has no access to {closed} (chmod o+x {closed})"
    return "is not a directory" if os.path.exists(cwd) else "does not exist"  # noqa: PTH110


def why_not_in(cwd: str) -> str:
    """Why this user cannot start in a directory; empty = it can."""
    if missing := why_missing(cwd):
        return missing
    return "" if os.access(cwd, os.X_OK) else "is not accessible to this user"


def _resolve_file(name: str, cwd: str) -> str:
    file = os.path.join(cwd, name)  # noqa: PTH118
    if os.path.isfile(file) and os.access(file, os.X_OK):  # noqa: PTH113
        return file if name.startswith("/") else str(Path(file))
    if not os.path.exists(file):  # noqa: PTH110
        raise NotStarted("not_found", f"command not found: {name} (there is no {file})")
    if os.path.isdir(file):  # noqa: PTH112
        raise NotStarted("not_startable", f"{name} is a directory")
    raise NotStarted("not_startable", f"{name} is not executable (chmod +x {file})")
