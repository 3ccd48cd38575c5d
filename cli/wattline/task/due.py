"""When a checkpoint is due."""

from __future__ import annotations

import os
import time

from .stop_notice import stop_requested


class Clock:
    """When this process saved last, or started."""

    def __init__(self) -> None:
        self.saved_s = time.monotonic()


clock = Clock()


def should_checkpoint() -> bool:
    """True: a stop was requested, or WATTLINE_CHECKPOINT_EVERY_S have passed since the last save.

    Without that variable only a stop makes it true. In a gang one process should call it and notify
    the others: each has a clock of its own.
    """
    every_s = float(os.environ.get("WATTLINE_CHECKPOINT_EVERY_S", "") or 0)
    is_due = every_s > 0 and time.monotonic() - clock.saved_s >= every_s
    return is_due or stop_requested()
