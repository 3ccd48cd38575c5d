"""The event engine of Muri's simulator (Zhao et al., SIGCOMM 2022), whose results are published.

Events are arrivals and ends, and times that a rule requests; simultaneous ones are one event, ends
first. At each the cluster of a published rule is emptied and filled again in the rule's order,
passing over what does not fit. The protocol charges its restart overhead to every running job in
every interval between events, whether or not it was moved, so every rule pays for the events that
it adds.
"""

from collections.abc import Sequence
from math import inf
from typing import Protocol

from wattline_lab.replay.jobs.pool import Pool
from wattline_lab.replay.jobs.run import Run
from wattline_lab.replay.jobs.trace import TraceJob


class Rule(Protocol):
    """An order of jobs, running ones included."""

    def arrived(self, run: Run) -> None:
        """A job was submitted."""

    def ended(self, run: Run, now_s: float) -> None:
        """A job ended."""

    def order(self, now_s: float) -> Sequence[Run]:
        """All jobs that have not ended, first served first."""

    def filled(self) -> None:
        """The cluster was filled: `is_running` of every job is new."""

    def wake_s(self, now_s: float) -> float:
        """When it requests an event of its own, after `now_s`; inf = not at all."""


class Starter(Protocol):
    """Starts jobs, which then keep their GPUs until they end."""

    def arrived(self, run: Run) -> None:
        """A job was submitted."""

    def ended(self, run: Run, now_s: float) -> None:
        """A job ended."""

    def start(self, now_s: float) -> Sequence[Run]:
        """Start what fits."""


class Cluster(Protocol):
    """Decides at each event what runs."""

    def arrived(self, run: Run) -> None:
        """A job was submitted."""

    def ended(self, run: Run, now_s: float) -> None:
        """A job ended."""

    def fill(self, now_s: float) -> list[Run]:
        """All jobs that run from now on."""

    def wake_s(self, now_s: float) -> float:
        """When it requests an event of its own, after `now_s`; inf = not at all."""


class Refilled:
    """Emptied at every event and filled in the order of a rule."""

    def __init__(self, pool: Pool, rule: Rule) -> None:
        self._pool, self._rule = pool, rule
        self.arrived, self.ended, self.wake_s = rule.arrived, rule.ended, rule.wake_s

    def fill(self, now_s: float) -> list[Run]:
        """Pass over what does not fit."""
        self._pool.empty()
        running = []
        for run in self._rule.order(now_s):
            run.is_running = self._pool.free > 0 and self._pool.take(run.job.gpus)
            if run.is_running:
                running.append(run)
        self._rule.filled()
        return running


class Kept:
    """Without preemption."""

    def __init__(self, starter: Starter) -> None:
        self._starter = starter
        self._running: list[Run] = []
        self.arrived = starter.arrived

    def ended(self, run: Run, now_s: float) -> None:
        """A job ended."""
        self._running.remove(run)
        self._starter.ended(run, now_s)

    def fill(self, now_s: float) -> list[Run]:
        """What ran before, and what starts."""
        for run in self._starter.start(now_s):
            run.is_running = True
            self._running.append(run)
        return list(self._running)

    def wake_s(self, now_s: float) -> float:
        """Never."""
        del now_s
        return inf


def replay(jobs: Sequence[TraceJob], cluster: Cluster) -> list[Run]:
    """Run all jobs, given in order of submission, to their end. Returns them in order of ends."""
    ahead = [Run(job, job.steps) for job in reversed(jobs)]
    running: list[Run] = []
    ended: list[Run] = []
    now_s, wake_s = 0.0, inf
    while ahead or len(ended) < len(jobs):
        end_s = min((run.end_s for run in running), default=inf)
        arrival_s = ahead[-1].job.submit_s if ahead else inf
        before_s, now_s = now_s, min(end_s, arrival_s, wake_s)
        if now_s == inf:
            raise ValueError(f"{len(jobs) - len(ended)} jobs never fit")
        _pass(running, now_s - before_s)
        for run in [run for run in running if run.end_s <= now_s]:
            run.is_running = False
            cluster.ended(run, now_s)
            ended.append(run)
        while ahead and ahead[-1].job.submit_s <= now_s:
            cluster.arrived(ahead.pop())
        running = cluster.fill(now_s)
        for run in running:
            run.end_s = now_s + run.left_s
        wake_s = cluster.wake_s(now_s)
    return ended


def _pass(running: Sequence[Run], elapsed_s: float) -> None:
    for run in running:
        run.held_s += elapsed_s
        run.left_steps -= max(elapsed_s - run.job.overhead_s, 0.0) / run.job.step_s
