"""Durable files and directory entries: they survive a loss of power."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Flush a file, or the entries of a directory, to disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_whole(path: Path, data: bytes) -> None:
    """Atomically replace a file, readable by its owner only; readers see the old or the new
    content, also after a loss of power. Raises OSError."""
    part = path.with_name(f"{path.name}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    sync(part)
    part.replace(path)
    sync(path.parent)
