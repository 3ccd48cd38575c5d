"""Stacks of all threads on request of the agent: for a rank that makes no progress."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys

STACKS_SIGNAL = signal.SIGUSR2


def register_stacks() -> None:
    """Have SIGUSR2 write them to stderr, also while the main thread is blocked in C code.

    Only in a task, and unless the program handles the signal itself.
    """
    if os.environ.get("WATTLINE_TASK_DIR") and signal.getsignal(STACKS_SIGNAL) == signal.SIG_DFL:
        try:
            faulthandler.register(STACKS_SIGNAL, file=sys.stderr, all_threads=True)
        except (OSError, ValueError, AttributeError):  # stderr is closed, or replaced by no file
            return
