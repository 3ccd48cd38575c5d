"""The plant: what is really there, stepped as arrays over all GPUs, nodes, feeds and zones.

Order of a step of `substep_s` (0.1 s): jobs advance at the pace of the step before; GPUs draw;
performance follows from what they could draw; nodes, feeds (breakers) and zones follow from the
watts; heat moves the clock ceilings of the next step. GPU g of node n has index
n × gpus_per_node + g in every array. Pure: time is the number of steps taken, and what happens is
a function of the layout, the seed and the calls. Readings are views: copy what must not change.
"""

from collections.abc import Sequence

import numpy as np

from wattline_sim.facility.plant.cards import WINDOW, Cards, Flags
from wattline_sim.facility.plant.dice import Floats, Indexes
from wattline_sim.facility.plant.feeds import Feeds
from wattline_sim.facility.plant.hosts import Hosts
from wattline_sim.facility.plant.jobs import Jobs, as_gpus
from wattline_sim.facility.plant.layout import Layout
from wattline_sim.facility.plant.performance import Curves
from wattline_sim.facility.plant.workload import PHASES, Workload
from wattline_sim.facility.plant.zones import Zones
from wattline_sim.physics import Reason

SUBSTEP_S = 0.1

Some = Sequence[int] | Indexes | int
"""One index or several."""

_MEMORY_BOUND = np.array([0.20, 0.25, 0.20, 0.70, 0.30, 0.20])
_KNEE = np.array([1.0, 1.0, 0.9, 0.5, 0.9, 1.0])
_TRAFFIC = np.array([0.62, 0.40, 0.55, 0.85, 0.50, 0.05])
"""By phase: share of the draw that follows memory traffic, the clock below which it falls, and
the traffic itself (as in the load profiles of the node simulator)."""


class Plant:
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
        self._curves = Curves()
        self._feed = {feed.id: i for i, feed in enumerate(layout.feeds)}
        self._zone = {zone.id: i for i, zone in enumerate(layout.zones)}
        self._is_on: Flags = np.ones(nodes, dtype=np.bool_)
        self.is_frozen: Flags = np.zeros(count, dtype=np.bool_)
        self._ticks = 0
        self._outside_c: float | None = None
        self.performance: Floats = np.zeros(count)
        self._pace: Floats = np.zeros(count)
        self._node_walls: Floats = np.zeros((WINDOW, nodes))
        self._feed_walls: Floats = np.zeros((WINDOW, len(layout.feeds)))
        self._refresh_alive()
        self._begin()

    def _begin(self) -> None:
        """Idle equilibrium: one step's watts, then windows as if that had always been so."""
        self._step_hosts()
        self._node_walls[:] = self.hosts.wall_w
        self._feed_walls[:] = self.feeds.load_w(self.hosts.wall_w)
        self.feeds.wall_w = self._feed_walls[0].copy()
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
        if np.any(np.less(watts, model.limit_min_w)) or np.any(np.greater(watts, model.limit_max_w)):
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

    def load(self, gpus: Some, workload: Workload, seed: int) -> None:
        """A process of `workload` now runs on these GPUs; the gang shares one phase clock.

        Raises ValueError where a GPU has a process already or its node has no power.
        """
        chosen = as_gpus(gpus)
        if not self._powered[chosen].all():
            raise ValueError(f"GPUs {chosen[self._powered[chosen] == 0].tolist()} have no power")
        self.jobs.load(chosen, workload, seed, self.now_s)
        self.is_frozen[chosen] = False
        self._refresh_alive()

    def unload(self, gpus: Some) -> None:
        """The processes on these GPUs, and so all of their gangs, have ended."""
        freed = self.jobs.unload(as_gpus(gpus))
        self.is_frozen[freed] = False
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

    def gpus_of(self, nodes: Some) -> Indexes:
        """Indexes of all GPUs of these nodes."""
        first = as_gpus(nodes) * self._per_node
        return np.asarray((first[:, None] + np.arange(self._per_node)).ravel())

    # --- Time ---------------------------------------------------------------------------

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
        jobs.step(dt_s, self.now_s, self._pace)
        self._ticks += 1
        rows = jobs.row_of
        phase = jobs.phase[rows]
        clock = cards.clock_share()
        share = np.ones(1) if clock is None else _draw_share(clock, phase)
        cards.draw(jobs.level[rows] * jobs.imbalance, self._alive, self._powered, share)
        self._perform(phase)
        self._step_hosts()
        slot = self._ticks % WINDOW
        self._node_walls[slot] = self.hosts.wall_w
        opened = self.feeds.step(self.hosts.wall_w, dt_s)
        self._feed_walls[slot] = self.feeds.wall_w
        self.zones.step(self.hosts.wall_w, self.outside_c, dt_s)
        cards.warm(np.repeat(self.zones.inlet_c, self._per_node), _TRAFFIC[phase] * self._alive)
        if opened:
            self._feeds_changed()
        if cards.has_shut_down.any():
            self._refresh_alive()

    def _perform(self, phase: Indexes) -> None:
        cards, alive = self.cards, self._alive
        speed = alive.copy()
        bound = np.flatnonzero((cards.target_w < cards.demand_w) & (alive > 0.0))
        if bound.size:
            speed[bound] = self._curves.speed(
                cards.target_w[bound], cards.demand_w[bound], phase[bound]
            )
        self.performance = self.jobs.gang_pace(speed)
        self._pace = speed

    def _step_hosts(self) -> None:
        per_node, cards = self._per_node, self.cards
        self.hosts.step(
            cards.power_w.reshape(-1, per_node).sum(axis=1),
            cards.temp_c.reshape(-1, per_node).max(axis=1),
            self._alive.reshape(-1, per_node).mean(axis=1),
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
            self.is_frozen[self.jobs.unload(died)] = False
        dark = np.flatnonzero(~is_on)
        if dark.size:
            self.reset_limits(dark)
        self._powered: Floats = (~gone).astype(np.float64)
        running = self.jobs.is_loaded & ~self.is_frozen
        self._alive: Floats = running.astype(np.float64)
        self._pace = np.where(running, self._pace, 0.0)
        self.performance = np.where(running, self.performance, 0.0)

    # --- Readings -----------------------------------------------------------------------

    @property
    def power_now_w(self) -> Floats:
        """Draw of each GPU, mean over the last step."""
        return self.cards.power_w

    @property
    def power_avg_1s_w(self) -> Floats:
        """Draw of each GPU, mean over the last second."""
        return self.cards.average_w()

    @property
    def limit_w(self) -> Floats:
        """The enforced limit of each GPU."""
        return self.cards.limit_w

    @property
    def demand_w(self) -> Floats:
        """What each GPU would draw without any cap (but TDP): truth, for metrics only."""
        return self.cards.demand_w

    @property
    def temp_c(self) -> Floats:
        """Die temperature of each GPU."""
        return self.cards.temp_c

    @property
    def memory_temp_c(self) -> Floats:
        """Memory temperature of each GPU."""
        return self.cards.memory_c

    @property
    def energy_j(self) -> Floats:
        """Energy of each GPU since its driver loaded."""
        return self.cards.energy_j

    @property
    def power_throttle_s(self) -> Floats:
        """Seconds each GPU was held by its power limit since its driver loaded."""
        return self.cards.capped_s

    @property
    def util_pct(self) -> Floats:
        """GPU utilisation as NVML would report it."""
        return self.jobs.gpu_percent[self.jobs.row_of] * self._alive

    @property
    def is_loaded(self) -> Flags:
        """Which GPUs have a process, frozen or not."""
        return self.jobs.is_loaded

    @property
    def backlog_s(self) -> Floats:
        """Queued prefill of the service on each GPU: the latency that its requests have added."""
        return self.jobs.backlog_s()

    @property
    def reasons(self) -> Indexes:
        """NVML clock event bits of each GPU."""
        cards, alive = self.cards, self._alive > 0.0
        bits = np.where(alive, 0, int(Reason.IDLE))
        bits |= np.where(cards.is_power_capped & alive, int(Reason.POWER_CAP), 0)
        bits |= np.where(cards.is_sw_hot, int(Reason.SW_THERMAL), 0)
        bits |= np.where(cards.is_hw_hot, int(Reason.HW_THERMAL | Reason.HW_SLOWDOWN), 0)
        bits |= np.where(cards.is_braked, int(Reason.POWER_BRAKE | Reason.HW_SLOWDOWN), 0)
        bits |= np.where(cards.lock_share < 1.0, int(Reason.LOCKED_CLOCKS), 0)
        return bits

    @property
    def node_wall_w(self) -> Floats:
        """Wall watts of each node, mean over the last step."""
        return self.hosts.wall_w

    @property
    def node_wall_avg_1s_w(self) -> Floats:
        """Wall watts of each node, mean over the last second."""
        return np.asarray(self._node_walls.mean(axis=0))

    @property
    def domain_wall_w(self) -> Floats:
        """Watts through each feed, in the layout's order, mean over the last step."""
        return self.feeds.wall_w

    @property
    def domain_wall_avg_1s_w(self) -> Floats:
        """Watts through each feed, mean over the last second."""
        return np.asarray(self._feed_walls.mean(axis=0))

    @property
    def damage(self) -> Floats:
        """Accumulated damage of each feed's breaker; it opens at 1."""
        return self.feeds.breakers.damage

    @property
    def tripped(self) -> Flags:
        """Which breakers are open."""
        return self.feeds.breakers.tripped

    @property
    def inlet_c(self) -> Floats:
        """Inlet temperature of each node."""
        return self.zones.inlet_c

    @property
    def zone_heat_w(self) -> Floats:
        """Heat given off in each zone."""
        return self.zones.heat_w

    @property
    def zone_capacity_w(self) -> Floats:
        """Heat that each zone can remove now."""
        return self.zones.capacity_w

    @property
    def outside_c(self) -> float:
        """Outside temperature."""
        if self._outside_c is not None:
            return self._outside_c
        return self.layout.weather.outside_c(self.now_s)

    @property
    def hw_throttle_events(self) -> int:
        """Times a GPU has entered hardware thermal slowdown."""
        return self.cards.hw_events

    @property
    def sw_throttle_events(self) -> int:
        """Times a GPU has entered software thermal slowdown."""
        return self.cards.sw_events


def _draw_share(clock: Floats, phase: Indexes) -> Floats:
    """Share of the full dynamic draw at that share of the top clock (as `physics.draw_curve`)."""
    voltage = 0.75 + 0.25 * np.maximum(clock - 0.7, 0.0) / 0.3
    bound = _MEMORY_BOUND[phase]
    memory = np.minimum(1.0, clock / _KNEE[phase])
    return np.asarray((1.0 - bound) * clock * voltage * voltage + bound * memory)


assert len(PHASES) == len(_MEMORY_BOUND) == len(_KNEE) == len(_TRAFFIC)
