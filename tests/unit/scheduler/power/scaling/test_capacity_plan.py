"""What a service will take by the hour of the week."""

import pytest

from support.core.services import GPU
from wattline_protocol.site.model import Tariff
from wattline_scheduler.power.scaling.capacity_plan import Replica, hours_of_week, plan, unknown
from wattline_scheduler.power.scaling.load_history import WEEK_HOURS, HourLoad
from wattline_scheduler.power.scaling.scaler import START_ABOVE

REPLICA = Replica(per_s=100.0, alone_s=0.08, gpu=GPU, gpus=4)
P95_S = 1.0
MONDAY = 96 + 2_800 * WEEK_HOURS
"""An hour that begins a week."""


def load(busiest: float, mean: float) -> HourLoad:
    return HourLoad(busiest, mean * 3_600.0, 3_600.0)


def test_hours_are_those_of_the_newest_weeks_and_the_one_in_progress_is_none() -> None:
    hours = {
        MONDAY: load(5.0, 1.0),
        MONDAY + WEEK_HOURS: load(3.0, 2.0),
        MONDAY + WEEK_HOURS + 30: load(7.0, 7.0),
        MONDAY + 2 * WEEK_HOURS: load(99.0, 99.0),
    }
    now = MONDAY + 2 * WEEK_HOURS
    assert hours_of_week(hours, 1, now) == {0: load(3.0, 2.0), 30: load(7.0, 7.0)}
    both = hours_of_week(hours, 2, now)
    assert (both[0].busiest, both[0].work / both[0].seconds) == (5.0, 1.5)
    assert hours_of_week({}, 5, now) == {}


def test_replicas_are_those_of_the_busiest_minute_and_energy_that_of_the_mean() -> None:
    found = plan({0: load(200.0, 50.0), 1: load(10.0, 10.0)}, REPLICA, P95_S, 1.0, Tariff(0.2, 2.0))
    first, second = found.hours
    room = START_ABOVE - 0.1  # a request alone needs a tenth of the performance
    assert (first.replicas, second.replicas) == (4, 1)
    assert 3 < 200.0 / (100.0 * room) < 4
    assert first.watts == pytest.approx(16 * GPU.cap_mw(200.0 / 400.0 + 0.1) / 1_000)
    assert first.kwh == pytest.approx(16 * GPU.cap_mw(50.0 / 400.0 + 0.1) / 1e6)
    assert first.cost_usd == pytest.approx(16 * 2.0 + first.kwh * 0.2)
    assert (found.replicas, found.gpus, found.watts) == (4, 16, first.watts)
    assert found.kwh == pytest.approx(first.kwh + second.kwh)
    assert (found.always_on.replicas, found.always_on.gpu_hours) == (1, 4.0 * WEEK_HOURS)
    assert (found.burst.replicas, found.burst.gpu_hours) == (3, 12.0)


def test_more_load_takes_no_less_and_without_prices_there_is_no_cost() -> None:
    hours = {0: load(200.0, 50.0)}
    one, two = (plan(hours, REPLICA, P95_S, growth, Tariff()) for growth in (1.0, 2.0))
    assert two.replicas >= one.replicas
    assert two.hours[0].busiest_per_s == 400.0
    assert one.cost_usd is None


def test_it_says_what_it_does_not_know() -> None:
    without = unknown({0: load(1.0, 1.0)}, REPLICA, has_tariff=False)
    assert without[0].startswith("167 of the 168 hours")
    assert any("[tariff]" in text for text in without)
    full = unknown(dict.fromkeys(range(WEEK_HOURS), load(1.0, 1.0)), REPLICA, has_tariff=True)
    assert not any("hours of a week" in text or "[tariff]" in text for text in full)
