"""Processes that the children of the fetch process leave behind.

A child works as the account of a user, reads what that account wrote, and runs `git` there, which
may run programs of the user's choice. What such a program starts in the background must not outlive
its child: no job has it, so no limit of a job holds for it.
"""

import ctypes
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from subprocess import Popen
from typing import Final

import psutil

PR_SET_CHILD_SUBREAPER: Final = 36

_libc = ctypes.CDLL(None, use_errno=True)


class Children:
    """The children of this process, from several threads. Until `adopt` is called, what they leave
    behind is left alone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        """No child is unknown while strays are looked for."""
        self._known: set[int] = set()
        self._adopts = False

    def adopt(self) -> None:
        """Become the parent of what they leave behind, so that it is found. All children of this
        process are to be started here. Raises OSError."""
        if _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self._adopts = True

    def start(self, make: Callable[[], "Popen[bytes]"]) -> "Popen[bytes]":
        """A child that is known from the beginning."""
        with self._lock:
            child = make()
            self._known.add(child.pid)
            return child

    def ended(self, pid: int) -> None:
        """The child was ended: so is what it has left behind."""
        with self._lock:
            self._known.discard(pid)
            if self._adopts:
                self._end_strays()

    def _end_strays(self) -> None:
        for stray in psutil.Process().children():
            if stray.pid not in self._known:
                _end(stray)


def _end(stray: psutil.Process) -> None:
    """With all its descendants, as they are now; those that they start meanwhile, at the next. One
    that has become another account's, as by sudo, may be out of reach: the others end all the same.
    """
    with suppress(psutil.NoSuchProcess):
        for process in (stray, *stray.children(recursive=True)):
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                process.kill()
    with suppress(ChildProcessError):
        os.waitpid(stray.pid, os.WNOHANG)


CHILDREN = Children()
"""Of this process."""
