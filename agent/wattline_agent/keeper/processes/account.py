"""Becoming another account of the host: in the child, between fork and exec.

Names are looked up there as well, so that a name service that hangs holds up this one start, which
is given up after some seconds, and nothing else.
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
"""Variables of the keeper's environment that say who it is."""

CAP_CHOWN, CAP_SETGID, CAP_SETUID = 0, 6, 7
"""linux/capability.h"""
NEEDED = 1 << CAP_CHOWN | 1 << CAP_SETGID | 1 << CAP_SETUID


@dataclass(frozen=True, slots=True)
class Account:
    """Whom a task runs as."""

    name: str
    own: tuple[str, ...] = ()
    """Files and directories that become the account's; nobody else may write where they lie."""
    make: str = ""
    """A directory that the account makes for itself, where others may make theirs; empty = none."""


def become(account: Account, output: int) -> dict[str, str]:
    """Be the account, with all its groups and nothing of before; its variables. Raises OSError.

    `output` becomes the account's as well: else no program of it could open /dev/stdout.
    """
    if os.geteuid() != ROOT_UID:  # the kernel would leave it the capabilities it was given
        raise OSError(errno.EPERM, "only a keeper of root starts tasks as other accounts")
    try:
        entry = pwd.getpwnam(account.name)
    except KeyError:
        raise OSError(errno.ENOENT, f"this host has no account {account.name}") from None
    if entry.pw_uid == ROOT_UID and account.name != ROOT:
        raise OSError(errno.EPERM, f"account {account.name} is root by another name")
    for path in account.own:
        os.chown(path, entry.pw_uid, entry.pw_gid, follow_symlinks=False)
    os.fchown(output, entry.pw_uid, entry.pw_gid)
    os.setgroups(os.getgrouplist(entry.pw_name, entry.pw_gid))
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    for path in account.own:
        if closed := closed_above(path):
            raise OSError(errno.EACCES, f"{closed} is closed to it (chmod o+x {closed})")
    if account.make:
        make_own(account.make)
    return {
        "HOME": entry.pw_dir,
        "USER": entry.pw_name,
        "LOGNAME": entry.pw_name,
        "SHELL": entry.pw_shell or "/bin/sh",
    }


def closed_above(path: str) -> str:
    """The first directory on the way to `path` that this user may not pass through; empty = none,
    or there is no such way."""
    for folder in map(str, reversed(Path(path).parents)):
        if not os.access(folder, os.X_OK):
            return folder if os.path.isdir(folder) else ""  # noqa: PTH112 - beside os.access
    return ""


def make_own(path: str) -> None:
    """A private directory of this user's. Where everybody may make some, somebody else may have
    been first: what a task would load from there is not to be trusted. Raises OSError."""
    try:
        os.mkdir(path, 0o700)  # noqa: PTH102 - a link at its end is not to be followed
    except FileExistsError:
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise OSError(errno.EPERM, f"{path} is there and is somebody else's") from None


def can_run_as(status: Path = Path("/proc/self/status")) -> bool:
    """Whether this process may become other accounts of the host, and leave all behind with that:
    of capabilities that a process not root was given, the tasks would keep some."""
    lines = (line.partition(":") for line in status.read_text().splitlines())
    fields = {name: value.split() for name, _, value in lines}
    _, effective_uid, *_ = map(int, fields["Uid"])
    return effective_uid == ROOT_UID and int(fields["CapEff"][0], 16) & NEEDED == NEEDED
