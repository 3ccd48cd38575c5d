"""Removing what tasks have left, by processes of their own.

What a directory holds is up to the task: a million files would keep the agent from its caps, and a
tree that is deep enough ends a program that walks it by calling itself. rm(1) does neither, and
follows no link, whatever a process of the same account changes under it.
"""

import os
import signal
from contextlib import suppress

RM = "/bin/rm"
MAX_AT_ONCE = 4


class Removals:
    """Those that are under way. What is not done at the end is found again by the next agent."""

    def __init__(self) -> None:
        self._running: list[int] = []

    def is_full(self) -> bool:
        """Whether the next one has to wait."""
        self._running = [pid for pid in self._running if os.waitpid(pid, os.WNOHANG)[0] == 0]
        return len(self._running) >= MAX_AT_ONCE

    def begin(self, path: str) -> None:
        """Remove the directory, as far as this can be done: at once where it is empty."""
        try:
            os.rmdir(path)  # noqa: PTH106 - a hot path
        except FileNotFoundError:
            return
        except OSError:
            with suppress(OSError):  # no process is to be had now: it stays until the next start
                self._running.append(_start_rm(path))

    def close(self) -> None:
        """Break off what is under way."""
        for pid in self._running:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self._running.clear()


def _start_rm(path: str) -> int:
    null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in range(3)]
    command = [RM, "-rf", "--one-file-system", "--", path]
    return os.posix_spawn(RM, command, os.environ, file_actions=null)
