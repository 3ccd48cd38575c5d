"""Opening what an account owns, without asking a file system that it has mounted over it (FUSE).

It may mount one between a look at the table of mounts and an open, which then waits for whoever
serves it. A descriptor that names a place and no more (O_PATH) asks nobody, tells on which mount
that is, and means the same file when it is opened in full.
"""

import errno
import os

PLACE = os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW
MAX_INFO_BYTES = 256


def open_here(path: str, flags: int) -> int:
    """As `os.open`, of what lies on the file system of its directory, in which only we may write.
    Raises OSError; EXDEV = something is mounted there."""
    place = os.open(path, PLACE)
    try:
        folder = os.open(os.path.dirname(path), PLACE)  # noqa: PTH120 - a hot path
        try:
            if _mount_of(place) != _mount_of(folder):
                raise OSError(errno.EXDEV, "something is mounted there", path)
        finally:
            os.close(folder)
        return os.open(f"/proc/self/fd/{place}", flags)
    finally:
        os.close(place)


def _mount_of(descriptor: int) -> bytes:
    info = os.open(f"/proc/self/fdinfo/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        lines = os.read(info, MAX_INFO_BYTES).split(b"\n")
    finally:
        os.close(info)
    return next(line for line in lines if line.startswith(b"mnt_id:"))
