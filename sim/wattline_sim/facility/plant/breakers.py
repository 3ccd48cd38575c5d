"""How long a breaker bears an overload, and how overloads add up.

A level's table is log-log: time to trip against the ratio of load to rating. Damage grows by
dt / T(ratio) while the ratio is above 1 and decays while it is below; at 1 the breaker opens
(facts: no single I2t exponential fits both 17 minutes at 1.10 and 60 s at 1.40). Tables are
typical values, not a standard: `row` and `rack` a UL 489 moulded-case breaker as published for
large sites (Dynamo, ISCA 2016), `msb` the least tolerant level there, `ups` the shorter end of
vendors' overload support.
"""

from collections.abc import Sequence

import numpy as np

from wattline_sim.facility.plant.dice import Floats, Indexes

_RACK = ((1.05, 7200.0), (1.10, 1020.0), (1.25, 180.0), (1.40, 60.0), (1.50, 40.0), (2.00, 10.0))
_MSB = ((1.05, 120.0), (1.15, 60.0), (1.40, 15.0), (2.00, 2.0))
_UPS = ((1.03, 600.0), (1.25, 30.0), (1.50, 10.0), (2.00, 0.2))

TRIP_TABLES: dict[str, tuple[tuple[float, float], ...]] = {
    "rack": _RACK,
    "row": _RACK,
    "msb": _MSB,
    "ups": _UPS,
}
"""(load / rating, seconds to trip) of each level, in order of load."""

DECAY_TAU_S = 600.0
"""Damage below the rating falls with this time constant: a thermal element cools in minutes."""


class UnknownLevelError(ValueError):
    """No trip table of that level; the message lists those that exist."""


def trip_time_s(level: str, ratio: Floats) -> Floats:
    """Seconds at `ratio` × rating until a rested breaker of that level opens.

    Ends are continued with the slope of the nearest segment; infinite at or below the rating.
    """
    if level not in TRIP_TABLES:
        raise UnknownLevelError(f"unknown trip table {level!r}; known: {', '.join(TRIP_TABLES)}")
    points = np.log(np.array(TRIP_TABLES[level]))
    x = np.log(np.maximum(ratio, 1e-9))
    segment = np.clip(np.searchsorted(points[:, 0], x) - 1, 0, len(points) - 2)
    low, high = points[segment], points[segment + 1]
    slope = (high[..., 1] - low[..., 1]) / (high[..., 0] - low[..., 0])
    log_time = low[..., 1] + slope * (x - low[..., 0])
    return np.where(ratio > 1.0, np.exp(np.minimum(log_time, 700.0)), np.inf)


class Breakers:
    """Accumulated damage of one breaker per domain; `tripped` ones stay open until closed."""

    def __init__(self, levels: Sequence[str], rating_w: Floats) -> None:
        for level in levels:
            trip_time_s(level, np.ones(1))
        self._rating_w = rating_w
        self._of_level: dict[str, Indexes] = {
            level: np.array([i for i, own in enumerate(levels) if own == level])
            for level in dict.fromkeys(levels)
        }
        self.damage: Floats = np.zeros(len(levels))
        self.tripped = np.zeros(len(levels), dtype=np.bool_)

    def step(self, load_w: Floats, dt_s: float) -> bool:
        """Advance by `dt_s` under that load per domain; true if a breaker opened just now."""
        ratio = load_w / self._rating_w
        over = ratio > 1.0
        self.damage *= np.where(over, 1.0, np.exp(-dt_s / DECAY_TAU_S))
        if not over.any():
            return False
        for level, members in self._of_level.items():
            self.damage[members] += dt_s / trip_time_s(level, ratio[members])
        opened = (self.damage >= 1.0) & ~self.tripped
        self.tripped |= opened
        return bool(opened.any())

    def close(self, domain: int) -> None:
        """Reset one breaker by hand, cold."""
        self.tripped[domain] = False
        self.damage[domain] = 0.0
