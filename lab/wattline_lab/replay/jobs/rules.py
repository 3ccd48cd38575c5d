"""Published rules of order.

* SRTF: shortest remaining time first; SRSF: remaining time × GPUs. Both know the future.
* FIFO: in order of submission.
* Tiresias_L: two-dimensional least attained service in three queues (Gu et al., NSDI 2019).
"""

from collections.abc import Callable, Sequence
from math import ceil, inf

from wattline_lab.replay.jobs.run import Run

THRESHOLDS_GPU_S = (3250.0, 7200.0)
"""Attained service at which Tiresias_L moves a job one queue down, in Muri's runs."""

ROUNDING_GPU_S = 1e-6
"""Sums of times miss a threshold by less."""


class ByFigure:
    """By one figure, least first. The list is kept and sorted stably: equals stay as they were."""

    def __init__(self, figure: Callable[[Run], float]) -> None:
        self._figure = figure
        self._runs: list[Run] = []

    def arrived(self, run: Run) -> None:
        """Goes to the end."""
        self._runs.append(run)

    def ended(self, run: Run, now_s: float) -> None:
        """Is forgotten."""
        del now_s
        self._runs.remove(run)

    def order(self, now_s: float) -> Sequence[Run]:
        """Least first."""
        del now_s
        self._runs.sort(key=self._figure)
        return self._runs

    def filled(self) -> None:
        """Changes nothing."""

    def wake_s(self, now_s: float) -> float:
        """Never."""
        del now_s
        return inf


def srtf() -> ByFigure:
    """Shortest remaining time first."""
    return ByFigure(lambda run: run.left_s)


def srsf() -> ByFigure:
    """Shortest remaining service first."""
    return ByFigure(lambda run: run.left_s * run.job.gpus)


def fifo() -> ByFigure:
    """First come, first served."""
    return ByFigure(lambda run: run.job.submit_s)


class Tiresias:
    """Three queues; a job moves down by attained service, never up; running before pending jobs.

    The event for a move comes when the time that a job held its GPUs reaches the threshold over
    its GPUs, in whole seconds: so Muri's results come out to the last digit.
    """

    def __init__(self) -> None:
        self._queues: tuple[list[Run], ...] = tuple([] for _ in (*THRESHOLDS_GPU_S, inf))

    def arrived(self, run: Run) -> None:
        """Goes to the end of the first queue."""
        self._queues[0].append(run)

    def ended(self, run: Run, now_s: float) -> None:
        """Leaves its queue."""
        del now_s
        self._queues[run.level].remove(run)

    def order(self, now_s: float) -> Sequence[Run]:
        """Queue by queue, after moving down whoever had enough."""
        del now_s
        for run in [run for queue in self._queues for run in queue if run.is_running]:
            while _had_enough(run):
                self._queues[run.level].remove(run)
                run.level += 1
                self._queues[run.level].append(run)
        return [run for queue in self._queues for run in queue]

    def filled(self) -> None:
        """Running jobs move to the front of their queue."""
        for queue in self._queues:
            queue.sort(key=lambda run: not run.is_running)

    def wake_s(self, now_s: float) -> float:
        """When the next running job has had enough for its queue."""
        runs = (run for queue in self._queues[:-1] for run in queue if run.is_running)
        moves_s = (
            now_s + ceil(THRESHOLDS_GPU_S[run.level] / run.job.gpus) - run.held_s for run in runs
        )
        return min((move_s for move_s in moves_s if move_s > now_s), default=inf)


def _had_enough(run: Run) -> bool:
    if run.level == len(THRESHOLDS_GPU_S):
        return False
    return run.held_s * run.job.gpus + ROUNDING_GPU_S >= THRESHOLDS_GPU_S[run.level]
