"""Removing what tasks have left, by processes of their own.

What a directory holds is up to the task: a million files would keep the agent from its caps, and a
tree that is deep enough ends a program that walks it by calling itself. rm(1) does neither, and
follows no link, whatever a process of the same account changes under it.
"""

import os
import signal
import time
from contextlib import suppress

RM = "/bin/rm"
MAX_AT_ONCE = 4
PATIENCE_S = 600.0
"""One that takes longer hangs, or has so much to do that others go first."""
END_S, END_POLL_S = 1.0, 0.002
"""So long is waited for those that were killed: they may wait for what no signal ends."""


class Removals:
    """Those that are under way. What is not done at the end is found again by the next agent."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._running: dict[int, float] = {}
        """By process, until when it may take."""
        self._broken_off: list[int] = []

    def is_full(self) -> bool:
        """Whether the next one has to wait."""
        now_s = time.monotonic()
        self._running = {pid: at for pid, at in self._running.items() if not _is_over(pid)}
        self._broken_off = [pid for pid in self._broken_off if not _is_over(pid)]
        for pid in [pid for pid, until_s in self._running.items() if until_s <= now_s]:
            self._break_off(pid)
        return len(self._running) >= MAX_AT_ONCE

    def _break_off(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        del self._running[pid]
        self._broken_off.append(pid)

    def begin(self, path: str) -> None:
        """Remove the directory, as far as this can be done: at once where it is empty."""
        try:
            os.rmdir(path)  # noqa: PTH106 - a hot path
        except FileNotFoundError:
            return
        except OSError:
            with suppress(OSError):  # no process is to be had now: it stays until the next start
                self._running[_start_rm(path)] = time.monotonic() + self._patience_s

    def close(self) -> None:
        """Break off what is under way."""
        for pid in list(self._running):
            self._break_off(pid)
        until_s = time.monotonic() + END_S
        while self._broken_off and time.monotonic() < until_s:
            time.sleep(END_POLL_S)
            self._broken_off = [pid for pid in self._broken_off if not _is_over(pid)]


def _is_over(pid: int) -> bool:
    return os.waitpid(pid, os.WNOHANG)[0] != 0


def _start_rm(path: str) -> int:
    null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in range(3)]
    command = [RM, "-rf", "--one-file-system", "--", path]
    return os.posix_spawn(RM, command, os.environ, file_actions=null)
