"""Opens files owned by an account without accessing a file system mounted over them (FUSE).

The account may mount one between a check of the mount table and an open, which then waits for its
server. An O_PATH descriptor accesses no file system, shows which mount it is on, and refers to the
same file when it is opened in full.
"""

import errno
import os

PLACE = os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW
MAX_INFO_BYTES = 256


def open_local(path: str, flags: int) -> int:
    """As `os.open`, for a file on the file system of its directory, to which only we may write.
    Raises OSError; EXDEV = something is mounted there."""
    place = os.open(path, PLACE)
    try:
        folder = os.open(os.path.dirname(path), PLACE)  # noqa: PTH120 - a hot path
        try:
            if not is_same_mount(place, folder):
                raise OSError(errno.EXDEV, "something is mounted there", path)
        finally:
            os.close(folder)
        return os.open(f"/proc/self/fd/{place}", flags)
    finally:
        os.close(place)


def is_same_mount(one: int, other: int) -> bool:
    """Whether both descriptors (O_PATH) are on the same mount."""
    return _mount_of(one) == _mount_of(other)


def _mount_of(descriptor: int) -> bytes:
    info = os.open(f"/proc/self/fdinfo/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        lines = os.read(info, MAX_INFO_BYTES).split(b"\n")
    finally:
        os.close(info)
    return next(line for line in lines if line.startswith(b"mnt_id:"))
