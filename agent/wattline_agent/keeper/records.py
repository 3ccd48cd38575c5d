"""Small JSON files that are replaced atomically: written beside, then renamed."""

import json
import os
from pathlib import Path

MAX_RECORD_BYTES = 1024 * 1024
"""A larger file was not written by Wattline and is not read."""
MAX_NOTICE_CHARS = 1000


def write_record(path: Path, data: object) -> None:
    """Replace `path` with `data` as JSON. Not synced: readers see the old or the new one."""
    beside = path.with_name(path.name + ".new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        write_at(descriptor, json.dumps(data).encode(), 0)
    finally:
        os.close(descriptor)
    beside.rename(path)


def write_at(descriptor: int, data: bytes, offset: int) -> None:
    """Write all bytes: a disk that fills up takes some of them first. Raises OSError."""
    left = memoryview(data)
    while left:
        count = os.pwrite(descriptor, left, offset)
        left, offset = left[count:], offset + count


def sync_directory(path: Path) -> None:
    """Make renames and creations in `path` durable (fsync)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_record(path: Path) -> object:
    """The JSON value in `path`; None when it is absent, unreadable, torn, too large or not JSON."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_RECORD_BYTES + 1)
    except OSError:
        return None
    if len(data) > MAX_RECORD_BYTES:
        return None
    try:
        value: object = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value


def write_notice(path: str, why: str) -> None:
    """Write why a task is to stop, readable by any account. Raises OSError."""
    replace_text(path, why[:MAX_NOTICE_CHARS])


def replace_text(path: str, line: str) -> None:
    """Replace a file of one line at once, readable by any account. Raises OSError."""
    beside = Path(f"{path}.new")
    try:
        beside.write_text(line + "\n", encoding="utf-8")
        beside.chmod(0o644)
        beside.rename(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
