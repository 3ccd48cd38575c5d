"""One scheduler per state directory: an flock, which the kernel releases when its process dies."""

import fcntl
import os
from pathlib import Path

from wattline_scheduler.store.errors import StoreLocked, StoreUnwritable

LOCK_NAME = "scheduler.lock"


class DirectoryLock:
    """Locked from construction to `release`. Raises StoreLocked naming the other process."""

    def __init__(self, directory: Path) -> None:
        path = directory / LOCK_NAME
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnwritable(
                f"cannot create {path}: {error.strerror}. The state directory must be writable "
                "by the scheduler's user."
            ) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._fd)
            raise StoreLocked(
                f"{directory} is in use by another scheduler (process {holder}). Stop it first, "
                "or give this one its own state directory."
            ) from error
        self._write_pid(path)

    def _write_pid(self, path: Path) -> None:
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            os.close(self._fd)
            raise StoreUnwritable(f"cannot write {path}: {error.strerror}.") from error

    def release(self) -> None:
        """Release the directory for another scheduler."""
        os.close(self._fd)
