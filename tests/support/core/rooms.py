"""A room for controllers of its inlets: air with heat capacity, lag, and units that can fail."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from wattline_protocol.ids import Instant
from wattline_scheduler.power.sensing.inlets import InletControl

SUPPLY_C = 24.0
RISE_IN_RACK_C = 1.0
STEER_S = 120.0
HEAT_LAG_S = 30.0


@dataclass
class Room:
    """Shares are permille of the room's full budget, which is what its units can remove."""

    warms_c_per_min: float = 3.0
    """With no cooling at all and full heat."""
    sensor_lag_s: float = 10.0
    coil_per_c: float = 0.03
    """How much more a coil removes from air that is a degree warmer."""
    noise_c: float = 0.0
    step_c: float = 0.0
    """Of the sensors' resolution; 0 = none."""
    air_c: float = SUPPLY_C
    _lagged: float = 0.0
    _sensed_c: float = SUPPLY_C + RISE_IN_RACK_C
    _dice: random.Random = field(default_factory=lambda: random.Random(1))

    def step(self, heat: float, capacity: float) -> float:
        """One second; the inlet as its sensors tell it."""
        self._lagged += (heat - self._lagged) * (1 - math.exp(-1 / HEAT_LAG_S))
        over_c = self.air_c - SUPPLY_C
        per_c = 1000 * 60 / self.warms_c_per_min
        most = capacity * (1 + self.coil_per_c * max(over_c, 0.0))
        removed = min(max(self._lagged + over_c * per_c / STEER_S, 0.0), most)
        self.air_c += (self._lagged - removed) / per_c
        self._sensed_c += (self.inlet_c - self._sensed_c) * (1 - math.exp(-1 / self.sensor_lag_s))
        told_c = self._sensed_c + self._dice.gauss(0, self.noise_c)
        return round(told_c / self.step_c) * self.step_c if self.step_c else told_c

    @property
    def inlet_c(self) -> float:
        return self.air_c + RISE_IN_RACK_C


@dataclass
class Story:
    """What happened, second by second."""

    inlets_c: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)

    def reversals(self, by: float) -> int:
        """Changes of direction of the budget by more than `by` permille."""
        count, rising, turned_at = 0, False, self.shares[0]
        for share in self.shares:
            if (share > turned_at) == rising:
                turned_at = share
            elif abs(share - turned_at) > by:
                count, rising, turned_at = count + 1, not rising, share
        return count


def controlled(
    room: Room,
    control: InletControl,
    capacity_at: Callable[[int], float],
    *,
    demand: float = 950.0,
    floor: float = 300.0,
    seconds: int = 7200,
) -> Story:
    """Run a room under its controller; work draws `demand` where it may."""
    story = Story()
    for second in range(seconds):
        share = 1000.0 if control.share_permille is None else control.share_permille
        heat = min(demand, share)
        told_c = room.step(heat, capacity_at(second))
        control.step(told_c, heat, lambda: floor, Instant(float(second)))
        story.inlets_c.append(room.inlet_c)
        story.shares.append(share)
    return story
