"""Switching to another account of the host: in the child, between fork and exec.

Names are resolved there as well, so that a name service that hangs blocks only this start, which is
given up after some seconds.
"""

import errno
import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

ROOT = "root"
ROOT_UID = 0

PERSONAL = frozenset({"HOME", "USER", "LOGNAME", "SHELL", "MAIL", "XDG_RUNTIME_DIR"})
"""Variables of the keeper's environment that describe its account."""

CAP_CHOWN, CAP_SETGID, CAP_SETUID = 0, 6, 7
"""linux/capability.h"""
NEEDED = 1 << CAP_CHOWN | 1 << CAP_SETGID | 1 << CAP_SETUID


@dataclass(frozen=True, slots=True)
class Account:
    """Account that a task runs as."""

    name: str
    own: tuple[str, ...] = ()
    """Files and directories given to the account; no other may write where they are."""
    make: str = ""
    """A directory that the account creates for itself, in a shared parent; empty = none."""


def become(account: Account, output: int) -> dict[str, str]:
    """Assume the account and all its groups, and no more; returns its variables. Raises OSError.

    The account also becomes owner of `output`: else its programs could not open /dev/stdout.
    """
    if os.geteuid() != ROOT_UID:  # the kernel would leave it the capabilities it was given
        raise OSError(errno.EPERM, "only a keeper that runs as root starts tasks as other accounts")
    try:
        entry = pwd.getpwnam(account.name)
    except KeyError:
        raise OSError(errno.ENOENT, f"this host has no account {account.name}") from None
    if entry.pw_uid == ROOT_UID and account.name != ROOT:
        raise OSError(errno.EPERM, f"account {account.name} has the user id of root")
    for path in account.own:
        os.chown(path, entry.pw_uid, entry.pw_gid, follow_symlinks=False)
    os.fchown(output, entry.pw_uid, entry.pw_gid)
    os.setgroups(os.getgrouplist(entry.pw_name, entry.pw_gid))
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    for path in account.own:
        if closed := closed_above(path):
            raise OSError(errno.EACCES, f"it has no access to {closed} (chmod o+x {closed})")
    if account.make:
        make_own(account.make)
    return {
        "HOME": entry.pw_dir,
        "USER": entry.pw_name,
        "LOGNAME": entry.pw_name,
        "SHELL": entry.pw_shell or "/bin/sh",
    }


def closed_above(path: str) -> str:
    """First directory on `path` that this user may not traverse; empty = none, or the path does not
    exist."""
    for folder in map(str, reversed(Path(path).parents)):
        if not os.access(folder, os.X_OK):
            return folder if os.path.isdir(folder) else ""  # noqa: PTH112 - beside os.access
    return ""


def make_own(path: str) -> None:
    """Create a private directory of this user. In a shared parent another account may have created
    it first; what a task would load from there is not trusted. Raises OSError."""
    try:
        os.mkdir(path, 0o700)  # noqa: PTH102 - a link at its end is not to be followed
    except FileExistsError:
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise OSError(errno.EPERM, f"{path} exists and belongs to another account") from None


def can_run_as(status: Path = Path("/proc/self/status")) -> bool:
    """Whether this process may switch to other accounts of the host and drop all privileges with
    that: tasks would retain some of the capabilities given to a non-root process."""
    lines = (line.partition(":") for line in status.read_text().splitlines())
    fields = {name: value.split() for name, _, value in lines}
    _, effective_uid, *_ = map(int, fields["Uid"])
    return effective_uid == ROOT_UID and int(fields["CapEff"][0], 16) & NEEDED == NEEDED
