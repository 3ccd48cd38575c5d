"""The scheduler's own code on a trace: queue order, planner, promises and backfill.

A job keeps its GPUs until it ends: the scheduler preempts no work of equal priority. Nodes have 8
equal GPUs, and no budget limits them. Of a job it has what its user submits: GPUs, account, and
what it trains, by which run times are learned.
"""

from wattline_lab.replay.fleet.gangs import NEVER_CAPPED, Gang, gang_of
from wattline_lab.replay.fleet.inventory import Host, site_of
from wattline_lab.replay.fleet.lines import ByTurn
from wattline_lab.replay.fleet.machines import Machines
from wattline_lab.replay.fleet.mixing import Asked, split
from wattline_lab.replay.fleet.planned_queue import PlannedQueue
from wattline_lab.replay.jobs.pool import GPUS_PER_NODE
from wattline_lab.replay.jobs.run import Run

GPU = "A100-SXM4-80GB"
CPUS = 128


class Planned:
    """Starts jobs where the scheduler would."""

    def __init__(self, nodes: int) -> None:
        hosts = [Host(str(at), GPU, GPUS_PER_NODE, CPUS) for at in range(nodes)]
        self._machines = Machines(site_of(hosts, 1.0), hosts)
        self._queue = PlannedQueue(self._machines, ByTurn())
        self._gangs: dict[Run, Gang] = {}

    def arrived(self, run: Run) -> None:
        """Submit a job, as the fewest equal tasks."""
        gang = gang_of(Asked(run.job, GPU, *split(run.job.gpus)), NEVER_CAPPED)
        gang.run = run
        self._gangs[run] = gang
        self._queue.submit(gang)

    def ended(self, run: Run, now_s: float) -> None:
        """Free its GPUs."""
        self._queue.end(self._gangs.pop(run), now_s)

    def start(self, now_s: float) -> list[Run]:
        """Plan until nothing more fits."""
        started: list[Run] = []
        is_more = True
        while is_more:
            self._machines.refresh()
            placements, is_more = self._queue.plan(now_s)
            started += [self._queue.start(one, now_s).run for one in placements]
        return started
