"""The largest fleet under one fixed feed that still serves its users, found by bisection.

A fleet passes with no trip, no broken rule, and slowdowns within POLCA's limits (ASPLOS 2024). The
load offered per GPU stays the same as the fleet grows; `static` is the fleet that the feed allows
at TDP. Every class of GPU is reported; none is chosen by its result.
"""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np

from wattline_scheduler.power.demand.models import curve, node_model, node_power
from wattline_sim.facility.judging.price import Price
from wattline_sim.facility.judging.report import FacilityReport
from wattline_sim.facility.plant.servers import host_of
from wattline_sim.facility.run import Facility, Size
from wattline_sim.facility.scheduler_host import RequestDenied
from wattline_sim.facility.simulate import Ask, simulate
from wattline_sim.profiles import gpu_model

FEED_NODES = 16
HOURS = 0.2
RATIO_MAX = 2.5
CLASSES = ("h100", "a40")
"""H100/H200 by MLPerf Power submissions, A40/V100 by the Zeus traces."""
CASES = ("mixed", "all-hot", "inference-row")
SWEEP = (1.125, 1.25, 1.375, 1.5)
"""Fleets over what fits at TDP that are always run, whatever passes: throughput has its own
optimum where users put up with slower jobs."""
LIMITS = {("high", "p50"): 0.01, ("high", "p99"): 0.05, ("low", "p50"): 0.05, ("low", "p99"): 0.5}

Progress = Callable[[str, int, int], None]
"""Told what runs, how many runs are done, and how many there will be at most."""


class Tried(msgspec.Struct, frozen=True):
    """One fleet."""

    nodes: int
    gpus: int
    throughput: float
    trips: int
    slowdown: dict[str, dict[str, float]]
    seconds_over_budget: float
    refused: str
    """Why it does not pass; empty: it does."""


class Case(msgspec.Struct, frozen=True):
    """One population on one class of GPU."""

    gpu: str
    scenario: str
    gpus: int
    """Of the largest fleet that passes."""
    gpus_static: int
    gpus_vs_static: float
    throughput_vs_static: float
    """Of the largest fleet that passes."""
    best_throughput_vs_static: float
    """Of any fleet that was tried and did not trip, whatever it did to slowdowns."""
    best_gpus: int
    equal_caps_booked: float
    equal_caps_drawn: float
    """See `equal_caps`: what to measure hot training by."""
    gpus_by_booking: int
    gpus_by_drawing: int
    """See `Price`: what to measure fleets by that are not busy all the time."""
    tried: tuple[Tried, ...]


class DensityReport(msgspec.Struct, frozen=True):
    """All cases under one policy."""

    policy: str
    seed: int
    hours: float
    feed_nodes: int
    simulated: bool
    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class Search:
    """What to look for, and where."""

    policy: str
    seed: int
    cases: tuple[str, ...] = CASES
    classes: tuple[str, ...] = CLASSES
    feed_nodes: int = FEED_NODES
    hours: float = HOURS

    @property
    def runs_most(self) -> int:
        """Runs of one case, at most."""
        span = int(self.feed_nodes * (RATIO_MAX - 1.0)) + 1
        return 2 + len(SWEEP) + span.bit_length()


def density(search: Search, progress: Progress) -> DensityReport:
    """Search each case."""
    wanted = [(gpu, case) for gpu in search.classes for case in search.cases]
    cases = []
    for number, (gpu, scenario) in enumerate(wanted):
        done, most = number * search.runs_most, len(wanted) * search.runs_most
        cases.append(_Bisection(search, gpu, scenario, progress, done, most).run())
    return DensityReport(
        policy=search.policy,
        seed=search.seed,
        hours=search.hours,
        feed_nodes=search.feed_nodes,
        simulated=True,
        cases=tuple(cases),
    )


class _Bisection:
    """One case: static first, then fleets, each at most once."""

    def __init__(
        self, search: Search, gpu: str, scenario: str, progress: Progress, done: int, most: int
    ) -> None:
        self._search, self._gpu, self._scenario = search, gpu, scenario
        self._progress, self._done, self._most = progress, done, most
        self._tried: dict[int, Tried] = {}

    def run(self) -> Case:
        """Find it."""
        price = Price()
        static = self._simulate("static", self._search.feed_nodes, price.watch)
        for ratio in SWEEP:
            self._try(round(self._search.feed_nodes * ratio))
        self._bisect()
        passing = [t for t in self._tried.values() if not t.refused]
        largest = max(passing, key=lambda t: t.gpus, default=None)
        best = max((t for t in self._tried.values() if t.trips == 0), key=lambda t: t.throughput)
        booked, drawn = equal_caps(self._gpu)
        return Case(
            gpu=self._gpu,
            scenario=self._scenario,
            gpus=largest.gpus if largest else 0,
            gpus_static=static.gpus,
            gpus_vs_static=round(largest.gpus / static.gpus, 4) if largest else 0.0,
            throughput_vs_static=_ratio(largest, static) if largest else 0.0,
            best_throughput_vs_static=_ratio(best, static),
            best_gpus=best.gpus,
            equal_caps_booked=round(booked, 4),
            equal_caps_drawn=round(drawn, 4),
            gpus_by_booking=price.nodes_by_booking * static.gpus // static.nodes,
            gpus_by_drawing=price.nodes_by_drawing * static.gpus // static.nodes,
            tried=tuple(self._tried[nodes] for nodes in sorted(self._tried)),
        )

    def _bisect(self) -> None:
        """Between the largest fleet known to pass and the smallest above it known not to."""
        low = self._search.feed_nodes - 1
        high = int(self._search.feed_nodes * RATIO_MAX) + 1
        for nodes, tried in sorted(self._tried.items()):
            low, high = (nodes, high) if not tried.refused else (low, min(high, nodes))
        while high - low > 1:
            middle = (low + high) // 2
            if self._try(middle).refused:
                high = middle
            else:
                low = middle

    def _try(self, nodes: int) -> Tried:
        if nodes not in self._tried:
            try:
                tried = _tried(nodes, self._simulate(self._search.policy, nodes))
            except RequestDenied as denied:
                tried = Tried(nodes, 0, 0.0, 0, {}, 0.0, f"a job is turned away: {denied}")
            self._tried[nodes] = tried
        return self._tried[nodes]

    def _simulate(
        self, policy: str, nodes: int, watch: Callable[[Facility], None] | None = None
    ) -> FacilityReport:
        search = self._search
        self._progress(f"{self._gpu} {self._scenario} {nodes} nodes", self._done, self._most)
        size = Size(search.hours, search.seed)
        feed = float(search.feed_nodes)
        ask = Ask(self._scenario, policy, nodes, size, feed_nodes=feed, gpu=self._gpu)
        report = simulate(ask, lambda _: None, versus_static=False, watch=watch)
        self._done += 1
        return report


def _tried(nodes: int, report: FacilityReport) -> Tried:
    return Tried(
        nodes=nodes,
        gpus=report.gpus,
        throughput=report.throughput,
        trips=report.trips,
        slowdown=report.slowdown,
        seconds_over_budget=report.seconds_over_budget,
        refused=why_refused(report),
    )


def why_refused(report: FacilityReport) -> str:
    """The first limit that a run breaks; empty = none."""
    if report.trips:
        return f"{report.trips} trips"
    if report.violations:
        return f"{len(report.violations)} broken rules"
    for (priority, quantile), most in LIMITS.items():
        value = report.slowdown.get(priority, {}).get(quantile, 0.0)
        if value >= most:
            return f"{priority} {quantile} slowdown {value:.3f}, limit {most:g}"
    return ""


def _ratio(tried: Tried, static: FacilityReport) -> float:
    return round(tried.throughput / static.throughput, 4)


def equal_caps(gpu: str) -> tuple[float, float]:
    """Throughput over static of hot training at TDP under equal caps, with the fleet chosen best.

    First as leases book it: all but the GPUs at its worst, supplies at their lowest efficiency.
    Then as it is drawn, by the fitted node model: what a controller that draws every watt of the
    budget all the time would reach. The difference is the price of I2.
    """
    model = gpu_model(gpu)
    node = node_model(model.display_name)
    host, gpus = host_of(model, node.gpus), node.gpus
    top_w = float(model.limit_max_w)
    share = np.linspace(model.limit_min_w / top_w, 1.0, 200)
    speed = curve(model.display_name, "training_hot").performance_of(share, 1.0)
    booked_w = (host.worst_non_gpu_w + gpus * share * top_w) / host.lowest_efficiency
    drawn_w = node_power(node, gpus * share * top_w)
    best = [float(np.max(booked_w[-1] / wall_w * speed)) for wall_w in (booked_w, drawn_w)]
    return best[0], best[1]
