"""The interpreters that the kernel opens, besides the file itself, to execute a file.

The first line of a script names one, which may be a script again; the header of a program names the
loader of its libraries. A local script whose interpreter is on an unreachable server hangs in its
exec like a script on that server.
"""

import os
import stat
import struct
from collections.abc import Callable

from wattline_agent.keeper.mounts import NotLocal

MAX_NAMED = 5
"""Longest chain: as many scripts as the kernel follows, and the loader of the program."""
HEAD_BYTES = 4096
SCRIPT_BYTES = 256
"""Length of a first line that the kernel reads."""
ELF_64 = b"\x7fELF\x02"
HEADER = struct.Struct("=32xQ14xHH")
"""ELF header (elf(5)): offset, entry size and count of the segment headers."""
SEGMENT = struct.Struct("=I4xQ16xQ16x")
"""Segment header: type, offset, size."""
MAX_SEGMENTS_BYTES = 64 * 1024
MAX_LOADER_BYTES = 4096
"""Of all segment headers, and of the name: the kernel executes no file that says more."""
INTERPRETER = 3
"""Segment type PT_INTERP: the path of the loader."""


def touch_interpreters(file: str, cwd: str, touch: Callable[[str], None]) -> None:
    """Call `touch` with each interpreter that a process in `cwd` opens to execute the file, already
    touched itself. Raises what `touch` raises, and Elsewhere where this is unknown."""
    for _ in range(MAX_NAMED):
        try:
            named = _named_by(file)
        except (OSError, OverflowError, struct.error) as error:
            raise NotLocal(file) from error
        if not named:
            return
        file = os.path.join(cwd, named)  # noqa: PTH118 - a start is a hot path, and Path costs
        touch(file)


def _named_by(path: str) -> str:
    """The interpreter named by a file; empty = none. Raises OSError, OverflowError where an offset
    is in no file, struct.error."""
    if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - to open it could wait
        raise OSError
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # never wait for a file lease
    try:
        head = os.pread(file, HEAD_BYTES, 0)
        if head.startswith(b"#!"):
            words = head[2:SCRIPT_BYTES].partition(b"\n")[0].split()
            return _named(words[0]) if words else ""
        return _loader_of(file, head) if head.startswith(b"\x7fELF") else ""
    finally:
        os.close(file)


def _loader_of(file: int, head: bytes) -> str:
    if not head.startswith(ELF_64):
        raise OSError  # built for another machine type
    at, size, count = HEADER.unpack_from(head)
    if size != SEGMENT.size or size * count > MAX_SEGMENTS_BYTES:
        raise OSError
    segments = os.pread(file, size * count, at)
    for start in range(0, size * count, size):
        kind, where, length = SEGMENT.unpack_from(segments, start)
        if kind == INTERPRETER:
            return _named(os.pread(file, min(length, MAX_LOADER_BYTES), where))
    return ""


def _named(name: bytes) -> str:
    """Up to the first zero, as the kernel reads it."""
    return os.fsdecode(name.partition(b"\0")[0])
