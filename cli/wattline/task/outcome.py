"""What becomes of a save: a report to the agent, and a line in the log when it failed."""

from __future__ import annotations

import sys
import time

from .manifest import CheckpointError
from .metrics import report

MAX_WHY_CHARS = 500


class Failures:
    """Saves of this process that failed since the last one that succeeded."""

    def __init__(self) -> None:
        self.in_a_row = 0


failures = Failures()


def note_published(step: int, size_bytes: int, save_s: float, copy_s: float) -> None:
    """After the rename."""
    failures.in_a_row = 0
    times = {"save_s": round(save_s, 3), "copy_s": round(copy_s, 3)}
    report("checkpoint", step=step, bytes=size_bytes, **times)


def note_failed(step: int, error: BaseException) -> None:
    """After a save that left nothing behind."""
    failures.in_a_row += 1
    log(f"the checkpoint of step {step} was not saved: {type(error).__name__}: {error}")
    why = public_text(error)[:MAX_WHY_CHARS]
    report("save_failed", step=step, why=why, in_a_row=failures.in_a_row)


def public_text(error: BaseException) -> str:
    """For events, which more people read than the log: without what the user's code may say."""
    name = type(error).__name__
    if isinstance(error, OSError):
        return f"{name}: {error.strerror}"
    return f"{name}: {error}" if isinstance(error, CheckpointError) else name


def note_rejected(step: int, why: str) -> None:
    """A checkpoint that is passed over."""
    log(f"the checkpoint of step {step} is passed over: {why}")
    report("checkpoint_rejected", step=step, why=why[:MAX_WHY_CHARS])


def log(text: str) -> None:
    """A line for the task's log."""
    clock = time.strftime("%H:%M:%S", time.gmtime())
    print(f"wattline {clock}Z: {text}", file=sys.stderr, flush=True)
