"""`plan.order` with what `plan.runtimes` learns, on a trace.

Of a job it knows what its user could have told: GPUs, account, time of submission. Neither duration
nor number of steps: with those and one finished run of the model, durations would be known. It
learns from what the trace has shown so far: ends, and time held without an end.

If it hears progress, jobs also say how far they are while they run, as tasks do with
`wattline.task.progress`: then what has run for a while is known to end, by its own pace so far.
"""

from collections.abc import Sequence
from math import inf

from wattline_lab.replay.jobs.run import Run
from wattline_scheduler.plan.learning.gittins import Groups, Runtimes, bin_of, next_look_s
from wattline_scheduler.plan.learning.neighbours import Neighbours
from wattline_scheduler.plan.learning.progress_rate import Course
from wattline_scheduler.plan.learning.service_order import Asking, in_order


class Learned:
    """Serves first who is expected to end soonest for the GPUs it takes. Without `sends_back` only
    jobs that wait are put in order: who runs, runs on."""

    def __init__(self, *, sends_back: bool = True, hears_progress: bool = False) -> None:
        self._sends_back, self._hears_progress = sends_back, hears_progress
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
        """As `plan.order` says."""
        for run in self._runs:
            if run.is_running:
                self._survived(run)
            if self._hears_progress:
                self._courses[run].heard(run.done, run.held_s)
        ranked = self._runs
        if not self._sends_back:
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
        """By its own pace where it is known, else what an end costs of such jobs."""
        end_s = self._courses[run].end_s
        if end_s is not None:
            return max(0.0, end_s - run.held_s)
        return self._runtimes.index_s(self._groups[run], run.held_s)

    def filled(self) -> None:
        """Changes nothing."""

    def wake_s(self, now_s: float) -> float:
        """When a running job should be compared with those that wait."""
        if all(run.is_running for run in self._runs):
            return inf
        looks_s = (next_look_s(run.held_s) - run.held_s for run in self._runs if run.is_running)
        return min((now_s + max(look_s, 1.0) for look_s in looks_s), default=inf)
