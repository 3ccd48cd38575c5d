"""Which variables of the keeper's own environment a task sees.

An agent started from a shell has its user's whole environment, including keys and tokens, and so
has the keeper that it starts. A task sees only the variables named here or in the site file.
"""

import functools
import os
from collections.abc import Mapping
from pathlib import Path

from wattline_agent.keeper.processes.account import PERSONAL, ROOT, ROOT_UID

USUAL = ("PATH", "LANG", "LC_*", "TZ", "LD_LIBRARY_PATH")
"""Passed to every task: a name, or a prefix followed by a star."""
PRIVATE = "WATTLINE_"
"""Prefix of Wattline's own variables; a task's are set for it."""
PASSWD = Path("/etc/passwd")

OF_SERVICE = frozenset(
    {
        *("INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID", "MAINPID", "MANAGERPID"),
        *("STATE_DIRECTORY", "CACHE_DIRECTORY", "LOGS_DIRECTORY", "RUNTIME_DIRECTORY"),
        *("CONFIGURATION_DIRECTORY", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "FDSTORE"),
        *("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_PID", "WATCHDOG_USEC"),
        *("MEMORY_PRESSURE_WATCH", "MEMORY_PRESSURE_WRITE"),
    }
)
"""Set by systemd for the keeper's own unit (systemd.exec(5)). A task that used them would watch the
keeper's memory and write into the keeper's state directory."""


@functools.cache
def passed(patterns: tuple[str, ...]) -> dict[str, str]:
    """Usual variables and those that match the patterns, as of the first task that requests them;
    later changes have no effect."""
    return select(os.environ, (*USUAL, *patterns))


def select(environ: Mapping[str, str], patterns: tuple[str, ...]) -> dict[str, str]:
    """Variables of `environ` that match the patterns, without those that describe the keeper."""
    exact = frozenset(patterns)
    beginnings = tuple(one[:-1] for one in patterns if one.endswith("*"))
    return {
        name: value
        for name, value in environ.items()
        if (name in exact or name.startswith(beginnings))
        and name not in OF_SERVICE
        and name not in PERSONAL
        and not name.startswith(PRIVATE)
    }


@functools.cache
def own_variables() -> dict[str, str]:
    """HOME, USER, LOGNAME and SHELL of the keeper's own account, for tasks that run as it."""
    try:
        accounts = PASSWD.read_text(errors="replace")
    except OSError:  # a container may have no such file
        accounts = ""
    return personal_of(os.geteuid(), accounts, os.environ)


def own_account() -> str:
    """Name of the keeper's own account, or its number where it has no name here."""
    uid, name = os.geteuid(), own_variables().get("USER", "")
    if uid == ROOT_UID:
        return ROOT
    return str(uid) if name in ("", ROOT) else name  # `su` without a dash leaves USER unchanged


def personal_of(uid: int, passwd: str, environ: Mapping[str, str]) -> dict[str, str]:
    """HOME, USER, LOGNAME and SHELL of an account of this host. An account that /etc/passwd lacks
    is not looked up, because a name service may hang: then the environment's values count.
    """
    for line in passwd.splitlines():
        name, _, number, _, _, home, shell, *_ = [*line.split(":"), *[""] * 7]
        if number == str(uid):
            return {"HOME": home, "USER": name, "LOGNAME": name, "SHELL": shell or "/bin/sh"}
    names = ("HOME", "USER", "LOGNAME", "SHELL")
    return {name: environ[name] for name in names if name in environ}
