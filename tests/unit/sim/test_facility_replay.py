"""Real series from a folder of traces, and what is said when they are not there."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from support.strategies.plants import row
from wattline_sim.facility.plant import Plant, Weather, weather_of
from wattline_sim.facility.plant.catalogue import WORKLOADS
from wattline_sim.facility.replay import REQUESTS, WEATHER, ReplayMissing, read_replay


def folder(root: Path, hours: int = 8760, minutes: int = 3) -> Path:
    for name in (WEATHER, REQUESTS):
        (root / name).parent.mkdir(exist_ok=True)
    weather = [f"AZ_Phoenix,{hour / 100}" for hour in range(hours)] + ["VA_Leesburg,1.0"]
    (root / WEATHER).write_bytes(gzip.compress("\n".join(["site,dry_bulb_c", *weather]).encode()))
    arrivals = [60.0 * m + s for m in range(minutes) for s in range(10 * (m + 1))]
    lines = ["arrival_s", *map(str, [*arrivals, 60.0 * minutes + 1.0])]
    (root / REQUESTS).write_bytes(gzip.compress("\n".join(lines).encode()))
    return root


def test_weather_and_rates_are_what_was_recorded(tmp_path: Path) -> None:
    replay = read_replay(folder(tmp_path))
    assert np.allclose(replay.request_rates, [0.5, 1.0, 1.5])
    heat = weather_of("phoenix-heatwave")
    real = replay.weather(heat)
    assert real.outside_c(1800.0) == pytest.approx((heat.start_hour + 0.5) / 100)
    assert replay.weather(Weather(flat_c=9.0)).outside_c(0.0) == 9.0


def test_services_follow_the_recorded_rates() -> None:
    demand = []
    for rate in (0.2, 2.0):
        plant = Plant(row(4), 1)
        plant.replay_requests([rate])
        for node in range(4):
            plant.load(plant.gpus_of(node), WORKLOADS["serving"], node)
        plant.step(120.0)
        demand.append(plant.power_avg_1s_w.mean())
    assert demand[1] > 1.3 * demand[0]


def test_what_is_missing_or_too_short_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReplayMissing, match=r"cannot read .*weather-tmy"):
        read_replay(tmp_path)
    with pytest.raises(ReplayMissing, match="24 hours of AZ_Phoenix, 8760 are needed"):
        read_replay(folder(tmp_path, hours=24))
    with pytest.raises(ReplayMissing, match="less than two minutes"):
        read_replay(folder(tmp_path, minutes=1))
    (tmp_path / WEATHER).write_bytes(b"no gzip")
    with pytest.raises(ReplayMissing, match="cannot read"):
        read_replay(tmp_path)
