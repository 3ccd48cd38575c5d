"""Secrets of attempts: private files in memory, from the start of an attempt to its end.

Each attempt has a directory `ROOT/JOB.TASK.ATTEMPT` with a file for each of its secrets, readable
by its account alone. ROOT is on a tmpfs where there is one; the keeper gives the files to the
account. What a crash leaves is removed when the next agent starts, or with the tmpfs.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from wattline_agent.secrets.secret_store import SecretStore, SecretUnusable, write_all
from wattline_protocol.wire.task_order import TaskOrder

TRAVERSED, LISTED, OWN_FILE = 0o711, 0o755, 0o400
DIR_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
IN_MEMORY = frozenset({"tmpfs", "ramfs"})
MOUNTS = Path("/proc/self/mounts")
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - below it in a directory of its own
"""Not the first choice: systemd-logind removes an account's files there when it logs out."""


class TaskSecrets:
    """The directories of all attempts of one agent."""

    def __init__(
        self,
        store: SecretStore,
        state_dir: Path,
        environ: Mapping[str, str] = os.environ,
        mounts: Path = MOUNTS,
    ) -> None:
        """`environ`: of the agent, which systemd may have given a runtime directory."""
        self._store = store
        digest = hashlib.sha256(str(state_dir).encode()).hexdigest()[:12]
        name = f"wattline-secrets-{digest}"
        given = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
        own = "/run" if os.geteuid() == 0 else f"/run/user/{os.geteuid()}"
        kinds = _kinds(mounts)
        parents = [path for path in (given, own, SHARED_MEMORY) if path]
        self._roots = [f"{path}/{name}" for path in parents if _kind(path, kinds) in IN_MEMORY]
        self._roots.append(f"{state_dir}/{name}")
        """Where it may be, the best first; the last is on disk."""

    def place(self, key: str, order: TaskOrder) -> str:
        """Write the secrets of an attempt; returns its directory. Raises SecretUnusable, OSError;
        then nothing of it is left."""
        values = {
            _checked(name): self._store.read(order.owner, use.entry)
            for name, use in order.secrets.items()
        }
        self.remove(key)
        folder = f"{self._root()}/{key}"
        os.mkdir(folder)  # noqa: PTH102 - beside os.open
        try:
            os.chmod(folder, LISTED)  # noqa: PTH101 - as above
            for name, value in values.items():
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                file = os.open(f"{folder}/{name}", flags, OWN_FILE)
                try:
                    write_all(file, value)
                finally:
                    os.close(file)
        except OSError:
            self.remove(key)
            raise
        return folder

    def remove(self, key: str) -> None:
        """Remove the secrets of an attempt, as far as possible: an account can mount something
        over its own file, which is left until that is gone."""
        for root in self._mine():
            with suppress(OSError):
                _remove(f"{root}/{key}")

    def sweep(self, living: Collection[str]) -> None:
        """Remove those of all other attempts: of agents that died before they could."""
        for root in self._mine():
            with suppress(OSError):
                for key in set(os.listdir(root)) - set(living):  # noqa: PTH208 - names
                    with suppress(OSError):
                        _remove(f"{root}/{key}")

    def _mine(self) -> Iterator[str]:
        return (root for root in self._roots if _is_ours(root))

    def _root(self) -> str:
        """The first that can be used; created where it does not exist. Raises OSError."""
        for root in self._roots[:-1]:
            with suppress(OSError):
                return _made(root)
        return _made(self._roots[-1])


def _checked(name: str) -> str:
    """A name that is one file. The scheduler checks it too; here it becomes a path."""
    if not (name.isascii() and name.isidentifier()):
        raise SecretUnusable("a secret has the name of a variable: letters, digits and _")
    return name


def _made(root: str) -> str:
    with suppress(FileExistsError):
        os.mkdir(root)  # noqa: PTH102 - beside os.open
    if not _is_ours(root):
        raise PermissionError(errno.EPERM, "belongs to another account", root)
    os.chmod(root, TRAVERSED)  # noqa: PTH101 - whatever the umask is
    return root


def _is_ours(root: str) -> bool:
    """A directory that only this account may write: in /dev/shm anyone can make one before us."""
    try:
        place = os.open(root, DIR_FLAGS)
    except OSError:
        return False
    try:
        found = os.fstat(place)
    finally:
        os.close(place)
    return found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _remove(folder: str) -> None:
    """Only this account may write in it: its content is what `place` wrote."""
    for name in os.listdir(folder):  # noqa: PTH208 - names
        with suppress(OSError):
            os.unlink(f"{folder}/{name}")  # noqa: PTH108 - beside os.listdir
    os.rmdir(folder)  # noqa: PTH106 - as above


def _kinds(mounts: Path) -> dict[str, str]:
    """Kind of file system by mount point."""
    lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    return {fields[1]: fields[2] for line in lines if len(fields := line.split()) > 2}


def _kind(path: str, kinds: Mapping[str, str]) -> str:
    """Of the file system that the path is on."""
    above = (str(folder) for folder in (Path(path), *Path(path).parents))
    return next((kinds[folder] for folder in above if folder in kinds), "")
