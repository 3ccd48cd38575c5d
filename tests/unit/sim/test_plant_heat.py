"""Heat in the plant: dies, throttling, rooms, cooling units, weather."""

import numpy as np
import pytest

from support.strategies.plants import OVERDRIVEN, STEADY, row
from wattline_sim.facility.plant import Feed, Layout, NodePlace, Plant, Weather, Zone, weather_of
from wattline_sim.facility.plant.constants import FITTED
from wattline_sim.physics import Reason


def tight(nodes: int = 4, units: int = 4, margin: float = 1.1) -> Layout:
    """A room whose cooling is `margin` times what its nodes give off at full draw."""
    full_w = 8_300.0
    return Layout(
        nodes=(NodePlace(("feed",), "room"),) * nodes,
        feeds=(Feed("feed", 1e6),),
        zones=(Zone("room", units, margin * nodes * full_w / units),),
    )


def busy(layout: Layout) -> Plant:
    plant = Plant(layout, 5)
    for node in range(len(layout.nodes)):
        plant.load(plant.gpus_of(node), OVERDRIVEN, node)
    return plant


def test_dies_warm_steadily_to_power_times_resistance_above_the_inlet() -> None:
    plant = Plant(row(1), 2)
    plant.load(range(8), STEADY, 1)
    warm = []
    for _ in range(300):
        plant.step(1.0)
        warm.append(plant.temp_c.copy())
    assert np.all(np.diff(np.array(warm)[1:60], axis=0) > -0.05)
    rise_c = plant.power_avg_1s_w * plant.cards.rth_c_per_w
    air_c = plant.temp_c - rise_c
    assert np.allclose(air_c[:4], plant.inlet_c[0], atol=2.0)
    assert np.allclose(air_c[4:], plant.inlet_c[0] + 0.007 * 680.0, atol=2.0)


def test_a_hotter_inlet_makes_every_die_hotter() -> None:
    temps = []
    for supply_c in (18.0, 24.0, 30.0):
        layout = Layout(
            (NodePlace(("feed",), "room"),),
            (Feed("feed", 1e6),),
            (Zone("room", 1, 2e4, supply_c=supply_c),),
        )
        plant = Plant(layout, 2)
        plant.load(range(8), STEADY, 1)
        plant.step(200.0)
        temps.append(plant.temp_c.copy())
    assert np.all(np.diff(np.array(temps), axis=0) > 5.0)


def test_a_room_within_its_capacity_keeps_its_supply() -> None:
    plant = busy(tight())
    plant.step(400.0)
    assert plant.zone_heat_w[0] < plant.zone_capacity_w[0]
    assert plant.zones.air_c[0] == pytest.approx(22.0, abs=0.5)
    assert plant.hw_throttle_events == 0


def test_losing_units_warms_the_room_to_throttling_and_restoring_them_cools_it() -> None:
    plant = busy(tight())
    plant.step(300.0)
    plant.fail_unit("room", 3)
    plant.step(60.0)
    assert 0.5 < plant.zones.air_c[0] - 22.0 < 3.5
    plant.step(600.0)
    assert plant.sw_throttle_events > 0
    assert np.any(plant.reasons & int(Reason.SW_THERMAL))
    assert plant.performance.min() < 1.0
    plant.restore_unit("room", 3)
    plant.step(1500.0)
    assert plant.zones.air_c[0] == pytest.approx(22.0, abs=0.5)


def test_software_slowdown_comes_before_hardware_slowdown() -> None:
    plant = busy(tight(margin=0.4))
    order = []
    for _ in range(900):
        plant.step(1.0)
        if plant.sw_throttle_events and "software" not in order:
            order.append("software")
        if plant.hw_throttle_events and "hardware" not in order:
            order.append("hardware")
    assert order[0] == "software"


def test_heat_outside_derates_the_units() -> None:
    plant = busy(tight())
    plant.set_outside_c(25.0)
    plant.step(1.0)
    cool_w = float(plant.zone_capacity_w[0])
    plant.set_outside_c(45.0)
    plant.step(1.0)
    assert plant.zone_capacity_w[0] == pytest.approx(0.85 * cool_w, rel=1e-6)


def test_units_never_exceed_those_that_are_there() -> None:
    plant = busy(tight())
    plant.restore_unit("room", 9)
    assert plant.zones.units_in_service[0] == 4.0
    plant.fail_unit("room", 9)
    assert plant.zones.units_in_service[0] == 0.0


def test_the_fitted_weather_is_as_hot_as_its_record_says() -> None:
    for fit in FITTED.weather:
        weather = weather_of(fit.name)
        hours = 8760 if fit.name == "phoenix" else 24
        series = np.array([weather.outside_c(3600.0 * hour) for hour in range(hours)])
        assert series.max() == pytest.approx(fit.max_c, abs=fit.max_error_c)
    heat = weather_of("phoenix-heatwave")
    assert max(heat.outside_c(1800.0 * half) for half in range(48)) > 44.0


def test_a_replayed_series_is_linear_between_hours_and_repeats() -> None:
    weather = Weather(start_hour=1.0, hourly_c=(10.0, 20.0, 30.0))
    assert weather.outside_c(0.0) == 20.0
    assert weather.outside_c(1800.0) == 25.0
    assert weather.outside_c(5400.0) == 20.0
    assert Weather(flat_c=7.0).outside_c(1e6) == 7.0
