"""What a task sees of the keeper's own environment.

An agent started by hand has its user's whole environment, keys and tokens among it, and so has the
keeper that it starts: a task sees what is named here, or in the site file, and no more.
"""

import functools
import os
from collections.abc import Mapping
from pathlib import Path

from wattline_agent.keeper.processes.account import PERSONAL, ROOT, ROOT_UID

USUAL = ("PATH", "LANG", "LC_*", "TZ", "LD_LIBRARY_PATH")
"""Passed to every task: a name, or with a star at its end all that begin so."""
PRIVATE = "WATTLINE_"
"""Of Wattline's own programs; a task's are set for it."""
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
"""What systemd tells the keeper of its own unit (systemd.exec(5)). A task that took it for its own
would watch the keeper's memory, and write where the keeper's state lies."""


@functools.cache
def passed(patterns: tuple[str, ...]) -> dict[str, str]:
    """The usual variables and those that the patterns name, as they are when the first task asks
    for them: nothing changes them after that."""
    return select(os.environ, (*USUAL, *patterns))


def select(environ: Mapping[str, str], patterns: tuple[str, ...]) -> dict[str, str]:
    """Of `environ` what the patterns name, but nothing that says who or what the keeper is."""
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
    """Who the keeper's own account is, for tasks that run as it."""
    try:
        accounts = PASSWD.read_text(errors="replace")
    except OSError:  # a container may have no such file
        accounts = ""
    return personal_of(os.geteuid(), accounts, os.environ)


def own_account() -> str:
    """Its name, or its number where it has none here."""
    uid, name = os.geteuid(), own_variables().get("USER", "")
    if uid == ROOT_UID:
        return ROOT
    return str(uid) if name in ("", ROOT) else name  # su without its dash leaves USER as it was


def personal_of(uid: int, passwd: str, environ: Mapping[str, str]) -> dict[str, str]:
    """HOME, USER, LOGNAME and SHELL of the account of this host. One that the host's own file does
    not have is not looked up, for a name service may hang: then what the environment says counts.
    """
    for line in passwd.splitlines():
        name, _, number, _, _, home, shell, *_ = [*line.split(":"), *[""] * 7]
        if number == str(uid):
            return {"HOME": home, "USER": name, "LOGNAME": name, "SHELL": shell or "/bin/sh"}
    names = ("HOME", "USER", "LOGNAME", "SHELL")
    return {name: environ[name] for name in names if name in environ}
