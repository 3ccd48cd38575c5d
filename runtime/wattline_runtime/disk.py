"""Writes that are whole and durable, and errors of a full disk."""

import ctypes
import os
from errno import EDQUOT, ENOSPC
from pathlib import Path

DISK_FULL = (ENOSPC, EDQUOT)
"""Errors of a full disk, and of a used-up quota."""

_libc = ctypes.CDLL(None, use_errno=True)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all bytes, however many the system takes at a time. Raises OSError."""
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    descriptor = _opened(path)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(path: Path) -> None:
    """Make all that was written to the file system of a folder durable: one wait for many files
    instead of one for each. Raises OSError."""
    descriptor = _opened(path)
    try:
        if _libc.syncfs(descriptor):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
