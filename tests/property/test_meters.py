"""A meter that is honest, lies, freezes, vanishes or spikes, over virtual time (hypothesis)."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import example, given, settings
from hypothesis import strategies as st

from wattline_protocol.ids import Instant
from wattline_protocol.site.sensing import CommandSource, Meter, Sensor
from wattline_scheduler.power.sensing.meters import (
    REJECTED_FOR_ALARM,
    WINDOW_S,
    MeterNow,
    ModelledLoad,
    Trust,
)

RATING_MW = 40_000_000
FIXED_MW = 300_000
PERIOD_S = 5
BASE_MW = 2_000_000
"""Of the nodes, without GPUs."""

RULES = Meter(Sensor(CommandSource(("watts",)), period_s=float(PERIOD_S)))

Says = Callable[[int, int, int], int | None]
"""(second, what really flows, number of the reading) → what the meter says."""


@dataclass
class Bench:
    """A domain whose GPUs draw a random walk, and its meter."""

    meter: MeterNow = field(
        default_factory=lambda: MeterNow(RULES, RATING_MW, FIXED_MW, Instant(0.0))
    )
    second: int = 0
    trusts: list[Trust] = field(default_factory=list)
    held_mw: list[int] = field(default_factory=list)
    drawn_mw: list[int] = field(default_factory=list)

    def run(self, gpus_mw: list[int], says: Says, unbooked_mw: int = 0) -> None:
        """Each entry of `gpus_mw` lasts 10 s."""
        readings = 0
        for gpu_mw in gpus_mw:
            for _ in range(10):
                drawn_mw = BASE_MW + gpu_mw
                at = Instant(float(self.second))
                self.meter.note(ModelledLoad(drawn_mw, gpu_mw, drawn_mw), at)
                if self.second % PERIOD_S == 0:
                    flows_mw = drawn_mw + FIXED_MW + unbooked_mw
                    self.meter.take(says(self.second, flows_mw, readings), "gone", at)
                    readings += 1
                self.second += 1
                self.trusts.append(self.meter.trust)
                self.held_mw.append(self.meter.held_mw)
                self.drawn_mw.append(drawn_mw)


LOADS = st.lists(st.integers(8_000_000, 26_000_000), min_size=30, max_size=60)
NOISES = st.lists(st.integers(-10, 10), min_size=12, max_size=12)
"""Permille, by number of the reading."""


def honest(noise: list[int]) -> Says:
    return lambda _, flows_mw, n: flows_mw * (1000 + noise[n % len(noise)]) // 1000


@settings(deadline=None, max_examples=40)
@given(loads=LOADS, noise=NOISES)
def test_an_honest_meter_costs_nothing_and_is_never_doubted(
    loads: list[int], noise: list[int]
) -> None:
    bench = Bench()
    bench.run(loads, honest(noise))
    assert set(bench.trusts) <= {"unread", "ok"}
    assert set(bench.held_mw) == {0}
    assert 970 <= bench.meter.factor_permille <= 1030


@settings(deadline=None, max_examples=40)
@given(loads=LOADS, noise=NOISES)
def test_a_meter_that_says_half_is_found_and_raises_nothing(
    loads: list[int], noise: list[int]
) -> None:
    bench = Bench()
    true = honest(noise)
    # The load must stand still for once: while it moves, half of it may be what it was before.
    stands = [loads[0]] * math.ceil((PERIOD_S * (REJECTED_FOR_ALARM + 1) + WINDOW_S) / 10)
    bench.run([*loads, *stands], lambda s, flows_mw, n: (true(s, flows_mw, n) or 0) // 2)
    assert bench.trusts[-1] == "implausible"
    assert set(bench.held_mw) == {0}


@settings(deadline=None, max_examples=40)
@given(loads=LOADS, noise=NOISES, times=st.sampled_from([1100, 1250, 1500]))
def test_what_a_meter_says_too_much_is_kept_free(
    loads: list[int], noise: list[int], times: int
) -> None:
    bench = Bench()
    true = honest(noise)
    bench.run(loads, lambda s, flows_mw, n: (true(s, flows_mw, n) or 0) * times // 1000)
    drawn_mw = bench.drawn_mw[-1]
    # What it would say now is covered, whatever is true; half a window of change is not counted.
    says_mw = (drawn_mw + FIXED_MW) * times // 1000 - FIXED_MW
    moved_mw = max(bench.drawn_mw[-20:]) - min(bench.drawn_mw[-20:])
    kept_mw = bench.meter.extra_mw(drawn_mw)
    assert drawn_mw + kept_mw >= says_mw - moved_mw - says_mw * 20 // 1000
    assert bench.meter.factor_permille > 1050
    assert kept_mw <= RATING_MW


@settings(deadline=None, max_examples=40)
@given(loads=LOADS, noise=NOISES, period_s=st.sampled_from([1, 2, PERIOD_S]))
def test_a_fleet_whose_beats_come_late_is_no_stranger(
    loads: list[int], noise: list[int], period_s: int
) -> None:
    """The meter sees a step at once, the nodes tell it up to two seconds later."""
    meter = MeterNow(RULES, RATING_MW, FIXED_MW, Instant(0.0))
    flows = [BASE_MW + gpu_mw for gpu_mw in loads for _ in range(10)]
    for second, flows_mw in enumerate(flows):
        told_mw = flows[max(second - 2, 0)]
        meter.note(ModelledLoad(told_mw, told_mw - BASE_MW, told_mw), Instant(float(second)))
        if second % period_s == 0:
            wall_mw = honest(noise)(second, flows_mw + FIXED_MW, second)
            meter.take(wall_mw, "gone", Instant(second + 0.5))
        assert meter.held_mw == 0


@settings(deadline=None, max_examples=40)
@given(loads=LOADS, noise=NOISES, extra_kw=st.integers(2, 9))
def test_a_load_that_nobody_booked_is_kept_free_and_no_factor(
    loads: list[int], noise: list[int], extra_kw: int
) -> None:
    bench = Bench()
    bench.run(loads, honest(noise), unbooked_mw=extra_kw * 1_000_000)
    # Once the nodes stand still, all of it is seen; at full commitment not much more is kept.
    bench.run([loads[-1]] * 4, honest(noise), unbooked_mw=extra_kw * 1_000_000)
    assert bench.meter.held_mw >= extra_kw * 1_000_000 * 95 // 100 - 400_000
    assert bench.meter.extra_mw(30_000_000) <= extra_kw * 1_300_000 + 2_500_000


@example(loads=[8_000_000] * 6 + [20_000_000] + [8_000_000] * 23, noise=[0] * 12, freezes_at=60)
@settings(deadline=None, max_examples=40)
@given(loads=LOADS, noise=NOISES, freezes_at=st.integers(60, 120))
def test_a_frozen_meter_is_found_and_what_it_showed_is_void(
    loads: list[int], noise: list[int], freezes_at: int
) -> None:
    bench = Bench()
    true = honest(noise)
    stuck: list[int] = []

    def says(second: int, flows_mw: int, n: int) -> int | None:
        if second < freezes_at:
            return true(second, flows_mw, n)
        if not stuck:
            stuck.append(flows_mw)
        return stuck[0]

    bench.run([*loads, *loads, 8_000_000, 26_000_000], says)
    assert bench.trusts[-1] in ("frozen", "implausible")
    assert bench.meter.held_mw == 0
    # The first of these may be what it froze at: only a value that changes shows that it is awake.
    bench.run([20_000_000, 21_000_000] * 2, honest(noise))
    assert bench.meter.trust == "ok"


@settings(deadline=None, max_examples=20)
@given(loads=LOADS, noise=NOISES)
def test_a_vanished_meter_is_stale_in_time_and_comes_back(
    loads: list[int], noise: list[int]
) -> None:
    bench = Bench()
    bench.run(loads, honest(noise))
    gone_at = bench.second
    bench.run([10_000_000] * 4, lambda *_: None)
    stale_at = gone_at + bench.trusts[gone_at:].index("stale")
    assert stale_at - gone_at <= RULES.stale_after_s + PERIOD_S
    bench.run([10_000_000] * 2, honest(noise))
    assert bench.meter.trust == "ok"


@settings(deadline=None, max_examples=40)
@given(
    noise=NOISES,
    spikes=st.sets(st.integers(3, 50)).map(lambda s: {n for n in s if n - 1 not in s}),
    spike_mw=st.integers(12_000_000, 60_000_000),
)
def test_a_spike_of_one_reading_changes_nothing(
    noise: list[int], spikes: set[int], spike_mw: int
) -> None:
    bench = Bench()
    true = honest(noise)
    bench.run(
        [20_000_000] * 30,
        lambda s, flows_mw, n: (true(s, flows_mw, n) or 0) + (spike_mw if n in spikes else 0),
    )
    assert set(bench.held_mw) == {0}
    assert set(bench.trusts) <= {"unread", "ok"}


@given(st.lists(st.none() | st.integers(-(2**62), 2**62), max_size=40))
def test_no_reading_whatever_breaks_it_or_holds_more_than_could_flow(
    readings: list[int | None],
) -> None:
    bench = Bench()
    bench.run([15_000_000] * 20, lambda _s, _f, n: readings[n] if n < len(readings) else None)
    assert 0 <= bench.meter.held_mw <= 2 * RATING_MW
    assert bench.meter.extra_mw(30_000_000) >= 0
