"""The account of the hosts that the first admin's tasks run as: chosen when a site is created.

Never root unless requested. For root it is the system account for jobs, which is created here where
the host has a program for that; on hosts with systemd `systemd/wattline.sysusers` creates it.
"""

import os
import pwd
import shutil
import subprocess
from typing import NamedTuple

from wattline import exits
from wattline.failures import ActFailed
from wattline_protocol.site.run_as import ACCOUNT, ROOT

JOB_ACCOUNT = "wattline-job"
JOB_HOME = "/var/lib/wattline-job"
SCHEDULER_ACCOUNT = "wattline"
"""Account of the scheduler on real hosts: it owns the keys of the site, and runs no tasks."""
ROOT_UID = 0
COMMAND_S = 30.0

MAKERS = (
    (
        *("useradd", "--system", "--user-group", "--home-dir", JOB_HOME, "--create-home"),
        *("--shell", "/bin/sh", "--comment", "Wattline jobs", JOB_ACCOUNT),
    ),
    ("systemd-sysusers", "--inline", f'u {JOB_ACCOUNT} - "Wattline jobs" {JOB_HOME} /bin/sh'),
    ("adduser", "-S", "-D", "-h", JOB_HOME, "-s", "/bin/sh", JOB_ACCOUNT),
)
"""Programs of Linux distributions, of systemd, of busybox."""
BY_HAND = f"useradd --system --home-dir {JOB_HOME} --create-home {JOB_ACCOUNT}"


class Choice(NamedTuple):
    """An account, and notes on it."""

    account: str
    """Empty: none is named, and tasks run as the keeper's own unless that is root."""
    notes: tuple[str, ...] = ()


def chosen(asked: str | None, admin: str) -> Choice:
    """The requested account; else that of this process, or for root and for the scheduler's account
    that of jobs. Raises ActFailed."""
    if asked is not None:
        if not ACCOUNT.fullmatch(asked):
            raise ActFailed(f"--run-as: {asked!r} is not a name of an account", exits.USAGE)
        return Choice(asked, (_allowed(admin),) if asked == ROOT else ())
    uid = os.geteuid()
    name = account_name(uid)
    if uid == ROOT_UID or name == SCHEDULER_ACCOUNT:
        return Choice(JOB_ACCOUNT, (*_made(uid), _how_to_allow(admin)))
    if not ACCOUNT.fullmatch(name):
        return Choice(
            "", (f"User id {uid} has no account on this host: tasks run as the keeper's user.",)
        )
    return Choice(name)


def account_name(uid: int) -> str:
    """Name of the account on this host; empty: none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def exists(account: str) -> bool:
    """Whether this host has the account."""
    try:
        pwd.getpwnam(account)
    except KeyError:
        return False
    return True


def _made(uid: int) -> tuple[str, ...]:
    """Create the account of jobs where this host has none; returns the actions done or needed."""
    every = f"Every GPU host requires the account {JOB_ACCOUNT} (systemd/wattline.sysusers)."
    if exists(JOB_ACCOUNT):
        return (every,)
    failed = "only root can create it" if uid != ROOT_UID else _make()
    if not failed:
        return (f"Created the system account {JOB_ACCOUNT} on this host. {every}",)
    lacks = f"This host has no account {JOB_ACCOUNT} ({failed})."
    return (f"{lacks} Until it has one, no task of the admin starts here: {BY_HAND}",)


def _make() -> str:
    """Why it could not be created; empty = it exists."""
    found = [command for command in MAKERS if shutil.which(command[0])]
    failed = f"none of {', '.join(command[0] for command in MAKERS)} is here"
    for command in found:
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=COMMAND_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            failed = f"{command[0]}: {error}"
            continue
        if exists(JOB_ACCOUNT):
            return ""
        failed = f"{command[0]} exited with {done.returncode}: {done.stderr.strip()}"
    return failed


def _how_to_allow(admin: str) -> str:
    return f'To let tasks of {admin} run as root: users = {{ {admin} = "root" }} in [run_as].'


def _allowed(admin: str) -> str:
    return f"Tasks of {admin} run as root on the hosts and can undo the caps of their GPUs."
