"""A real, small file system that tests can fill up and make read-only, in a mount namespace of its
own: programs started with `enter` before their command see it, nobody else does.

It lives as long as its holder process, so a program that ended finds its files again.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import pytest

from support.node.simnode import DEADLINE_S

_HOLD = (
    'mount -t tmpfs -o "size=$1,nr_inodes=$3,mode=700" small "$2" && echo ready && exec sleep 86400'
)


class SmallDisk:
    """A mounted file system at `path`, seen from inside; `outside` is the same seen from here."""

    def __init__(self, path: Path, holder: int, as_root: tuple[str, ...], inodes: int) -> None:
        self.path, self.inodes = path, inodes
        self.outside = Path(f"/proc/{holder}/root{path}")
        options = ("-U", "--preserve-credentials") if as_root else ()
        self.enter = ("nsenter", "-t", str(holder), "-m", *options, "--")

    def fill(self) -> None:
        """Leave not one free byte, and where files are limited no free one either."""
        with (self.outside / "ballast").open("ab", buffering=0) as file:
            for size in (2**20, 2**12, 1):
                while _could_write(file.fileno(), size):
                    pass
        if self.inodes:
            with suppress(OSError):
                for number in count():
                    (self.outside / f"ballast-{number}").touch()

    def free(self) -> None:
        """Have room again."""
        for file in self.outside.glob("ballast*"):
            file.unlink()

    def make_read_only(self, *, is_read_only: bool = True) -> None:
        """Mount it read-only, as a kernel does after an I/O error; or writable again."""
        mode = "ro" if is_read_only else "rw"
        command = [*self.enter, "mount", "-o", f"remount,{mode}", str(self.path)]
        subprocess.run(command, check=True, timeout=DEADLINE_S)


def _could_write(descriptor: int, size: int) -> bool:
    try:
        return os.write(descriptor, b"\0" * size) > 0
    except OSError:
        return False


@contextmanager
def small_disk(path: Path, megabytes: int, inodes: int = 0) -> Iterator[SmallDisk]:
    """Such a disk at `path` for a block. `inodes`: files and folders that it has at most, 0: any
    number. Skips where no file system may be mounted."""
    path.mkdir(parents=True)
    as_root = () if os.geteuid() == 0 else ("-r",)
    if not shutil.which("unshare") or not shutil.which("nsenter"):
        pytest.skip("no small disk can be made here: unshare or nsenter is missing (util-linux)")
    command = ["unshare", *as_root, "-m", "sh", "-c", _HOLD, "sh", f"{megabytes}m", str(path)]
    command.append(str(inodes))
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stderr is not None
        try:
            if holder.stdout.readline() != "ready\n":
                pytest.skip(f"no small disk can be made here: {holder.stderr.read().strip()}")
            yield SmallDisk(path, holder.pid, as_root, inodes)
        finally:
            holder.kill()
