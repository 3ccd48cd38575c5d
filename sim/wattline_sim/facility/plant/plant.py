"""The plant: what is really there, stepped as arrays over all GPUs, nodes, feeds and zones.

Order of a step of `substep_s` (0.1 s): jobs advance at the pace of the step before; GPUs draw;
performance follows from what they could draw; nodes, feeds (breakers) and zones follow from the
watts; heat moves the clock ceilings of the next step. GPU g of node n has index
n × gpus_per_node + g in every array. Pure: time is the number of steps taken, and what happens is
a function of the layout, the seed and the calls.
"""

from collections.abc import Hashable, Sequence

import numpy as np

from wattline_sim.facility.plant.cards import WINDOW, Cards
from wattline_sim.facility.plant.clocks import draw_share
from wattline_sim.facility.plant.dice import Flags, Floats, Indexes
from wattline_sim.facility.plant.feeds import Feeds
from wattline_sim.facility.plant.hosts import Hosts
from wattline_sim.facility.plant.jobs import Jobs, as_gpus
from wattline_sim.facility.plant.layout import Layout
from wattline_sim.facility.plant.performance import Curves
from wattline_sim.facility.plant.readings import Readings
from wattline_sim.facility.plant.workload import Workload
from wattline_sim.facility.plant.zones import Zones

SUBSTEP_S = 0.1
_PREHEAT_C_PER_W = 0.007
"""Of air that has cooled a GPU before: 5 °C behind one at 700 W, about 140 CFM each."""

Some = Sequence[int] | Indexes | int
"""One index or several."""


class Plant(Readings):
    """A site's hardware. Actuators act from the next step on; readings are of the last step."""

    def __init__(self, layout: Layout, seed: int, substep_s: float = SUBSTEP_S) -> None:
        self.layout, self.substep_s = layout, substep_s
        nodes, per_node, count = len(layout.nodes), layout.gpus_per_node, layout.gpu_count
        self._per_node = per_node
        self.cards = Cards(layout.gpu_model, count, seed, substep_s)
        self.jobs = Jobs(count)
        self.hosts = Hosts(layout.host_model, nodes, per_node)
        self.feeds = Feeds(layout)
        self.zones = Zones(layout, seed)
        self._curves = Curves(layout.gpu_model.display_name)
        self._feed = {feed.id: i for i, feed in enumerate(layout.feeds)}
        self._zone = {zone.id: i for i, zone in enumerate(layout.zones)}
        self._is_on: Flags = np.ones(nodes, dtype=np.bool_)
        self.is_frozen: Flags = np.zeros(count, dtype=np.bool_)
        self._ticks = 0
        self._outside_c: float | None = None
        self.performance: Floats = np.zeros(count)
        self.own_performance: Floats = np.zeros(count)
        """The same where no GPU waits for another."""
        self.node_walls: Floats = np.zeros((WINDOW, nodes))
        self.feed_walls: Floats = np.zeros((WINDOW, len(layout.feeds)))
        self._refresh_alive()
        self._begin()

    def _begin(self) -> None:
        """Idle equilibrium: one step's watts, then windows as if that had always been so."""
        self._step_hosts()
        self.node_walls[:] = self.hosts.wall_w
        self.feed_walls[:] = self.feeds.load_w(self.hosts.wall_w)
        self.feeds.wall_w = self.feed_walls[0].copy()
        self.zones.settle(self.hosts.wall_w)

    # --- Actuators ----------------------------------------------------------------------

    def set_limit_w(self, gpus: Some, watts: Floats | float) -> None:
        """The driver's power limit; outside the model's range raises ValueError, as NVML does."""
        self._set_limit(self.cards.driver_limit_w, gpus, watts)

    def set_bmc_limit_w(self, gpus: Some, watts: Floats | float) -> None:
        """A limit out of band; the lower of the two is enforced."""
        self._set_limit(self.cards.bmc_limit_w, gpus, watts)

    def _set_limit(self, limits_w: Floats, gpus: Some, watts: Floats | float) -> None:
        model = self.layout.gpu_model
        if np.any(np.less(watts, model.limit_min_w)) or np.any(
            np.greater(watts, model.limit_max_w)
        ):
            raise ValueError(
                f"power limit {watts} W is outside {model.limit_min_w} to {model.limit_max_w} W"
            )
        limits_w[as_gpus(gpus)] = watts
        self.cards.refresh_limits()

    def lock_clocks(self, gpus: Some, max_mhz: int | None) -> None:
        """Lock the SM clock to at most `max_mhz`; None: free."""
        top = self.layout.gpu_model.sm_max_mhz
        self.cards.lock_share[as_gpus(gpus)] = 1.0 if max_mhz is None else min(max_mhz / top, 1.0)

    def reset_limits(self, nodes: Some) -> None:
        """A reboot: limits, locks and counters of these nodes' GPUs are back at the defaults."""
        self.cards.reset(self.gpus_of(nodes))

    def brake(self, nodes: Some, on: bool) -> None:
        """The hardware power brake: halves the clocks at once."""
        self.cards.is_braked[self.gpus_of(nodes)] = on

    def set_power(self, nodes: Some, on: bool) -> None:
        """Switch nodes off or on; off, and a return of power, forget processes and limits."""
        self._is_on[as_gpus(nodes)] = on
        self._refresh_alive()

    def load(self, gpus: Some, workload: Workload, seed: int, gang: Hashable | None = None) -> None:
        """A process of `workload` now runs on these GPUs, which share one phase clock.

        Calls that name the same `gang` (the tasks of a job on several nodes) share it too. Raises
        ValueError where a GPU has a process already or its node has no power.
        """
        chosen = as_gpus(gpus)
        if not self._powered[chosen].all():
            raise ValueError(f"GPUs {chosen[self._powered[chosen] == 0].tolist()} have no power")
        self.jobs.load(chosen, workload, seed, self.now_s, gang)
        self.is_frozen[chosen] = False
        self._refresh_alive()

    def unload(self, gpus: Some) -> None:
        """The processes on these GPUs have ended; the rest of their gangs runs on."""
        self.jobs.unload(as_gpus(gpus))
        self.is_frozen[as_gpus(gpus)] = False
        self._refresh_alive()

    def freeze(self, gpus: Some) -> None:
        """Stop the processes on these GPUs; they draw idle watts and make no progress."""
        self.is_frozen[as_gpus(gpus)] = True
        self._refresh_alive()

    def thaw(self, gpus: Some) -> None:
        """Let frozen processes go on where they stood."""
        self.is_frozen[as_gpus(gpus)] = False
        self._refresh_alive()

    def fail_unit(self, zone: str, n: int = 1) -> None:
        """`n` more cooling units of the zone stop, at once."""
        index = self._zone[zone]
        self.zones.set_units(index, float(self.zones.units_in_service[index]) - n)

    def restore_unit(self, zone: str, n: int = 1) -> None:
        """`n` units start again; their capacity comes back over minutes."""
        self.fail_unit(zone, -n)

    def lose_feed(self, domain: str) -> None:
        """Everything at and below this feed is without power."""
        self.feeds.is_lost[self._feed[domain]] = True
        self._feeds_changed()

    def restore_feed(self, domain: str) -> None:
        """The feed is back, its breaker closed."""
        self.feeds.is_lost[self._feed[domain]] = False
        self.feeds.breakers.close(self._feed[domain])
        self._feeds_changed()

    def set_outside_c(self, outside_c: float | None) -> None:
        """Override the weather; None: follow it again."""
        self._outside_c = outside_c

    def set_overshoot(self, share: float) -> None:
        """Capped GPUs exceed their limit by this share in 100 ms bursts, once a second."""
        self.cards.overshoot = share

    def replay_requests(self, minute_rates: Sequence[float]) -> None:
        """Services follow a recorded series: requests of each minute over their mean."""
        self.jobs.replay_requests(tuple(minute_rates))

    def gpus_of(self, nodes: Some) -> Indexes:
        """Indexes of all GPUs of these nodes."""
        first = as_gpus(nodes) * self._per_node
        return np.asarray((first[:, None] + np.arange(self._per_node)).ravel())

    # --- Time ---------------------------------------------------------------------------

    @property
    def outside_c(self) -> float:
        """Outside temperature."""
        if self._outside_c is not None:
            return self._outside_c
        return self.layout.weather.outside_c(self.now_s)

    @property
    def now_s(self) -> float:
        """Seconds since the start."""
        return self._ticks * self.substep_s

    def step(self, dt_s: float) -> None:
        """Advance; `dt_s` must be a whole number of sub-steps, else ValueError."""
        steps = round(dt_s / self.substep_s)
        if steps < 1 or abs(steps * self.substep_s - dt_s) > 1e-6:
            raise ValueError(f"step {dt_s} s is not a whole number of {self.substep_s} s sub-steps")
        for _ in range(steps):
            self._substep()

    def _substep(self) -> None:
        dt_s, jobs, cards = self.substep_s, self.jobs, self.cards
        jobs.step(dt_s, self.now_s)
        self._ticks += 1
        rows = jobs.row_of
        phase = jobs.phase[rows]
        clock = cards.clock_share()
        share = np.ones(1) if clock is None else draw_share(clock, phase)
        cards.draw(jobs.level[rows] * jobs.imbalance, self.alive, self._powered, share)
        self._perform(phase)
        self._step_hosts()
        slot = self._ticks % WINDOW
        self.node_walls[slot] = self.hosts.wall_w
        opened = self.feeds.step(self.hosts.wall_w, dt_s)
        self.feed_walls[slot] = self.feeds.wall_w
        self.zones.step(self.hosts.wall_w, self.outside_c, dt_s)
        cards.warm(self._air_c())
        if opened:
            self._feeds_changed()
        if cards.has_shut_down.any():
            self._refresh_alive()

    def _air_c(self) -> Floats:
        """What each GPU breathes: the rear half of a node the front half's warmed air."""
        per_node = self._per_node
        air_c = np.repeat(self.zones.inlet_c, per_node).reshape(-1, per_node)
        rear = per_node // 2
        front_w = self.cards.power_w.reshape(-1, per_node)[:, :rear]
        air_c[:, per_node - rear :] += _PREHEAT_C_PER_W * front_w
        return air_c.ravel()

    def _perform(self, phase: Indexes) -> None:
        cards, alive = self.cards, self.alive
        speed = alive.copy()
        bound = np.flatnonzero((cards.target_w < cards.demand_w) & (alive > 0.0))
        if bound.size:
            speed[bound] = self._curves.speed(
                cards.target_w[bound], cards.demand_w[bound], phase[bound]
            )
        self.own_performance = speed
        self.performance = self.jobs.wait_for_slowest(speed)

    def _step_hosts(self) -> None:
        per_node, cards = self._per_node, self.cards
        self.hosts.step(
            cards.power_w.reshape(-1, per_node).sum(axis=1),
            cards.temp_c.reshape(-1, per_node).max(axis=1),
            self.alive.reshape(-1, per_node).mean(axis=1),
            self._node_on,
            self.substep_s,
        )

    def _feeds_changed(self) -> None:
        self.feeds.refresh()
        self._refresh_alive()

    def _refresh_alive(self) -> None:
        """Who has power and who runs; a node that just lost power forgets all it held."""
        is_on = self._is_on & self.feeds.is_fed
        self.is_powered = is_on
        self._node_on: Floats = is_on.astype(np.float64)
        gone = np.repeat(~is_on, self._per_node) | self.cards.has_shut_down
        died = np.flatnonzero(gone & self.jobs.is_loaded)
        if died.size:
            self.jobs.unload(died)
            self.is_frozen[died] = False
        dark = np.flatnonzero(~is_on)
        if dark.size:
            self.reset_limits(dark)
        self._powered: Floats = (~gone).astype(np.float64)
        running = self.jobs.is_loaded & ~self.is_frozen
        self.alive: Floats = running.astype(np.float64)
        self.jobs.stand_still(np.flatnonzero(~running))
        self.performance = np.where(running, self.performance, 0.0)
