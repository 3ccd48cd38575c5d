"""A sysfs file with one number, left open: one system call per reading."""

import os
from pathlib import Path

MAX_BYTES = 64


class NumberFile:
    """One open file."""

    def __init__(self, path: Path) -> None:
        """Raises OSError: PermissionError means that only root may read it."""
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self) -> int | None:
        """The number; None when the device was removed or has no value at present."""
        try:
            return int(os.pread(self._file, MAX_BYTES, 0))
        except (OSError, ValueError):
            return None

    def close(self) -> None:
        """Close it."""
        os.close(self._file)


def open_number(path: Path) -> NumberFile | None:
    """The file, or None when there is no readable one."""
    try:
        return NumberFile(path)
    except OSError:
        return None


def read_text(path: Path) -> str:
    """The file's text without its end of line; empty when there is none."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
