"""Virtual clusters, each of which serves its own jobs, without preemption.

A job keeps its GPUs until it ends. Jobs wait for the nodes of their virtual cluster only, so these
are run one after the other.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf

from wattline_lab.replay.jobs.formats import Queue
from wattline_lab.replay.jobs.muri import Rule, Starter
from wattline_lab.replay.jobs.pool import GPUS_PER_NODE, Nodes, Places
from wattline_lab.replay.jobs.run import Run
from wattline_lab.replay.jobs.trace import TraceJob
from wattline_lab.replay.meter import Meter

ALIKE = "any"
"""GPUs are not distinguished."""


@dataclass(frozen=True, slots=True)
class Served:
    """Jobs that have ended, and what was counted of each cluster."""

    runs: list[Run]
    meters: list[Meter]


def serve_all(queue: Queue, starter: Callable[[int], Starter]) -> Served:
    """All jobs that could ever run on the nodes of their cluster. `starter`: by number of nodes."""
    waiting: dict[str, list[TraceJob]] = defaultdict(list)
    for job in queue.jobs:
        cluster = queue.cluster_of(job)
        if 0 < job.gpus <= queue.nodes.get(cluster, 0) * GPUS_PER_NODE:
            waiting[cluster].append(job)
    served = Served([], [])
    for cluster, jobs in waiting.items():
        nodes = queue.nodes[cluster]
        one = serve(jobs, starter(nodes), nodes * GPUS_PER_NODE)
        served.runs.extend(one.runs)
        served.meters.extend(one.meters)
    return served


def serve(jobs: Sequence[TraceJob], starter: Starter, gpus: int) -> Served:
    """Run jobs, in order of submission, to their ends."""
    accounts = sorted({job.account for job in jobs})
    meter = Meter({ALIKE: gpus}, accounts, jobs[-1].submit_s, jobs[0].submit_s)
    ahead = list(reversed(jobs))
    running: list[tuple[float, int, Run]] = []
    ended: list[Run] = []
    while ahead or running:
        now_s = min(running[0][0] if running else inf, ahead[-1].submit_s if ahead else inf)
        meter.pass_to(now_s)
        while running and running[0][0] <= now_s:
            *_, run = heappop(running)
            run.held_s, run.is_running = run.job.duration_s, False
            meter.ended(run.job.account, ALIKE, run.job.gpus)
            starter.ended(run, now_s)
            ended.append(run)
        while ahead and ahead[-1].submit_s <= now_s:
            run = Run(ahead[-1], ahead.pop().steps)
            meter.submitted(run.job.account, ALIKE, run.job.gpus)
            starter.arrived(run)
        for run in starter.start(now_s):
            run.is_running, run.end_s = True, now_s + run.job.duration_s
            meter.started(run.job.account, ALIKE, run.job.gpus)
            heappush(running, (run.end_s, run.job.id, run))
    return Served(ended, [meter])


class InOrder:
    """Starts jobs in the order of a rule, on the first nodes that fit."""

    def __init__(self, nodes: Nodes, rule: Rule, *, passes_over: bool) -> None:
        """`passes_over`: jobs behind one that does not fit may start, however often."""
        self._nodes, self._rule, self._passes_over = nodes, rule, passes_over
        self._waiting: dict[Run, None] = {}
        self._places: dict[Run, Places] = {}

    def arrived(self, run: Run) -> None:
        """It waits."""
        self._waiting[run] = None
        self._rule.arrived(run)

    def ended(self, run: Run, now_s: float) -> None:
        """Its GPUs are free."""
        self._nodes.give_back(self._places.pop(run))
        self._rule.ended(run, now_s)

    def start(self, now_s: float) -> Sequence[Run]:
        """The first in order, or all that fit."""
        if not self._waiting or not self._nodes.free:
            return ()
        order: Sequence[Run] = list(self._waiting)
        if len(order) > 1:
            order = [run for run in self._rule.order(now_s) if run in self._waiting]
        started = []
        for run in order:
            places = self._nodes.place(run.job.gpus)
            if places is not None:
                del self._waiting[run]
                self._places[run] = places
                started.append(run)
            elif not self._passes_over or not self._nodes.free:
                break
        return started
