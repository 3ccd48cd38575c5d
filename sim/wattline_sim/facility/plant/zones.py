"""Rooms that warm: heat, cooling in service, and the air that reaches the inlets.

A zone removes what its nodes give off (with the air's lag) and steers its supply back to the set
point, but never more than the units in service can, derated for the temperature outside. A coil
removes a little more from warmer air, so an overloaded room settles above its set point instead
of warming for ever. Losing a unit acts at once; a restored one comes back over minutes.
"""

import numpy as np

from wattline_sim.facility.plant import dice
from wattline_sim.facility.plant.dice import Floats, Indexes
from wattline_sim.facility.plant.layout import Layout

_AIR_TAU_S = 30.0
_STEER_TAU_S = 120.0
_RESTART_TAU_S = 120.0
_COIL_GAIN_PER_C = 0.03
_LOST_C_PER_S = 3.0 / 60.0
_NO_ZONE_C = 24.0
_POSITION_SALT = 0x1417
_POSITION_MAX_C = 2.0
"""A node high in its rack breathes up to this much warmer air."""


class Zones:
    """All cooling zones; `air_c` is the supply air of each after a step."""

    def __init__(self, layout: Layout, seed: int) -> None:
        index = {zone.id: i for i, zone in enumerate(layout.zones)}
        none = len(layout.zones)
        self.zone_of: Indexes = np.array(
            [none if node.zone is None else index[node.zone] for node in layout.nodes],
            dtype=np.int64,
        )
        self.units: Floats = np.array([float(zone.units) for zone in layout.zones])
        self.units_in_service: Floats = self.units.copy()
        self._units_running: Floats = self.units.copy()
        self._unit_w: Floats = np.array([zone.unit_capacity_w for zone in layout.zones])
        self._supply_c: Floats = np.array([zone.supply_c for zone in layout.zones])
        full_w = self.units * self._unit_w
        given = [zone.heat_capacity_j_per_c for zone in layout.zones]
        self._j_per_c: Floats = np.where(
            [value is None for value in given],
            full_w / _LOST_C_PER_S,
            [value or 1.0 for value in given],
        )
        self._tables = [np.array(zone.derate) for zone in layout.zones]
        self.air_c: Floats = self._supply_c.copy()
        self.heat_w: Floats = np.zeros(none)
        self._lagged_w: Floats = np.zeros(none)
        self.capacity_w: Floats = full_w.copy()
        keys = dice.keys_of(seed ^ _POSITION_SALT, len(layout.nodes))
        self._position_c = _POSITION_MAX_C * dice.uniform(keys, np.zeros(len(keys), np.uint64))
        self._lag: dict[float, tuple[float, float]] = {}
        self.outside_c = float("nan")
        self.inlet_c: Floats = np.zeros(len(layout.nodes))
        self._refresh_inlets()

    def step(self, node_wall_w: Floats, outside_c: float, dt_s: float) -> None:
        """Advance the air by `dt_s` under that heat."""
        if len(self.air_c) == 0:
            return
        if outside_c != self.outside_c:
            self.outside_c = outside_c
            self._derate = np.array([np.interp(outside_c, *t.T) for t in self._tables])
        air_lag, restart = self._lags(dt_s)
        heat_w = self._heat(node_wall_w)
        self.heat_w = heat_w
        self._lagged_w += (heat_w - self._lagged_w) * air_lag
        running = self._units_running
        running += (self.units_in_service - running) * restart
        np.minimum(running, self.units_in_service, out=running)
        over_c = self.air_c - self._supply_c
        self.capacity_w = running * self._unit_w * self._derate
        most_w = self.capacity_w * (1.0 + _COIL_GAIN_PER_C * np.maximum(over_c, 0.0))
        wanted_w = self._lagged_w + over_c * self._j_per_c / _STEER_TAU_S
        removed_w = np.minimum(np.maximum(wanted_w, 0.0), most_w)
        self.air_c = self.air_c + (self._lagged_w - removed_w) / self._j_per_c * dt_s
        self._refresh_inlets()

    def _heat(self, node_wall_w: Floats) -> Floats:
        zones = len(self.air_c)
        heat_w = np.bincount(self.zone_of, weights=node_wall_w, minlength=zones + 1)[:zones]
        return np.asarray(heat_w, np.float64)

    def _refresh_inlets(self) -> None:
        self.inlet_c = np.append(self.air_c, _NO_ZONE_C)[self.zone_of] + self._position_c

    def _lags(self, dt_s: float) -> tuple[float, float]:
        if dt_s not in self._lag:
            self._lag[dt_s] = (
                1.0 - float(np.exp(-dt_s / _AIR_TAU_S)),
                1.0 - float(np.exp(-dt_s / _RESTART_TAU_S)),
            )
        return self._lag[dt_s]

    def settle(self, node_wall_w: Floats) -> None:
        """Begin with air that already carries that heat."""
        self.heat_w = self._heat(node_wall_w)
        self._lagged_w = self.heat_w.copy()

    def set_units(self, zone: int, in_service: float) -> None:
        """That many units run from now on; fewer at once, more after their restart."""
        self.units_in_service[zone] = min(max(in_service, 0.0), self.units[zone])
