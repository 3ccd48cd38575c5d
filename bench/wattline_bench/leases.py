"""The live loop: from a lowered budget to caps that are in force on every node.

A real scheduler process with its store, and `nodes` production agent cores in `fleets` processes,
each with its own key and CURVE connection over loopback. Hosts are simulated below the agent core:
caps take 2-8 ms, and the agents' own disk is memory. Every GPU has a task whose demand changes,
beats come once a second. Then the site's budget is cut by `cut`, and restored, `cuts` times.

Times count from the moment at which the shed request was sent. `cut_to_within_s` is taken over
cuts: until the sum of the leases that all nodes had acknowledged, each kept by limits that were
read back, was within the lower budget. `cut_to_enforced_s` is taken over all (cut, node) pairs:
until the node had acknowledged its first smaller lease, or, where none had to come, until the
site was within its budget with what the node held. Budgets (DESIGN 10): p99 of both at most 1 s;
the scheduler uses less than 60 % of one core.
"""

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection

import psutil

from wattline.client import Client
from wattline_bench.rig.fleet import Booking, Tally, run_fleet
from wattline_bench.rig.quantiles import Quantiles, quantiles
from wattline_bench.rig.site import (
    NAMEPLATE_MW,
    CoreTime,
    LiveSite,
    core_time,
    live_site,
    rack_site,
)
from wattline_bench.verdict import Figures, judged, over
from wattline_protocol.job.spec import ArraySpec, JobSpec, Resources
from wattline_protocol.trust.keys import JoinBundle

ENFORCED_S_MAX = 1.0
SCHEDULER_PCT_MAX = 60.0
GPUS = 8
BUDGET_SHARE = 0.8
"""Of the sum of nameplates: less than all GPUs could draw, so that leases follow demand; enough for
a cut by 30 % to leave every GPU more than its knee, so that capping does it and nothing pauses."""
TASK_GPUS = 4
PRIORITIES = (25, 50, 75)
START_WITHIN_S = 300.0
ANSWER_S = 60.0
"""On a machine that others starve, what is late shall be a figure, not a failure."""
SETTLE_S = 20.0
"""Demand is known after a window of 15 beats."""
CALM_S = 6.0
"""After a cut and after a restoring, before the next."""


class Spread(Quantiles, frozen=True):
    """Of seconds."""

    most: float


class Loop(Figures, frozen=True):
    """What was seen."""

    nodes: int
    gpus: int
    cuts: int
    cut_to_enforced_s: Spread
    cut_to_within_s: Spread
    nodes_shrunk_per_cut: float
    """Until the site was within its budget."""
    scheduler_cpu_pct: float
    """Of one core, over the whole time, cuts included."""
    scheduler_calm_cpu_pct: float
    """While no budget changed, but demand did."""
    scheduler_rss_mib: float
    beats_per_s: float
    slowest_answer_s: float
    leases_per_s: float
    """Acknowledged, cuts included."""
    fleet_cpu_pct: float
    """Of one core: what the agents of all nodes cost, simulated hosts included."""
    scheduler_starved_pct: float
    """Of the time in which it had work it waited so much for a processor that others had: on a busy
    machine times are longer than they would be by about 1 / (1 - this)."""
    fleet_starved_pct: float
    busy_cores: float
    """Of the whole machine on average, others' work included."""

    def misses(self) -> tuple[str, ...]:
        """Of both times and the processor."""
        return (
            *over("cut to enforced, p99 s", self.cut_to_enforced_s.p99, ENFORCED_S_MAX),
            *over("cut to within budget, p99 s", self.cut_to_within_s.p99, ENFORCED_S_MAX),
            *over("scheduler, % of one core", self.scheduler_cpu_pct, SCHEDULER_PCT_MAX),
        )


class Fleets:
    """The processes that play the nodes."""

    def __init__(self, agents: list[JoinBundle], count: int) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._workers = []
        for part in range(count):
            here, there = spawn.Pipe()
            arguments = (agents[part::count], GPUS, there)
            worker = spawn.Process(target=run_fleet, args=arguments, daemon=True)
            worker.start()
            there.close()
            self._pipes.append(here)
            self._workers.append(worker)
        for pipe in self._pipes:
            pipe.recv()
        self._programs = [psutil.Process(worker.pid) for worker in self._workers]

    def tally(self) -> Tally:
        """What all have seen since the last time."""
        for pipe in self._pipes:
            pipe.send("tally")
        whole = Tally()
        for pipe in self._pipes:
            part: Tally = pipe.recv()
            whole.kept += part.kept
            whole.beats += part.beats
            whole.refused += part.refused
            whole.slowest_answer_s = max(whole.slowest_answer_s, part.slowest_answer_s)
        whole.kept.sort(key=lambda kept: kept.at_s)
        return whole

    def core_time(self) -> CoreTime:
        """Processor time of all so far."""
        return core_time(*self._programs)

    def end(self) -> None:
        """End the processes."""
        for pipe, worker in zip(self._pipes, self._workers, strict=True):
            pipe.send("end")
            worker.join(10.0)
            if worker.is_alive():
                worker.kill()


@contextmanager
def _fleets(live: LiveSite, count: int) -> Iterator[Fleets]:
    fleets = Fleets(live.agents, count)
    try:
        yield fleets
    finally:
        fleets.end()


@judged
def measure(*, nodes: int, cuts: int, cut: float, fleets: int) -> Figures:
    """Join, load every GPU, cut and restore."""
    site = rack_site(nodes, site_mw=round(nodes * NAMEPLATE_MW * BUDGET_SHARE))
    with (
        live_site(site) as live,
        _fleets(live, fleets) as fleet,
        Client(live.operator, timeout_s=ANSWER_S) as client,
    ):
        _load(client, nodes)
        time.sleep(SETTLE_S)
        return _measured(live, fleet, client, cuts, cut)


def _load(client: Client, nodes: int) -> None:
    """A task on every GPU, in three priorities."""
    tasks = nodes * GPUS // TASK_GPUS
    jobs = []
    for at, priority in enumerate(PRIORITIES):
        indices = tuple(range(at, tasks, len(PRIORITIES)))
        spec = JobSpec(
            name=f"load-{priority}",
            command=("work",),
            priority=priority,
            array=ArraySpec(indices),
            resources=Resources(gpus_per_node=TASK_GPUS),
        )
        jobs.append((client.submit(spec), len(indices)))
    until_s = time.monotonic() + START_WITHIN_S
    while not all(client.job(job).gangs_running == count for job, count in jobs):
        if time.monotonic() > until_s:
            raise RuntimeError("not every task runs in time")
        time.sleep(1.0)


class _Cut:
    """One cut as it went: when it was asked for, what it left, and what nodes held from then on."""

    def __init__(self, asked_s: float, budget_mw: int, held_mw: dict[str, int]) -> None:
        self._asked_s, self._budget_mw, self._held_mw = asked_s, budget_mw, dict(held_mw)
        self.shrunk_s: dict[str, float] = {}
        is_within = sum(held_mw.values()) <= budget_mw
        self.within_s: float | None = 0.0 if is_within else None

    @property
    def enforced_s(self) -> list[float]:
        """Of every node."""
        within_s = self.within_s or 0.0
        return [min(self.shrunk_s.get(node, within_s), within_s) for node in self._held_mw]

    def take(self, kept: Sequence[Booking]) -> None:
        """What nodes acknowledged since it was asked for, in order."""
        held_mw = self._held_mw
        total_mw = sum(held_mw.values())
        for lease in kept:
            if lease.at_s < self._asked_s:
                continue
            before_mw = held_mw[lease.node]
            if lease.lease_mw < before_mw:
                self.shrunk_s.setdefault(lease.node, lease.at_s - self._asked_s)
            total_mw += lease.lease_mw - before_mw
            held_mw[lease.node] = lease.lease_mw
            if self.within_s is None and total_mw <= self._budget_mw:
                self.within_s = lease.at_s - self._asked_s


def _measured(live: LiveSite, fleet: Fleets, client: Client, cuts: int, cut: float) -> Loop:
    full_mw = next(d.budget_mw for d in live.site.domains if d.id == "site")
    held_mw: dict[str, int] = {}
    _note(held_mw, fleet.tally().kept)
    began, fleet_began = live.core_time(), fleet.core_time()
    psutil.cpu_percent()
    done, calm, tallies = [], [], []
    for _ in range(cuts):
        before = live.core_time()
        time.sleep(CALM_S)
        calm.append(live.core_time().share_since(before))
        tallies.append(fleet.tally())
        _note(held_mw, tallies[-1].kept)
        asked = _Cut(time.monotonic(), round(full_mw * (1 - cut)), held_mw)
        client.shed(fraction=cut, reason="bench")
        time.sleep(CALM_S)
        tallies.append(fleet.tally())
        asked.take(tallies[-1].kept)
        _note(held_mw, tallies[-1].kept)
        done.append(asked)
        client.restore(reason="bench")
        time.sleep(CALM_S)
        tallies.append(fleet.tally())
        _note(held_mw, tallies[-1].kept)
    ended, fleet_ended = live.core_time(), fleet.core_time()
    took_s = ended.at_s - began.at_s
    late = [at for at, each in enumerate(done) if each.within_s is None]
    if late:
        raise RuntimeError(f"cuts {late} were not within budget after {CALM_S:g} s")
    shrunk = [s for each in done for s in each.shrunk_s.values() if s <= (each.within_s or 0.0)]
    beats = sum(tally.beats for tally in tallies)
    return Loop(
        nodes=len(live.agents),
        gpus=len(live.agents) * GPUS,
        cuts=cuts,
        cut_to_enforced_s=_spread([s for each in done for s in each.enforced_s]),
        cut_to_within_s=_spread([each.within_s or 0.0 for each in done]),
        nodes_shrunk_per_cut=len(shrunk) / cuts,
        scheduler_cpu_pct=100 * ended.share_since(began),
        scheduler_calm_cpu_pct=100 * sum(calm) / len(calm),
        scheduler_rss_mib=live.rss_mib(),
        beats_per_s=beats / took_s,
        slowest_answer_s=max(tally.slowest_answer_s for tally in tallies),
        leases_per_s=sum(len(tally.kept) for tally in tallies) / took_s,
        fleet_cpu_pct=100 * fleet_ended.share_since(fleet_began),
        scheduler_starved_pct=100 * ended.starved_since(began),
        fleet_starved_pct=100 * fleet_ended.starved_since(fleet_began),
        busy_cores=psutil.cpu_percent() / 100 * psutil.cpu_count(),
    )


def _note(held_mw: dict[str, int], kept: Sequence[Booking]) -> None:
    held_mw.update({lease.node: lease.lease_mw for lease in kept})


def _spread(seconds: Sequence[float]) -> Spread:
    rounded = [round(each_s, 4) for each_s in seconds]
    found = quantiles(rounded)
    return Spread(found.p50, found.p99, max(rounded))
