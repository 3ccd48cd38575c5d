"""Capacity of a cooling zone, by its units in service and the weather; pure.

Heat to remove = wall watts, so a zone is a domain like any other and its capacity is its budget. A
failed unit is removed at once; a returning unit and a change of the weather take effect slowly,
because a restarted unit takes minutes to take up load. Missing values count as the worse case: a
missing outside temperature as the hottest of the table, a missing number of units as one fewer than
last known, unless inlets are watched as well.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from wattline_protocol.ids import Instant
from wattline_protocol.site.sensing import USUAL_STALE_PERIODS, OutsidePoint, Plant, Sensor
from wattline_protocol.site.wall_power import PERMILLE
from wattline_scheduler.power.sensing.inlets import RISE_PERMILLE_PER_S, InletControl

OUTSIDE_RANGE_C = (-90.0, 65.0)

WEATHER_STALE_S = 600.0
"""Age at which a weather file is stale; it is read once a minute."""


def outside_share_permille(points: Sequence[OutsidePoint], outside_c: float | None) -> int:
    """Share of its capacity that a unit has; `outside_c` None counts as the worst of the points."""
    if not points:
        return PERMILLE
    if outside_c is None:
        return min(point.share_permille for point in points)
    if outside_c <= points[0].outside_c:
        return points[0].share_permille
    for low, high in pairwise(points):
        if outside_c <= high.outside_c:
            part = (outside_c - low.outside_c) / (high.outside_c - low.outside_c)
            change = (high.share_permille - low.share_permille) * part
            return math.floor(low.share_permille + change)
    return points[-1].share_permille


def capacity_mw(plant: Plant, full_mw: int, units: int, outside_c: float | None) -> int:
    """Limit on leases booked in the zone: `full_mw` (its capacity x derate x overbook) or less."""
    share = outside_share_permille(plant.capacity_at, outside_c)
    if not plant.units:
        return full_mw * share // PERMILLE
    return min(full_mw, plant.booked_mw(units * plant.unit_mw * share // PERMILLE))


@dataclass(slots=True)
class Capacity:
    """The capacity in force: falls at once when a unit fails, otherwise changes slowly."""

    now_mw: int | None = None
    units: int = 0
    at: Instant | None = None

    def update(self, target_mw: int, units: int, full_mw: int, at: Instant) -> int:
        """The capacity in force at `at`. The first call takes the target as it is."""
        passed_s = 0.0 if self.at is None else at - self.at
        if self.now_mw is None:
            self.now_mw = target_mw
        elif self.at is None or units < self.units:
            self.now_mw = min(self.now_mw, target_mw)
        else:
            step_mw = math.ceil(full_mw * RISE_PERMILLE_PER_S * passed_s / PERMILLE)
            self.now_mw = min(max(target_mw, self.now_mw - step_mw), self.now_mw + step_mw)
        self.units, self.at = units, at
        return self.now_mw


@dataclass(slots=True)
class ZoneNow:
    """State of one zone's plant in this run."""

    plant: Plant
    since: Instant
    units_declared: int | None = None
    """Set by an operator; None: not set."""
    units_sensed: int | None = None
    outside_c: float | None = None
    error: str = ""
    """Why the newest incomplete reading lacks a value; "" once a reading is complete."""
    capacity: Capacity = field(default_factory=Capacity)
    inlets: InletControl | None = None
    problems: dict[str, str] = field(default_factory=dict)
    """Current problems of its sensors: kind of sensor → description."""
    _units_at: Instant | None = None
    _outside_at: Instant | None = None

    def take(self, units: int | None, outside_c: float | None, error: str, at: Instant) -> None:
        """Apply a reading; missing or implausible values leave the previous ones in place."""
        self.error = error
        if units is not None and 0 <= units <= self.plant.units:
            self.units_sensed, self._units_at = units, at
        elif units is not None:
            self.error = f"{units} units in service, there are {self.plant.units}"
        least, most = OUTSIDE_RANGE_C
        if outside_c is not None and least <= outside_c <= most:
            self.outside_c, self._outside_at = outside_c, at
        elif outside_c is not None:
            self.error = f"{outside_c:g} °C outside is not plausible"

    def is_units_stale(self, at: Instant) -> bool:
        """Whether units in service are to be sensed and were not for several periods."""
        sensor = self.plant.units_sensor
        return sensor is not None and _is_stale(self._units_at, self.since, sensor, at)

    def is_outside_stale(self, at: Instant) -> bool:
        """Whether a required outside temperature was not reported for several periods."""
        if not self.plant.capacity_at:
            return False
        if self.plant.outside_sensor is not None:
            return _is_stale(self._outside_at, self.since, self.plant.outside_sensor, at)
        since = self.since if self._outside_at is None else self._outside_at
        return at - since > WEATHER_STALE_S

    def units(self, at: Instant) -> int:
        """Units to count on: the fewer of the operator's number and the sensed one."""
        known = [u for u in (self.units_declared, self.units_sensed) if u is not None]
        units = min(known, default=self.plant.units)
        if self.is_units_stale(at) and self.plant.inlet_limit_c is None:
            return max(0, units - 1)
        return units

    def is_settled(self, at: Instant) -> bool:
        """Whether every input of the capacity was reported, or is overdue."""
        has_units = self.plant.units_sensor is None or self._units_at is not None
        has_outside = not self.plant.capacity_at or self._outside_at is not None
        return (has_units or self.is_units_stale(at)) and (has_outside or self.is_outside_stale(at))

    def update_capacity(self, full_mw: int, at: Instant) -> int:
        """The zone's capacity in force at `at`; `full_mw` is its maximum."""
        outside_c = None if self.is_outside_stale(at) else self.outside_c
        units = self.units(at)
        target_mw = capacity_mw(self.plant, full_mw, units, outside_c)
        return self.capacity.update(target_mw, units, full_mw, at)


def _is_stale(read_at: Instant | None, since: Instant, sensor: Sensor, at: Instant) -> bool:
    heard_at = since if read_at is None else read_at
    return at - heard_at > sensor.period_s * USUAL_STALE_PERIODS
