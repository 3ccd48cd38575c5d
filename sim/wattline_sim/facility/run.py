"""One run: plant, hosts, scheduler, crowd and policy over virtual time, judged as it goes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from wattline_protocol.ids import DomainId, NodeId
from wattline_protocol.wire.agent_messages import SW_POWER_CAP
from wattline_sim.facility.building import Building
from wattline_sim.facility.clockwork import Stopwatch
from wattline_sim.facility.context import Ground
from wattline_sim.facility.crowd import Crowd
from wattline_sim.facility.driver import Board
from wattline_sim.facility.host import SAMPLE_S, SimHost
from wattline_sim.facility.judging.score import Score
from wattline_sim.facility.judging.truth import Watch
from wattline_sim.facility.judging.waiting import WattWaits
from wattline_sim.facility.lowering import Lowering
from wattline_sim.facility.plant import Plant
from wattline_sim.facility.plant.population import Population
from wattline_sim.facility.policies import Policy
from wattline_sim.facility.scheduler_host import Office
from wattline_sim.facility.sensors import Sensors
from wattline_sim.facility.wire import Wire
from wattline_sim.facility.works import WINDOW_S, Works
from wattline_sim.fleet.world import World

STEP_S = 0.1
WARM_UP_S = 120.0
"""Nothing is judged before but safety: agents learn idle draw, the first jobs start."""
FULL_CHECK_S = 10.0
START_SPREAD_S = 3.0

Progress = Callable[[float], None]
"""Told the share of the run that is done."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large and how long."""

    hours: float
    seed: int


class Facility:
    """Everything of one run; the seed decides all of it."""

    def __init__(
        self,
        building: Building,
        policy: Policy,
        population: Population,
        size: Size,
    ) -> None:
        self.policy, self.size = policy, size
        self.building = policy.building(building)
        layout = self.building.layout
        self.world = World(size.seed)
        self.wire = Wire(self.world)
        self.plant = Plant(layout, size.seed)
        self.works = Works(layout.gpu_count)
        self.stopwatch = Stopwatch()
        site = policy.site(self.building)
        self.office = Office(self.world, self.wire, site, self.stopwatch)
        board = Board(self.plant)
        ground = Ground(self.world, self.wire, self.plant, board, self.works, self.stopwatch)
        self.hosts = [
            SimHost(ground, node.id, at) for at, node in enumerate(self.building.site.nodes)
        ]
        self._population, self._offered_gpus = population, building.layout.gpu_count
        self.crowd = Crowd(self.world, self.office, layout.gpus_per_node)
        self.domains = [d.id for d in self.building.site.domains if d.kind == "power"]
        budgets_w = [d.budget_mw / 1e3 for d in self.building.site.domains if d.kind == "power"]
        self.score = Score(np.array(budgets_w), STEP_S)
        self.watch = Watch(self.building.site, self.plant, self.works)
        self.sensors = Sensors(self.building, self.plant, self.office)
        self.waits = WattWaits()
        self.trips = 0
        self._was_tripped = self.plant.tripped.copy()
        self.lowering = Lowering()

    @property
    def now_s(self) -> float:
        """Virtual seconds since the start."""
        return self.world.now_s

    def host(self, node: NodeId) -> SimHost:
        """The host of this name."""
        return next(host for host in self.hosts if host.node_id == node)

    def full_budget_w(self, domain: DomainId) -> float:
        """As built."""
        return next(d.budget_mw for d in self.building.site.domains if d.id == domain) / 1000

    def set_budget_w(self, domain: DomainId, budget_w: float) -> None:
        """What the domain is judged by from now on."""
        self.score.budget_w[self.domains.index(domain)] = budget_w

    def run(
        self,
        begin: Callable[["Facility"], None],
        progress: Progress,
        watch: Callable[["Facility"], None] | None = None,
    ) -> None:
        """From power-on to the end of the measured time; `begin` sets the scenario up, `watch`
        looks on every second."""
        self._power_on()
        begin(self)
        whole_s = WARM_UP_S + self.size.hours * 3600.0
        per_second = round(SAMPLE_S / STEP_S)
        for step in range(1, round(whole_s / STEP_S) + 1):
            self.world.run_until(step * STEP_S)
            with self.stopwatch.part("plant"):
                self.plant.step(STEP_S)
                self.works.add(self.plant.performance, STEP_S)
            self._judge()
            if step % per_second == 0:
                self._second(step // per_second)
                progress(step * STEP_S / whole_s)
                if watch is not None:
                    watch(self)

    def _power_on(self) -> None:
        self.plant.step(STEP_S)
        self.office.start()
        for host in self.hosts:
            self.world.after(self.world.rng.random() * START_SPREAD_S, host.start)
        duration_s = WARM_UP_S + self.size.hours * 3600.0
        self.world.after(
            START_SPREAD_S,
            lambda: self.crowd.begin(self._population, self._offered_gpus, duration_s),
        )

    def _judge(self) -> None:
        self.lowering.step(self)
        is_excused = self.lowering.is_excused(self.now_s)
        self.score.draw(self.plant.domain_wall_w, is_lowering=is_excused)
        self.trips += self._newly_tripped()
        if self.office.cluster is not None:
            self.watch.cheap(self.office.cluster, self.now_s)

    def _newly_tripped(self) -> int:
        tripped = self.plant.tripped
        new = int(np.count_nonzero(tripped & ~self._was_tripped))
        self._was_tripped = tripped.copy()
        return new

    def _second(self, second: int) -> None:
        plant, score = self.plant, self.score
        score.is_measuring = self.now_s > WARM_UP_S
        score.work(float(self.works.advance().sum()))
        for host in self.hosts:
            host.look_at_power()
        self.policy.second(self)
        self.sensors.second(second)
        is_capped = bool(np.any(plant.reasons & SW_POWER_CAP))
        cluster = self.office.cluster
        is_waiting = cluster is not None and bool(cluster.state.work.queue)
        score.second(
            float(plant.domain_wall_w[0]),
            float(score.budget_w[0]),
            is_wanting=is_capped or is_waiting,
        )
        score.heat(float(plant.temp_c.max()), float(plant.inlet_c.max()))
        if cluster is not None:
            self.waits.second(cluster, second)
        if second % WINDOW_S == 0:
            score.close_window(self.works.close_window() + self.waits.close_window())
        if second % FULL_CHECK_S == 0 and cluster is not None:
            with self.stopwatch.part("checks"):
                self.watch.full(cluster, self.office.clock.now, self.hosts, self.now_s)
