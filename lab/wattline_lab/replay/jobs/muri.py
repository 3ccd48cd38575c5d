"""The event engine of Muri's simulator (Zhao et al., SIGCOMM 2022), whose results are published.

Events are arrivals and ends, and times that a rule asks for; what falls together is one event, ends
first. At each the cluster is emptied and filled anew in the rule's order, passing over what does
not fit. The protocol charges its restart overhead to every running job in every interval between
events, whether or not it was moved, so every rule pays for the events that it adds.
"""

from collections.abc import Sequence
from math import inf
from typing import Protocol

from wattline_lab.replay.jobs.pool import Pool
from wattline_lab.replay.jobs.run import Run
from wattline_lab.replay.jobs.trace import TraceJob


class Rule(Protocol):
    """Who is looked at first. It sees its jobs come and go, and orders those that are there."""

    def arrived(self, run: Run) -> None:
        """A job was submitted."""

    def ended(self, run: Run, now_s: float) -> None:
        """A job ended."""

    def order(self, now_s: float) -> Sequence[Run]:
        """All jobs that are there, first served first."""

    def filled(self) -> None:
        """The cluster was filled: `is_running` of every job is new."""

    def wake_s(self, now_s: float) -> float:
        """When it wants an event of its own, after `now_s`; inf = not at all."""


def replay(jobs: Sequence[TraceJob], pool: Pool, rule: Rule) -> list[Run]:
    """Run all jobs to their end. They come by submission; the answer is in order of ends."""
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
            rule.ended(run, now_s)
            ended.append(run)
        while ahead and ahead[-1].job.submit_s <= now_s:
            rule.arrived(ahead.pop())
        running = _fill(rule, pool, now_s)
        wake_s = rule.wake_s(now_s)
    return ended


def _pass(running: Sequence[Run], elapsed_s: float) -> None:
    for run in running:
        run.held_s += elapsed_s
        run.left_steps -= max(elapsed_s - run.job.overhead_s, 0.0) / run.job.step_s


def _fill(rule: Rule, pool: Pool, now_s: float) -> list[Run]:
    pool.empty()
    running = []
    for run in rule.order(now_s):
        run.is_running = pool.free > 0 and pool.take(run.job.gpus)
        if run.is_running:
            run.end_s = now_s + run.left_s
            running.append(run)
    rule.filled()
    return running
