"""Real series in place of their fitted forms: weather of a typical year, rates of real requests.

Runs without traces use the constants in the repository; which of the two a run used is asked for
explicitly, so that a result does not depend on what happens to lie on a machine.
"""

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from wattline_sim.facility.plant.weather import HOURS_PER_YEAR, Weather

WEATHER, REQUESTS = "weather-tmy/hourly.csv.gz", "llm-requests/azure_2023_conv.csv.gz"
SITE = "AZ_Phoenix"
MINUTE_S = 60.0


class ReplayMissing(Exception):
    """A folder that lacks a series, or a series that is not what it should be."""


@dataclass(frozen=True, slots=True)
class Replay:
    """What was read: °C at each hour of the year, and requests a minute over their mean."""

    hourly_c: tuple[float, ...]
    request_rates: tuple[float, ...]

    def weather(self, fitted: Weather) -> Weather:
        """The real series from the hour at which the fitted one starts; a flat one stays flat."""
        if not fitted.coefficients:
            return fitted
        return replace(fitted, coefficients=(), hourly_c=self.hourly_c)


def read_replay(folder: Path) -> Replay:
    """Both series from a folder of traces. Raises ReplayMissing."""
    hourly_c = tuple(
        float(row["dry_bulb_c"]) for row in _rows(folder / WEATHER) if row["site"] == SITE
    )
    if len(hourly_c) != HOURS_PER_YEAR:
        raise ReplayMissing(
            f"{folder / WEATHER}: {len(hourly_c)} hours of {SITE}, {HOURS_PER_YEAR} are needed"
        )
    arrival_s = np.array([float(row["arrival_s"]) for row in _rows(folder / REQUESTS)])
    if arrival_s.size == 0 or arrival_s[-1] < 2 * MINUTE_S:
        raise ReplayMissing(f"{folder / REQUESTS}: less than two minutes of requests")
    count = np.histogram(arrival_s, np.arange(0.0, arrival_s[-1], MINUTE_S))[0]
    return Replay(hourly_c, tuple((count / count.mean()).tolist()))


def _rows(path: Path) -> Iterator[dict[str, str]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as packed:
            yield from csv.DictReader(packed)
    except (OSError, EOFError) as error:
        raise ReplayMissing(f"cannot read {path}: {error}") from error
