"""Processes of the demo: started by name, killed by process id, none left behind.

The demo makes itself the reaper of orphans below it (PR_SET_CHILD_SUBREAPER), so that all processes
of its programs, keepers and tasks included, stay among its descendants and are found at the end.
"""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

_PR_SET_CHILD_SUBREAPER = 36
STOP_S = 8.0
"""Time for programs to stop in order."""
KILL_S = 5.0


class ProgramEnded(Exception):
    """A program of the demo ended by itself; the text has its name, status and last lines."""


def adopt_orphans() -> None:
    """From now on, descendants that lose their parent become this process's children."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "cannot become the reaper of orphans")


class Processes:
    """Programs of one demo run; their output is written to files in `logs`."""

    def __init__(self, logs: Path, environ: Mapping[str, str]) -> None:
        self._logs = logs
        self._environ = dict(environ)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(
        self, name: str, command: Sequence[str], environ: Mapping[str, str] | None = None
    ) -> int:
        """Start a program; its process id."""
        with self._log(name) as log:
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**self._environ, **(environ or {})},
                start_new_session=True,
            )
        self._running[name] = process
        return process.pid

    def kill(self, name: str) -> int:
        """Send SIGKILL to the program alone, not to its children; returns its process id."""
        process = self._running.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()
        return process.pid

    def release(self, name: str) -> subprocess.Popen[bytes]:
        """The program may end from now on, and another may be started in its name."""
        return self._running.pop(name)

    def check(self) -> None:
        """Raises ProgramEnded when a program that should run has ended."""
        for name, process in self._running.items():
            status = process.poll()
            if status is not None:
                raise ProgramEnded(
                    f"{name} ended with status {status}; its last lines:\n{self.tail(name)}"
                )

    def tail(self, name: str, lines: int = 15) -> str:
        """The last lines of a program's output."""
        text = (self._logs / f"{name}.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def stop_all(self) -> list[str]:
        """Stop everything below this process; returns failures as text (empty = success)."""
        for process in reversed(self._running.values()):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        _wait_ended(lambda: [p for p in self._running.values() if p.poll() is None], STOP_S)
        self._running.clear()
        descendants = _descendants()
        for descendant in descendants:
            _signal(descendant, signal.SIGKILL)
        _wait_ended(_descendants, KILL_S)
        return [f"process {p.pid} ({' '.join(p.cmdline()[:4])})" for p in _descendants()]

    def _log(self, name: str) -> IO[bytes]:
        return (self._logs / f"{name}.log").open("ab")


def _descendants() -> list[psutil.Process]:
    """Living descendants; dead children are reaped."""
    _reap()
    alive = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                alive.append(process)
        except psutil.NoSuchProcess:
            continue
    return alive


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0] != 0:
            pass
    except ChildProcessError:
        return


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _wait_ended(left: Callable[[], Sequence[object]], limit_s: float) -> None:
    until_s = time.monotonic() + limit_s
    while left() and time.monotonic() < until_s:
        time.sleep(0.05)
