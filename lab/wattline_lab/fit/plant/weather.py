"""Outside temperature of a typical year in a hot place, and of its worst day, as harmonics."""

from pathlib import Path

import numpy as np

from wattline_lab.fit.traces import rows
from wattline_sim.facility.plant.constants import WeatherFit
from wattline_sim.facility.plant.dice import Floats
from wattline_sim.facility.plant.weather import HOURS_PER_YEAR, fitted, harmonic_basis

SITE = "AZ_Phoenix"
SOURCE = "typical meteorological year (TMYx) of Phoenix by climate.onebuilding.org, via dc-rl (MIT)"


def weathers(traces: Path) -> list[WeatherFit]:
    """The year, and the day with its highest temperature, which repeats for ever."""
    table = rows(traces / "weather-tmy" / "hourly.csv.gz")
    hourly = np.array([float(r["dry_bulb_c"]) for r in table if r["site"] == SITE])
    start = int(np.argmax(hourly)) // 24 * 24
    return [_year(hourly), _heatwave(hourly[start : start + 24], start)]


def _year(hourly: Floats) -> WeatherFit:
    coefficients = fitted(hourly.tolist())
    basis = np.array([harmonic_basis(float(hour)) for hour in range(HOURS_PER_YEAR)])
    return _fit("phoenix", hourly, basis @ np.array(coefficients), coefficients, 0.0)


def _heatwave(hourly: Floats, start: int) -> WeatherFit:
    """A mean and two daily harmonics; the yearly terms of the basis stay zero."""
    basis = np.array([harmonic_basis(float(start + hour))[:5] for hour in range(len(hourly))])
    daily = np.linalg.lstsq(basis, hourly, rcond=None)[0]
    coefficients = tuple(float(c) for c in daily) + (0.0,) * 20
    return _fit("phoenix-heatwave", hourly, basis @ daily, coefficients, float(start))


def _fit(
    name: str, hourly: Floats, found: Floats, coefficients: tuple[float, ...], start: float
) -> WeatherFit:
    error = found - hourly
    return WeatherFit(
        name=name,
        coefficients=tuple(round(c, 4) for c in coefficients),
        start_hour=start,
        rmse_c=round(float(np.sqrt(np.mean(error**2))), 2),
        max_error_c=round(float(np.abs(error).max()), 2),
        max_c=float(hourly.max()),
        source=SOURCE,
    )
