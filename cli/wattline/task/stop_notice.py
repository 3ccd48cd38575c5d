"""Requests to stop: by the stop file, or by SIGTERM."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .background import finish

if TYPE_CHECKING:
    from types import FrameType

STOP_FILE_PERIOD_S = 0.2
"""Minimum interval of checking the stop file, so that polling in a tight loop is cheap."""


class StopRequested(SystemExit):
    """Raised by `safe_point`. Uncaught, it ends the program quietly with status 0."""

    def __init__(self) -> None:
        super().__init__(0)


class _Stop:
    """Whether this process was requested to stop. Once true it stays true."""

    def __init__(self) -> None:
        self.asked = False
        self.checked_s = -math.inf


_stop = _Stop()


def stop_requested() -> bool:
    """True once Wattline requested a stop: by the stop file, or by SIGTERM if `stoppable`.

    From then on it has the job's `grace` until it is killed: save, and end.
    """
    path = os.environ.get("WATTLINE_STOP_FILE", "")
    now_s = time.monotonic()
    if path and not _stop.asked and now_s - _stop.checked_s >= STOP_FILE_PERIOD_S:
        _stop.checked_s = now_s
        if Path(path).exists():  # only ever set: SIGTERM may arrive during the check of the file
            _stop.asked = True
    return _stop.asked


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Inside this block SIGTERM does not end the program but makes `stop_requested` true.

    Off the main thread Python receives no signals; there only the stop file counts.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _take_stop_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _take_stop_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  Python's own
    _stop.asked = True


def safe_point() -> None:
    """Raise StopRequested if a stop was requested: call it where ending loses nothing.

    It waits for a save in the background first.
    """
    if stop_requested():
        finish()
        raise StopRequested
