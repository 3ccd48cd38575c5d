"""GPU utilisation of a gang over a sliding part of its run time."""

from collections import deque
from dataclasses import dataclass

from wattline_protocol.ids import TaskRef

STEPS = 32
"""Marks per window: the window is up to 1/32 longer than requested."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Cumulative usage of its attempts at some time."""

    run_s: float
    gpu_s: float
    util_gpu_s: float


class IdleWatch:
    """Marks along the run of one try, in its own run time: pauses and silence do not count."""

    def __init__(self, refs: tuple[TaskRef, ...]) -> None:
        self.refs = refs
        """The attempts that the marks describe."""
        self._marks: deque[Mark] = deque()

    def mean_over(self, for_s: float, now: Mark) -> float | None:
        """Mean utilisation 0..1 of the last `for_s` of run time; None while it is younger."""
        marks = self._marks
        if not marks or now.run_s - marks[-1].run_s >= for_s / STEPS:
            marks.append(now)
        while len(marks) > 1 and now.run_s - marks[1].run_s >= for_s:
            marks.popleft()
        first = marks[0]
        gpu_s = now.gpu_s - first.gpu_s
        if now.run_s - first.run_s < for_s or gpu_s <= 0:
            return None
        return (now.util_gpu_s - first.util_gpu_s) / gpu_s
