"""Conversions between GPU watts and wall watts: inverse to each other, always on the safe side."""

from hypothesis import given
from hypothesis import strategies as st

from wattline_protocol.site.wall_power import (
    cap_within_mw,
    ceil_div,
    gpu_bound_mw,
    load_within_mw,
    wall_mw,
)

POWER = st.integers(0, 10**13)
OVERSHOOT = st.integers(1000, 1500)
EFFICIENCY = st.integers(500, 1000)


@given(numerator=POWER, denominator=st.integers(1, 10**6))
def test_division_rounds_up(numerator: int, denominator: int) -> None:
    quotient = ceil_div(numerator, denominator)
    assert (quotient - 1) * denominator < numerator <= quotient * denominator


@given(bound_mw=POWER, overshoot=OVERSHOOT)
def test_a_cap_within_a_bound_keeps_it_and_is_the_largest(bound_mw: int, overshoot: int) -> None:
    cap_mw = cap_within_mw(bound_mw, overshoot)
    assert gpu_bound_mw(cap_mw, overshoot) <= bound_mw < gpu_bound_mw(cap_mw + 1, overshoot)


@given(cap_mw=POWER, overshoot=OVERSHOOT)
def test_the_bound_of_a_cap_allows_that_cap(cap_mw: int, overshoot: int) -> None:
    assert cap_within_mw(gpu_bound_mw(cap_mw, overshoot), overshoot) >= cap_mw


@given(lease_mw=POWER, efficiency=EFFICIENCY)
def test_a_load_within_a_lease_keeps_it_and_is_the_largest(lease_mw: int, efficiency: int) -> None:
    load_mw = load_within_mw(lease_mw, efficiency)
    assert wall_mw(load_mw, efficiency) <= lease_mw < wall_mw(load_mw + 1, efficiency)


@given(load_mw=POWER, efficiency=EFFICIENCY)
def test_the_wall_is_never_below_the_load_and_allows_it(load_mw: int, efficiency: int) -> None:
    wall = wall_mw(load_mw, efficiency)
    assert wall >= load_mw
    assert load_within_mw(wall, efficiency) >= load_mw


@given(one=POWER, other=POWER, efficiency=EFFICIENCY, overshoot=OVERSHOOT)
def test_more_watts_are_never_counted_as_less(
    one: int, other: int, efficiency: int, overshoot: int
) -> None:
    low, high = sorted((one, other))
    assert wall_mw(low, efficiency) <= wall_mw(high, efficiency)
    assert gpu_bound_mw(low, overshoot) <= gpu_bound_mw(high, overshoot)
