"""What can be measured in the plant; each reading is of the last step.

Readings are views: copy what must not change with the next step.
"""

import numpy as np

from wattline_sim.facility.plant.cards import Cards
from wattline_sim.facility.plant.dice import Flags, Floats, Indexes
from wattline_sim.facility.plant.feeds import Feeds
from wattline_sim.facility.plant.hosts import Hosts
from wattline_sim.facility.plant.jobs import Jobs
from wattline_sim.facility.plant.zones import Zones
from wattline_sim.physics import Reason


class Readings:
    """Arrays per GPU, node, feed or zone, in the order of the layout."""

    cards: Cards
    jobs: Jobs
    hosts: Hosts
    feeds: Feeds
    zones: Zones
    alive: Floats
    """1 where a process runs (not frozen, with power), else 0."""
    performance: Floats
    """0..1 per GPU: speed against the uncapped speed; 0 where nothing runs. A synchronous gang
    goes at the pace of its slowest GPU."""
    node_walls: Floats
    feed_walls: Floats

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
        return self.jobs.gpu_percent[self.jobs.row_of] * self.alive

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
        cards, alive = self.cards, self.alive > 0.0
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
        return np.asarray(self.node_walls.mean(axis=0))

    @property
    def domain_wall_w(self) -> Floats:
        """Watts through each feed, in the layout's order, mean over the last step."""
        return self.feeds.wall_w

    @property
    def domain_wall_avg_1s_w(self) -> Floats:
        """Watts through each feed, mean over the last second."""
        return np.asarray(self.feed_walls.mean(axis=0))

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
    def hw_throttle_events(self) -> int:
        """Times a GPU has entered hardware thermal slowdown."""
        return self.cards.hw_events

    @property
    def sw_throttle_events(self) -> int:
        """Times a GPU has entered software thermal slowdown."""
        return self.cards.sw_events
