"""Step times of this rank, for the comparison with the other ranks of its gang."""

from __future__ import annotations

import os
import statistics
import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

WINDOW = 20
"""Steps of which medians are reported."""
REPORT_S = 0.5
"""Minimum interval of two reports of one rank: an agent reads them once a second."""


class StepTimes:
    """Durations of the newest steps, and of the part of each that was no wait. Pure."""

    def __init__(self) -> None:
        self.step = -1
        """The newest; -1 = none."""
        self._began_s = 0.0
        self._waited_s = 0.0
        self._steps: deque[tuple[float, float]] = deque(maxlen=WINDOW)

    def wait(self, seconds: float) -> None:
        """A part of the current step was a wait for other ranks."""
        self._waited_s += max(0.0, seconds)

    def end(self, step: int, at_s: float) -> None:
        """This step has ended. A report of the same step ends none; a lower one begins again."""
        if step == self.step:
            return
        if self.step < step and self.step >= 0:
            # a rank may report every tenth step only
            each_s = (at_s - self._began_s) / (step - self.step)
            waited_s = self._waited_s / (step - self.step)
            self._steps.append((each_s, max(0.0, each_s - waited_s)))
        else:
            self._steps.clear()
        self.step, self._began_s, self._waited_s = step, at_s, 0.0

    def summary(self) -> dict[str, float]:
        """Of one line of the metrics file."""
        known = self._steps or [(0.0, 0.0)]
        return {
            "step": self.step,
            "step_s": round(statistics.median(whole_s for whole_s, _ in known), 6),
            "busy_s": round(statistics.median(busy_s for _, busy_s in known), 6),
            "count": len(self._steps),
        }


_times = StepTimes()
_reported_s = -REPORT_S


@contextmanager
def waiting() -> Iterator[None]:
    """Mark the time in which this rank waits for the others: around a barrier or an all-reduce.

    In a gang all ranks have the same step time, since each step ends when the slowest is ready.
    With its waits marked, the rank that the others wait for is known.
    """
    began_s = time.monotonic()
    try:
        yield
    finally:
        waited(time.monotonic() - began_s)


def waited(seconds: float) -> None:
    """The same for a wait that was measured otherwise, in the current step."""
    _times.wait(seconds)


def step_ended(step: float) -> dict[str, float] | None:
    """The steps of this rank, where a report is due, for the line that reports the step."""
    global _reported_s
    now_s = time.monotonic()
    if not 0 <= step < 2**63:
        return None
    _times.end(int(step), now_s)
    if now_s - _reported_s < REPORT_S:
        return None
    _reported_s = now_s
    return {"rank": _rank(), "pid": os.getpid(), **_times.summary()}


def _rank() -> int:
    """In the gang: torchrun numbers its processes, any other task is one rank."""
    text = os.environ.get("RANK") or os.environ.get("WATTLINE_NODE_RANK") or "0"
    return int(text) if text.isdigit() else 0
