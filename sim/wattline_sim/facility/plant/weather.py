"""Outside temperature: a compact fitted year, or a replayed hourly series.

The fitted form is a product of yearly and daily harmonics (order 2 each); a heat wave is a daily
harmonic around a high mean. Between hours of a replay it is linear.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

HOURS_PER_YEAR = 8760


def harmonic_basis(hour_of_year: float) -> list[float]:
    """The 25 products of yearly and daily harmonics at that hour."""
    year = 2.0 * math.pi * hour_of_year / HOURS_PER_YEAR
    day = 2.0 * math.pi * hour_of_year / 24.0
    return [a * b for a in _order_2(year) for b in _order_2(day)]


def _order_2(angle: float) -> tuple[float, ...]:
    return (1.0, math.cos(angle), math.sin(angle), math.cos(2 * angle), math.sin(2 * angle))


@dataclass(frozen=True, slots=True)
class Weather:
    """Dry-bulb °C at a time. Exactly one source: `hourly_c`, `coefficients`, or else `flat_c`.

    `start_hour` is the hour of the year at which the plant's clock starts.
    """

    start_hour: float = 0.0
    flat_c: float = 25.0
    coefficients: tuple[float, ...] = ()
    hourly_c: tuple[float, ...] = ()

    def outside_c(self, now_s: float) -> float:
        """The temperature `now_s` seconds after the start; a series repeats at its end."""
        hour = self.start_hour + now_s / 3600.0
        if self.hourly_c:
            return _between(self.hourly_c, hour)
        if self.coefficients:
            basis = harmonic_basis(hour)
            return sum(c * b for c, b in zip(self.coefficients, basis, strict=True))
        return self.flat_c


def _between(series: Sequence[float], hour: float) -> float:
    index = int(hour) % len(series)
    share = hour - int(hour)
    following = series[(index + 1) % len(series)]
    return series[index] * (1.0 - share) + following * share


def fitted(hourly_c: Sequence[float]) -> tuple[float, ...]:
    """The coefficients that fit a year of hourly values best (least squares)."""
    basis = np.array([harmonic_basis(float(hour)) for hour in range(len(hourly_c))])
    solution = np.linalg.lstsq(basis, np.array(hourly_c), rcond=None)[0]
    return tuple(float(c) for c in solution)
