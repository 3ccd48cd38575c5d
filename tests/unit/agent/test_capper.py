"""The arithmetic of I2: what GPUs count, and caps that keep a lease."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattline_agent.core.power.capper import (
    GpuHold,
    NodeTerms,
    floor_caps,
    holding_mw,
    lowest_mw,
    overshoot_of,
    plan,
)
from wattline_protocol.ids import GpuIndex
from wattline_protocol.site.wall_power import wall_mw

W = 1000
TERMS = NodeTerms(non_gpu_worst_mw=500 * W, psu_efficiency_permille=900)


def hold(index: int = 0, use: str = "task", **changes: object) -> GpuHold:
    """A GPU of 200 to 700 W."""
    fields = {
        "index": GpuIndex(index),
        "cap_min_mw": 200 * W,
        "cap_max_mw": 700 * W,
        "overshoot_permille": 1000,
        "idle_mw": 80 * W,
        "can_cap": True,
        "use": use,
        "limit_mw": 700 * W,
        **changes,
    }
    return GpuHold(**fields)  # type: ignore[arg-type]  # built by name for brevity


def lease_for(gpus_mw: int) -> int:
    """The least lease that covers so much GPU draw."""
    return wall_mw(gpus_mw + TERMS.non_gpu_worst_mw, TERMS.psu_efficiency_permille)


@pytest.mark.parametrize(
    ("gpu", "counts_mw"),
    [
        (hold(limit_mw=400 * W), 400 * W),
        (hold(limit_mw=400 * W, overshoot_permille=1100), 440 * W),
        (hold(use="settling", limit_mw=200 * W), 200 * W),
        (hold(use="idle", limit_mw=700 * W), 80 * W),
        (hold(limit_mw=300 * W, can_cap=False), 700 * W),
        (hold(limit_mw=300 * W, can_cap=False, overshoot_permille=1100), 770 * W),
        (hold(use="idle", can_cap=False), 80 * W),
        (hold(use="idle", can_cap=False, may_idle=False), 700 * W),
    ],
)
def test_what_a_gpu_counts(gpu: GpuHold, counts_mw: int) -> None:
    assert holding_mw(TERMS, [gpu]) == lease_for(counts_mw)


def test_wanted_caps_are_used_where_they_fit() -> None:
    gpus = [hold(0), hold(1)]
    made = plan(TERMS, gpus, lease_for(1000 * W), (600 * W, 400 * W))
    assert made.caps_mw == (600 * W, 400 * W)
    assert made.fits


def test_what_does_not_fit_is_scaled_down_by_one_level() -> None:
    gpus = [hold(0), hold(1), hold(2)]
    made = plan(TERMS, gpus, lease_for(1000 * W), (700 * W, 700 * W, 250 * W))
    assert made.caps_mw == (375 * W, 375 * W, 250 * W)
    assert made.fits


def test_a_gpu_without_a_task_gets_its_minimum_cap() -> None:
    made = plan(TERMS, [hold(0, "idle"), hold(1, "settling")], lease_for(2000 * W), (700 * W,) * 2)
    assert made.caps_mw == (200 * W, 200 * W)


def test_nothing_goes_below_the_minimum_and_the_plan_says_that_it_does_not_fit() -> None:
    made = plan(TERMS, [hold(0), hold(1)], lease_for(399 * W), (700 * W,) * 2)
    assert made.caps_mw == (200 * W, 200 * W)
    assert not made.fits
    assert made.holding_mw == lowest_mw(TERMS, [hold(0), hold(1)]) == lease_for(400 * W)


def test_what_cannot_be_capped_takes_its_room_first() -> None:
    gpus = [hold(0, can_cap=False), hold(1)]
    made = plan(TERMS, gpus, lease_for(1000 * W), (700 * W,) * 2)
    assert made.caps_mw[1] == 300 * W
    assert floor_caps(gpus) == (700 * W, 200 * W)


def test_caps_are_whole_watts_rounded_down() -> None:
    assert plan(TERMS, [hold()], lease_for(700 * W), (333_999,)).caps_mw == (333_000,)


def test_a_missing_wanted_cap_means_as_much_as_fits() -> None:
    assert plan(TERMS, [hold()], lease_for(500 * W), ()).caps_mw == (500 * W,)


def test_overshoot_is_rounded_up_to_whole_percents() -> None:
    assert overshoot_of(401 * W, 400 * W) == 1010
    assert overshoot_of(440 * W, 400 * W) == 1100


holds = st.builds(
    hold,
    index=st.just(0),
    use=st.sampled_from(["task", "settling", "idle"]),
    overshoot_permille=st.integers(1000, 1200),
    can_cap=st.booleans(),
    limit_mw=st.integers(200 * W, 700 * W),
    may_idle=st.booleans(),
)


@given(
    gpus=st.lists(holds, max_size=8),
    lease_mw=st.integers(0, 8_000 * W),
    wanted=st.lists(st.integers(0, 900 * W), max_size=8),
)
def test_a_plan_keeps_the_lease_or_is_the_lowest_there_is(
    gpus: list[GpuHold], lease_mw: int, wanted: list[int]
) -> None:
    made = plan(TERMS, gpus, lease_mw, wanted)
    caps = list(zip(gpus, made.caps_mw, strict=True))
    held = [
        hold(
            use=g.use,
            overshoot_permille=g.overshoot_permille,
            can_cap=g.can_cap,
            limit_mw=cap,
            may_idle=g.may_idle,
        )
        for g, cap in caps
    ]
    assert holding_mw(TERMS, held) == made.holding_mw
    assert made.fits == (made.holding_mw <= lease_mw)
    assert all(g.cap_min_mw <= cap <= g.cap_max_mw for g, cap in caps)
    if not made.fits:
        assert made.caps_mw == floor_caps(gpus)
        assert made.holding_mw == lowest_mw(TERMS, gpus)


@given(
    gpus=st.lists(holds, min_size=1, max_size=8),
    lease_mw=st.integers(0, 8_000 * W),
    more_mw=st.integers(0, 1_000 * W),
)
def test_a_larger_lease_lowers_no_cap(gpus: list[GpuHold], lease_mw: int, more_mw: int) -> None:
    wanted = (700 * W,) * len(gpus)
    small = plan(TERMS, gpus, lease_mw, wanted).caps_mw
    large = plan(TERMS, gpus, lease_mw + more_mw, wanted).caps_mw
    assert all(a <= b for a, b in zip(small, large, strict=True))
