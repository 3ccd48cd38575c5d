"""What the kernel opens to execute a file, beside the file: the interpreter that it names.

The first line of a script names one, which may be a script again, and the header of a program names
the one that loads its libraries. A script of this host whose interpreter lies on a server that is
away hangs in its exec as one that lies there itself.
"""

import os
import stat
import struct
from collections.abc import Callable

from wattline_agent.keeper.mounts import Elsewhere

MAX_NAMED = 5
"""One after another: as many scripts as the kernel follows, and the loader of the program."""
HEAD_BYTES = 4096
SCRIPT_BYTES = 256
"""As much of a first line as the kernel reads."""
ELF_64 = b"\x7fELF\x02"
HEADER = struct.Struct("=32xQ14xHH")
"""Of the file (elf(5)): where the headers of its segments are, how long each, how many."""
SEGMENT = struct.Struct("=I4xQ16xQ")
"""Of a segment: type, where it is, how long."""
INTERPRETER = 3
"""The type of a segment that is the path of the loader."""


def touch_interpreters(file: str, cwd: str, touch: Callable[[str], None]) -> None:
    """Call `touch` with each path that a process in `cwd` opens if it executes the file, which has
    been touched itself. Raises what that does, and Elsewhere where it cannot be told."""
    for _ in range(MAX_NAMED):
        try:
            named = _named_by(file)
        except (OSError, struct.error) as error:
            raise Elsewhere(file) from error
        if not named:
            return
        file = os.path.join(cwd, named)  # noqa: PTH118 - a start is a hot path, and Path costs
        touch(file)


def _named_by(path: str) -> str:
    """The interpreter of a file; empty = it names none. Raises OSError, struct.error."""
    if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - to open it could wait
        raise OSError
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # nor for whoever holds it
    try:
        head = os.pread(file, HEAD_BYTES, 0)
        if head.startswith(b"#!"):
            words = head[2:SCRIPT_BYTES].partition(b"\n")[0].split()
            return os.fsdecode(words[0]) if words else ""
        return _loader_of(file, head) if head.startswith(b"\x7fELF") else ""
    finally:
        os.close(file)


def _loader_of(file: int, head: bytes) -> str:
    if not head.startswith(ELF_64):
        raise OSError  # of another kind of machine than this
    at, size, count = HEADER.unpack_from(head)
    segments = os.pread(file, size * count, at)
    for start in range(0, size * count, size):
        kind, where, length = SEGMENT.unpack_from(segments, start)
        if kind == INTERPRETER:
            return os.fsdecode(os.pread(file, length, where).rstrip(b"\0"))
    return ""
