"""Loads of several gateways, and quantiles of their times."""

import pytest

from support.core.services import load_of
from wattline_protocol.wire.rollouts import BUCKETS_S
from wattline_scheduler.power.scaling.service_load import added, quantile_s


def test_gateways_add_up() -> None:
    one, other = load_of(10, {0: 1.0, 1: 2.0}, {0.1: 3}), load_of(5, {1: 4.0}, {0.1: 1, 2.0: 1})
    both = added([one, other])
    assert both is not None
    assert (both.requests, both.arrived, both.waiting) == (15, 15, {0: 1.0, 1: 6.0})
    assert both.total_waiting == 7.0
    assert sum(both.times) == 5


def test_a_silent_gateway_makes_the_load_unknown() -> None:
    assert added([load_of(10, {}, {}), None]) is None
    assert added([]) is None


def test_a_quantile_lies_in_the_bucket_of_its_answer() -> None:
    times = load_of(0, {}, {0.1: 95, 3.0: 5}).times
    below, above = (max(b for b in BUCKETS_S if b < 0.1), min(b for b in BUCKETS_S if b >= 0.1))
    assert quantile_s(times, 0.95) == pytest.approx(above)
    assert below < quantile_s(times, 0.5) < above
    assert quantile_s(times, 0.96) > 2.0
    assert quantile_s([0] * len(times), 0.95) == 0.0
