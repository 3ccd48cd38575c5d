"""Removes directories of ended tasks, in separate processes.

The content of a directory is up to the task: a million files would delay the agent's caps, and a
very deep tree ends a program that walks it by recursion. rm(1) handles both, and follows no link,
whatever a process of the same account changes below it.
"""

import os
import signal
import time
from contextlib import suppress

RM = "/bin/rm"
MAX_AT_ONCE = 4
PATIENCE_S = 600.0
"""A removal that takes longer hangs, or is so large that others take precedence."""
END_S, END_POLL_S = 1.0, 0.002
"""Wait for killed removals: they may be blocked in the kernel."""


class Cleanup:
    """Removals under way. What is not done at the end is found again by the next agent."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._running: dict[int, float] = {}
        """Deadline by process."""
        self._broken_off: list[int] = []

    def is_full(self) -> bool:
        """Whether the next removal has to wait."""
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
        """Remove the directory as far as possible: at once where it is empty."""
        try:
            os.rmdir(path)  # noqa: PTH106 - a hot path
        except FileNotFoundError:
            return
        except OSError:
            with suppress(OSError):  # no process available now: it stays until the next start
                self._running[_start_rm(path)] = time.monotonic() + self._patience_s

    def close(self) -> None:
        """Abort the removals under way."""
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
