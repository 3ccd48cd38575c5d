"""The learned order: `service_order` by what `plan.learning.gittins` learns, on a trace.

The scheduler does not run this: it orders its queue by fair share and bounded delays, and preempts
no work of equal priority. Of a job the order has what its user submits: GPUs, account, time of
submission. It has neither the duration nor the number of steps: with those and one finished run of
the model, durations would be known. It learns from ends, and from time held without an end.

With `hears_progress`, jobs also report their progress while they run, as tasks do with
`wattline.task.progress`: the end of a job that has run for a while follows from its own rate.
"""

from collections.abc import Sequence
from math import floor, inf, log2

from wattline_lab.replay.jobs.neighbours import Neighbours
from wattline_lab.replay.jobs.run import Run
from wattline_lab.replay.jobs.service_order import Asking, in_order
from wattline_scheduler.plan.learning.gittins import FIRST_S, Groups, Runtimes, bin_of
from wattline_scheduler.plan.learning.progress_rate import Course


def next_look_s(held_s: float) -> float:
    """Time on GPUs at which a running job should next be compared with the queue: it doubles."""
    return FIRST_S * 2.0 ** max(0, 1 + floor(log2(max(held_s, 1.0) / FIRST_S)))


class Learned:
    """Least expected service first. Without `preempts` only pending jobs are ordered."""

    def __init__(self, *, preempts: bool = True, hears_progress: bool = False) -> None:
        self._preempts, self._hears_progress = preempts, hears_progress
        self._courses: dict[Run, Course] = {}
        """By their time on GPUs."""
        self._neighbours = Neighbours()
        self._runtimes = Runtimes()
        self._groups: dict[Run, Groups] = {}
        self._runs: list[Run] = []

    def arrived(self, run: Run) -> None:
        """Joins its kind."""
        job = run.job
        self._groups[run] = self._neighbours.submitted(job.account, job.gpus, job.submit_s)
        self._runs.append(run)
        self._courses[run] = Course()

    def ended(self, run: Run, now_s: float) -> None:
        """Teaches how long its kind runs."""
        del now_s
        self._runs.remove(run)
        del self._courses[run]
        self._survived(run)
        self._runtimes.ended(self._groups.pop(run), run.level)

    def _survived(self, run: Run) -> None:
        at = bin_of(run.held_s)
        if at > run.level:
            self._runtimes.survived(self._groups[run], run.level, at)
            run.level = at

    def order(self, now_s: float) -> Sequence[Run]:
        """As in `service_order`."""
        for run in self._runs:
            if run.is_running:
                self._survived(run)
            if self._hears_progress:
                self._courses[run].heard(run.done, run.held_s)
        ranked = self._runs
        if not self._preempts:
            ranked = [run for run in self._runs if not run.is_running]
        asking = (self._asking(run) for run in ranked)
        return [each.key for each in in_order(asking, now_s)]

    def _asking(self, run: Run) -> Asking[Run]:
        job = run.job
        return Asking(
            key=run,
            priority=0,
            gpus=job.gpus,
            index_s=self._left_s(run),
            since_s=job.submit_s,
            number=job.id,
        )

    def _left_s(self, run: Run) -> float:
        """By its own rate where that is known, else the index of such jobs."""
        if self._hears_progress:
            end_s = self._courses[run].end_s
            if end_s is not None:
                return max(0.0, end_s - run.held_s)
        return self._runtimes.index_s(self._groups[run], run.held_s)

    def filled(self) -> None:
        """Changes nothing."""

    def wake_s(self, now_s: float) -> float:
        """When a running job should be compared with pending ones."""
        if all(run.is_running for run in self._runs):
            return inf
        looks_s = (next_look_s(run.held_s) - run.held_s for run in self._runs if run.is_running)
        return min((now_s + max(look_s, 1.0) for look_s in looks_s), default=inf)
