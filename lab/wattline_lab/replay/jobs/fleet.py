"""Virtual clusters that serve each its own jobs, without sending anything back.

A job keeps its GPUs until it ends. Jobs wait for the nodes of their virtual cluster only, so these
are run one after the other.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf

from wattline_lab.replay.jobs.formats import Queue
from wattline_lab.replay.jobs.muri import Rule
from wattline_lab.replay.jobs.pool import Nodes, Places
from wattline_lab.replay.jobs.run import Run
from wattline_lab.replay.jobs.trace import TraceJob
from wattline_lab.replay.meter import Meter

GPUS_PER_NODE = 8
ALIKE = "any"
"""GPUs are not told apart."""


@dataclass(frozen=True, slots=True)
class Served:
    """Jobs that have ended, and what was counted of each cluster."""

    runs: list[Run]
    meters: list[Meter]


def serve_all(queue: Queue, rule: Callable[[], Rule], *, passes_over: bool) -> Served:
    """All jobs that could ever run on the nodes of their cluster."""
    waiting: dict[str, list[TraceJob]] = defaultdict(list)
    for job in queue.jobs:
        cluster = queue.cluster_of(job)
        if 0 < job.gpus <= queue.nodes.get(cluster, 0) * GPUS_PER_NODE:
            waiting[cluster].append(job)
    served = Served([], [])
    for cluster, jobs in waiting.items():
        nodes = Nodes(queue.nodes[cluster], GPUS_PER_NODE)
        one = serve(jobs, nodes, rule(), passes_over=passes_over)
        served.runs.extend(one.runs)
        served.meters.extend(one.meters)
    return served


def serve(jobs: Sequence[TraceJob], nodes: Nodes, rule: Rule, *, passes_over: bool) -> Served:
    """Run jobs, which come by submission, to their ends. `passes_over`: who does not fit lets
    those behind it go first, however often."""
    accounts = sorted({job.account for job in jobs})
    meter = Meter({ALIKE: nodes.gpus}, accounts, jobs[-1].submit_s, jobs[0].submit_s)
    cluster = _Cluster(nodes, rule, meter, passes_over=passes_over)
    ahead = list(reversed(jobs))
    while ahead or cluster.next_end_s < inf:
        now_s = min(cluster.next_end_s, ahead[-1].submit_s if ahead else inf)
        meter.pass_to(now_s)
        cluster.end(now_s)
        while ahead and ahead[-1].submit_s <= now_s:
            cluster.submit(Run(ahead[-1], ahead.pop().steps))
        cluster.start(now_s)
    return Served(cluster.ended, [meter])


class _Cluster:
    def __init__(self, nodes: Nodes, rule: Rule, meter: Meter, *, passes_over: bool) -> None:
        self._nodes, self._rule, self._passes_over = nodes, rule, passes_over
        self._meter = meter
        self._waiting: dict[Run, None] = {}
        self._running: list[tuple[float, int, Run, Places]] = []
        self.ended: list[Run] = []

    @property
    def next_end_s(self) -> float:
        return self._running[0][0] if self._running else inf

    def submit(self, run: Run) -> None:
        self._waiting[run] = None
        self._rule.arrived(run)
        self._meter.submitted(run.job.account, ALIKE, run.job.gpus)

    def end(self, now_s: float) -> None:
        while self.next_end_s <= now_s:
            _, _, run, places = heappop(self._running)
            self._nodes.give_back(places)
            self._meter.ended(run.job.account, ALIKE, run.job.gpus)
            run.held_s, run.is_running = run.job.duration_s, False
            self._rule.ended(run, now_s)
            self.ended.append(run)

    def start(self, now_s: float) -> None:
        if not self._waiting or not self._nodes.free:
            return
        order = list(self._waiting)
        if len(order) > 1:
            order = [run for run in self._rule.order(now_s) if run in self._waiting]
        for run in order:
            places = self._nodes.place(run.job.gpus)
            if places is not None:
                del self._waiting[run]
                self._meter.started(run.job.account, ALIKE, run.job.gpus)
                run.is_running, run.end_s = True, now_s + run.job.duration_s
                heappush(self._running, (run.end_s, run.job.id, run, places))
            elif not self._passes_over or not self._nodes.free:
                return
