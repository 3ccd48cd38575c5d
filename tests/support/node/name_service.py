"""A host's name service that hangs for real: /etc/group is a FIFO, which keeps whoever opens it
until somebody writes; then no groups are found, and that is all."""

import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from support.node.simnode import wait_until

FIFO = "group"


def may_mount() -> bool:
    """Whether mounts may be made here, in a namespace of their own."""
    tried = ["unshare", "--mount", "mount", "-t", "tmpfs", "probe", "/mnt"]
    is_there = os.geteuid() == 0 and shutil.which("unshare") is not None
    return is_there and subprocess.run(tried, check=False, capture_output=True).returncode == 0


def hanging(folder: Path) -> tuple[str, ...]:
    """What is put before a command to have it there; `folder` is where the FIFO is made."""
    os.mkfifo(folder / FIFO)
    mounts = 'mount --bind "$0" /etc/group && exec "$@"'
    return ("unshare", "--mount", "sh", "-c", mounts, str(folder / FIFO))


def answer(folder: Path, is_through: Callable[[], bool]) -> None:
    """Answer everybody who asks, until `is_through`."""

    def is_done() -> bool:
        with suppress(OSError):  # nobody reads it just now
            os.close(os.open(folder / FIFO, os.O_WRONLY | os.O_NONBLOCK))
        return is_through()

    wait_until(is_done, "what asked the name service goes on")
