"""Watts inside a gang: its sum and the bounds hold; the slowest rank is as fast as it can be."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wattline_scheduler.power.allocation.gang_balance import (
    LEAST_WEIGHT,
    MOST_WEIGHT,
    GangGpus,
    balance,
    weights_for,
)
from wattline_scheduler.power.topology.matrix import Floats

FLOOR, TOP = 100_000.0, 700_000.0


@st.composite
def gangs(draw: st.DrawFn) -> GangGpus:
    count = draw(st.integers(1, 12))

    def column(low: float, high: float) -> Floats:
        values = st.lists(st.floats(low, high), min_size=count, max_size=count)
        return np.array(draw(values))

    least, most = np.sort([column(FLOOR, TOP), column(FLOOR, TOP)], axis=0)
    has = least + column(0.0, 1.0) * (most - least)
    return GangGpus(
        busy_s=column(0.0, 1e8) + 1e-6,
        has_mw=has,
        least_mw=least,
        most_mw=most,
        demand_mw=most * column(1.0, 1.5),
        bend=column(0.3, 1.5),
        order=column(1.0, 5.0),
        steepness=column(0.25, 4.0),
        cost=column(0.5, 1.2),
    )


@given(gangs())
def test_the_sum_and_the_bounds_hold_and_no_rank_ends_slower_than_the_slowest(
    gang: GangGpus,
) -> None:
    new = balance(gang)
    before, after = (gang.cost * gang.has_mw).sum(), (gang.cost * new.wanted_mw).sum()
    assert abs(after - before) <= 1e-6 * before
    assert (new.wanted_mw >= gang.least_mw - 1e-3).all()
    assert (new.wanted_mw <= gang.most_mw + 1e-3).all()
    assert new.slowest_s <= gang.busy_s.max() * (1 + 1e-9)


@given(gangs())
def test_a_balanced_gang_gains_nothing_by_another_shift(gang: GangGpus) -> None:
    new = balance(gang)
    now = GangGpus(
        busy_s=gang.busy_s * _performance(gang, gang.has_mw) / _performance(gang, new.wanted_mw),
        has_mw=new.wanted_mw,
        least_mw=gang.least_mw,
        most_mw=gang.most_mw,
        demand_mw=gang.demand_mw,
        bend=gang.bend,
        order=gang.order,
        steepness=gang.steepness,
        cost=gang.cost,
    )
    assert balance(now).slowest_s >= new.slowest_s * (1 - 1e-4)


@given(st.lists(st.floats(FLOOR, TOP), min_size=1, max_size=8), st.floats(0.3, 1.0))
def test_equal_ranks_keep_equal_watts(targets: list[float], level: float) -> None:
    target_mw = np.array(targets)
    assert (weights_for(level * target_mw, target_mw, level) == 1000).all()
    some = weights_for(np.array([1.0, 1e9]), np.array([TOP, TOP]), level)
    assert some.tolist() == [LEAST_WEIGHT, MOST_WEIGHT]


def _performance(gang: GangGpus, cap_mw: Floats) -> Floats:
    x = np.minimum(cap_mw / gang.demand_mw, 1.0) ** gang.order
    b = gang.bend**gang.order
    return np.asarray((x * (1 + b) / (x + b)) ** gang.steepness)
