"""Bounds that no load moves a service's watts and replicas out of."""

from copy import deepcopy
from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from support.core.services import GPU, Service, load_of
from wattline_scheduler.power.scaling.service_load import Load, added

RATES = st.floats(0.0, 50_000.0)
LOADS = st.none() | st.builds(
    load_of,
    RATES,
    st.dictionaries(st.integers(0, 8), st.floats(0.0, 1e6), max_size=4),
    st.dictionaries(st.floats(0.001, 100.0), st.integers(0, 500), max_size=4),
)
PERIODS = st.lists(st.tuples(LOADS, st.integers(1, 70)), min_size=1, max_size=8)
FEW = settings(max_examples=40, deadline=None)


@FEW
@given(PERIODS, st.integers(1, 4), st.integers(0, 4))
def test_replicas_and_caps_stay_within_their_bounds(
    periods: list[tuple[Load | None, int]], least: int, more: int
) -> None:
    service = Service(least=least, most=least + more, replicas=least)
    for load, seconds in periods:
        for _ in range(seconds):
            before = service.wanted
            wanted = service.second(load)
            assert least <= wanted.replicas <= least + more
            caps = [wanted.cap_mw, *wanted.caps_mw.values()]
            assert all(GPU.cap_min_mw <= cap <= GPU.cap_max_mw for cap in caps)
            if load is None:
                assert wanted.replicas >= before.replicas
                assert (wanted.cap_mw, wanted.caps_mw) == (before.cap_mw, before.caps_mw)


@FEW
@given(PERIODS, RATES, PERIODS)
def test_the_load_of_some_gateways_lowers_neither_watts_nor_replicas(
    periods: list[tuple[Load | None, int]], rate: float, later: list[tuple[Load | None, int]]
) -> None:
    service = Service()
    for load, seconds in periods:
        for _ in range(seconds):
            service.second(load)
    whole = service.second(service.load(rate))
    for load, seconds in later:
        for _ in range(seconds):
            before = service.replicas
            wanted = service.second(None if load is None else replace(load, is_partial=True))
            assert wanted.replicas >= before
            assert wanted.cap_mw >= whole.cap_mw


@FEW
@given(PERIODS, RATES, RATES)
def test_two_gateways_decide_as_one_with_their_sum(
    periods: list[tuple[Load | None, int]], rate: float, other: float
) -> None:
    service = Service()
    for load, seconds in periods:
        for _ in range(seconds):
            service.second(load)
    one, two = load_of(rate, {0: rate}, {0.1: 50}), load_of(other, {1: other}, {0.4: 20})
    times = {0.1: 50, 0.4: 20}
    both = replace(
        load_of(0.0, {0: rate, 1: other}, times),
        requests=one.requests + two.requests,
        arrived=rate + other,
        answered=rate + other,
    )
    assert deepcopy(service).second(added([one, two])) == service.second(both)


@FEW
@given(PERIODS, RATES, st.floats(1.0, 5.0))
def test_more_load_never_gets_fewer_watts(
    periods: list[tuple[Load | None, int]], rate: float, factor: float
) -> None:
    service = Service()
    for load, seconds in periods:
        for _ in range(seconds):
            service.second(load)
    load = load_of(rate, {0: rate}, {0.1: 50})
    more = replace(load, arrived=rate * factor)
    other = deepcopy(service)
    assert other.second(more).cap_mw >= service.second(load).cap_mw


@FEW
@given(PERIODS, st.floats(0.0, 1e12), st.integers(0, 8))
def test_a_rise_lowers_nothing_and_leaves_replicas_and_bounds(
    periods: list[tuple[Load | None, int]], more: float, ready: int
) -> None:
    service = Service()
    for load, seconds in periods:
        for _ in range(seconds):
            service.second(load)
    before, wanted = service.wanted, service.scaler.rise(more, ready)
    assert wanted.replicas == before.replicas
    assert before.cap_mw <= wanted.cap_mw <= GPU.cap_max_mw
    assert wanted.caps_mw.keys() == before.caps_mw.keys()
    assert all(before.caps_mw[one] <= mw <= GPU.cap_max_mw for one, mw in wanted.caps_mw.items())


@settings(max_examples=8, deadline=None)
@given(st.floats(200.0, 1_500.0), st.floats(1.0, 3.0), st.integers(10, 90))
def test_a_load_that_flaps_every_ten_seconds_or_less_often_does_not_flap_replicas(
    rate: float, swing: float, quiet_s: int
) -> None:
    service = Service()
    numbers = []
    for second in range(1_500):
        is_high = second % (10 + quiet_s) < 10
        service.second(service.load(rate * (swing if is_high else 1.0)))
        if second >= 900:
            numbers.append(service.replicas)
    changes = sum(a != b for a, b in pairwise(numbers))
    assert changes <= 2
