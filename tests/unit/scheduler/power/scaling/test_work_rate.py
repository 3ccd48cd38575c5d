"""What is learned of a service that answers by the law, at whatever caps."""

import pytest

from wattline_protocol.ids import Instant
from wattline_scheduler.power.scaling.work_rate import BEYOND_SEEN, KNOWN_WINDOWS, WorkRate

CAPACITY, ALONE_S = 1_000.0, 0.2


def learned(loads: list[float], performance: float = 1.0) -> WorkRate:
    rate = WorkRate()
    for at, x in enumerate(loads):
        time_s = ALONE_S / (performance * (1.0 - x / CAPACITY))
        rate.learn(x, time_s, performance, Instant(30.0 * at))
    return rate


@pytest.mark.parametrize("performance", [1.0, 0.5])
def test_both_constants_follow_from_times_at_several_loads(performance: float) -> None:
    rate = learned([850.0, 900.0, 600.0, 700.0, 880.0, 500.0, 910.0], performance)
    capacity, alone_s = rate.constants
    assert rate.is_known
    assert capacity == pytest.approx(CAPACITY, rel=0.02)
    assert alone_s == pytest.approx(ALONE_S, rel=0.05)


def test_capacity_counts_as_little_more_than_was_seen() -> None:
    capacity, _ = learned([100.0, 150.0, 200.0] * 3).constants
    assert capacity == pytest.approx(200.0 * BEYOND_SEEN, rel=0.03)


def test_a_load_that_never_changes_leaves_the_assumed_capacity() -> None:
    capacity, alone_s = learned([400.0] * 10).constants
    assert capacity == pytest.approx(500.0, rel=0.01)
    assert 0.0 < alone_s < ALONE_S / (1 - 0.4)


def test_few_windows_are_not_enough() -> None:
    assert not learned([400.0] * (KNOWN_WINDOWS - 1)).is_known
