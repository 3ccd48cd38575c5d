"""What a GPU would draw uncapped: measured, learned, assumed; and what is remembered."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.core.sites import gpu
from wattline_protocol.ids import GpuIndex, Instant, NodeId, UnixTime
from wattline_protocol.wire.agent_messages import GpuSample
from wattline_scheduler.power.demand import demand_store
from wattline_scheduler.power.demand.demand import Demand
from wattline_scheduler.power.demand.demand_store import Memory
from wattline_scheduler.power.demand.draw_distribution import Draw, bin_width_mw, fresh_draw
from wattline_scheduler.records import DemandRecord

NODE = NodeId("n1")
W = 1000
H100 = gpu(0)
TOP_MW = 700 * W


class Gpu:
    """One GPU with a task, sampled once a second."""

    def __init__(self, saved: tuple[DemandRecord, ...] = (), kind: str = "job") -> None:
        self.demand = Demand(1.0, saved)
        self.at = 0.0
        self.demand.begin(NODE, H100, kind, "ada job", self.now)

    @property
    def now(self) -> Instant:
        return Instant(self.at)

    def draws(self, *watts: float, cap_w: int = 700, bound: bool = False) -> None:
        for w in watts:
            self.at += 1.0
            ms = 1000 if bound else 0
            mw = round(w * W)
            sample = GpuSample(GpuIndex(0), mw, cap_w * W, cap_bound_ms=ms)
            self.demand.observe(NODE, H100, sample, self.now)

    def is_bound(self, cap_w: int, seconds: int = 1) -> None:
        self.draws(*[cap_w] * seconds, cap_w=cap_w, bound=True)

    def wants_w(self, hint_w: int = 0, *, protected: bool = False) -> float:
        hint_mw = hint_w * W
        return self.demand.of(NODE, H100, hint_mw, self.now, is_protected=protected) / W

    def ends(self) -> DemandRecord:
        record = self.demand.forget(NODE, GpuIndex(0), UnixTime(self.at))
        assert record is not None
        return record


def test_nothing_known_is_the_maximum_or_what_the_user_said() -> None:
    assert Gpu().wants_w() == 700
    assert Gpu().wants_w(450) == 450


def test_measured_with_a_margin_after_a_whole_window() -> None:
    g = Gpu()
    g.draws(*[300] * 5)
    assert g.wants_w() == 700
    g.draws(*[300] * 10)
    assert g.wants_w() == pytest.approx(330)


def test_no_margin_above_what_the_job_has_never_drawn() -> None:
    g = Gpu()
    g.draws(*[600] * 200)
    assert 600 <= g.wants_w() <= 600 + 2.1 * bin_width_mw(TOP_MW) / W


def test_swings_inside_an_iteration_are_not_spare_watts() -> None:
    g = Gpu()
    for _ in range(20):
        g.draws(600, 600, 600, 150, 150)
        assert g.wants_w() >= 600


def test_a_gap_of_many_seconds_frees_watts_within_the_window() -> None:
    g = Gpu()
    g.draws(*[600] * 60)
    g.draws(*[100] * 6)
    assert g.wants_w() >= 600
    g.draws(*[100] * 8)
    assert g.wants_w() == 200  # the minimum cap


def test_protected_work_lends_its_watts_in_a_gap_and_has_its_high_quantile_under_a_cap() -> None:
    g = Gpu()
    g.draws(*[600] * 60)
    g.draws(*[100] * 30)
    assert g.wants_w(protected=True) == 200
    g.is_bound(200)
    assert g.wants_w(protected=True) == pytest.approx(600, rel=0.03)


def test_where_the_cap_binds_what_is_known_of_the_job_counts() -> None:
    g = Gpu()
    g.draws(*[600] * 60)
    g.draws(*[100] * 20)
    g.is_bound(220)
    assert g.wants_w() == pytest.approx(600, rel=0.03)


def test_where_the_cap_binds_and_little_is_known_the_user_or_the_maximum_counts() -> None:
    g = Gpu()
    g.is_bound(300, 20)
    assert g.wants_w(500) == 500
    assert g.wants_w() == 700


def test_a_job_that_wants_more_than_it_is_known_for_climbs_in_steps() -> None:
    g = Gpu()
    g.draws(*[300] * 60)
    cap_w, seconds = 310.0, 0
    while cap_w < 700:
        g.is_bound(round(cap_w))
        assert g.wants_w() <= cap_w * 1.11
        cap_w, seconds = g.wants_w(), seconds + 1
    assert seconds <= 10


def test_once_a_cap_lets_go_what_is_drawn_counts_at_once() -> None:
    g = Gpu()
    g.draws(*[150.0] * 60)
    g.is_bound(200, 3)
    assert g.wants_w() == 220
    assert g.demand.is_bound(NODE, GpuIndex(0), g.now)
    g.draws(480)
    assert g.wants_w() == 480
    g.draws(*[480.0] * 5)
    assert not g.demand.is_bound(NODE, GpuIndex(0), g.now)
    assert g.wants_w() >= 480


def test_protected_work_climbs_faster() -> None:
    g = Gpu()
    g.draws(*[200] * 60)
    g.is_bound(240)
    assert g.wants_w(protected=True) == pytest.approx(1.25 * 240)


def test_samples_under_a_cap_do_not_make_the_job_look_light() -> None:
    g = Gpu()
    for _ in range(50):  # heavy phases are capped, light ones are not
        g.is_bound(300)
        g.is_bound(300)
        g.draws(150)
    assert g.wants_w() == 700


def test_a_job_that_is_capped_for_long_is_still_known() -> None:
    g = Gpu()
    g.draws(*[600] * 60)
    g.is_bound(300, 1_000)
    assert g.wants_w() == pytest.approx(600, rel=0.03)


def test_draw_that_swings_inside_a_second_needs_a_cap_above_its_average() -> None:
    """It averages 400 W and swings up to 560 W: any cap below that costs it something."""
    g = Gpu()
    g.draws(*[400] * 60)
    for _ in range(120):
        cap_w = round(g.wants_w(protected=True))
        g.at += 1.0
        ms = 0 if cap_w >= 560 else 200
        sample = GpuSample(GpuIndex(0), 400 * W, cap_w * W, cap_bound_ms=ms)
        g.demand.observe(NODE, H100, sample, g.now)
    assert 560 <= g.wants_w(protected=True) <= 600
    assert g.wants_w() < 450, "others are not slowed for it"
    assert Gpu((g.ends(),)).wants_w(protected=True) == pytest.approx(580, abs=30)


def test_at_its_maximum_cap_a_gpu_shows_all_that_it_ever_draws() -> None:
    g = Gpu()
    g.draws(*[700] * 60, cap_w=700, bound=True)
    assert g.demand.memory.hold("job", "", H100, g.now).draw.is_known
    assert g.wants_w() == 700


def test_after_a_rest_the_job_is_taken_for_what_it_usually_draws() -> None:
    g = Gpu()
    g.draws(*[600] * 60)
    g.demand.rest(NODE, GpuIndex(0), g.now)
    assert g.wants_w() == pytest.approx(600, rel=0.03)


def test_a_second_run_starts_from_what_the_first_showed() -> None:
    first = Gpu()
    first.draws(*[420] * 300)
    record = first.ends()
    assert (record.samples, record.beyond) == (300, 0)
    assert record.mean_mw == 420 * W
    assert record.p95_mw <= record.p99_mw <= 435 * W
    assert Gpu((record,)).wants_w() == pytest.approx(420, rel=0.03)
    assert Gpu((record,)).wants_w(650) == pytest.approx(420, rel=0.03)  # measured beats said
    assert Gpu((record,), kind="another").wants_w() == 700


def test_the_largest_rise_from_one_beat_to_the_next_is_kept() -> None:
    g = Gpu()
    g.draws(100, 130, 500, 480, 700)
    assert g.ends().ramp_mw == 370 * W


def test_a_sample_without_power_says_nothing() -> None:
    g = Gpu()
    g.draws(*[300] * 20)
    before_w = g.wants_w()
    g.demand.observe(NODE, H100, GpuSample(GpuIndex(0), None, None), g.now)
    assert g.wants_w() == before_w


def test_silence_for_long_leaves_nothing_recent() -> None:
    g = Gpu()
    g.draws(*[600] * 60)
    g.at += 100
    g.draws(100)
    assert g.wants_w() == 200


@given(st.integers(0, 2**32), st.integers(100, 3_000))
def test_quantiles_are_those_of_the_samples_at_work(seed: int, count: int) -> None:
    rng = random.Random(seed)
    draw = fresh_draw(TOP_MW, 80 * W)
    samples = [rng.choice((60 * W, rng.randrange(100 * W, 700 * W))) for _ in range(count)]
    for mw in samples:
        draw.add(mw)
    draw.refresh()
    busy = [mw for mw in samples if mw // draw.width_mw >= draw.busy_from]
    assert draw.is_known == (len(busy) >= 30)
    if draw.is_known:
        exact = np.quantile(busy, (0.95, 0.99), method="inverted_cdf")
        assert [draw.p95_mw, draw.p99_mw] == pytest.approx(exact, abs=draw.width_mw)


def test_old_samples_fade() -> None:
    draw = fresh_draw(TOP_MW, 80 * W)
    feed(draw, 600, 20_000)
    assert draw.samples <= demand_draw_limit()
    feed(draw, 300, 60_000)
    assert draw.p99_mw == pytest.approx(300 * W, rel=0.05)
    assert draw.mean_mw == pytest.approx(300 * W, rel=0.05)


def demand_draw_limit() -> int:
    return 8_192 + 1_024


def feed(draw: Draw, watts: int, count: int) -> None:
    for _ in range(count):
        draw.add(watts * W)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=200))
def test_memory_is_bounded_and_slots_are_not_shared(kinds: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demand_store, "MAX_LEARNED", 4)
        memory = Memory(())
        disk: dict[int, DemandRecord] = {}
        for at, kind in enumerate(kinds):
            learned = memory.hold(f"kind {kind}", "label", H100, Instant(float(at)))
            feed(learned.draw, 400, 40)
            record = memory.release(learned, UnixTime(float(at)))
            assert record is not None
            disk[record.slot] = record
        assert len(disk) <= 4
        newest = list(dict.fromkeys(reversed(kinds)))[:4]
        assert {r.fingerprint for r in disk.values()} == {f"kind {kind}" for kind in newest}
        again = Memory(tuple(disk.values()))
        last = again.hold(f"kind {kinds[-1]}", "label", H100, Instant(0.0))
        assert last.draw.is_known


def test_more_kinds_at_once_than_slots_are_not_put_on_record() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demand_store, "MAX_LEARNED", 2)
        memory = Memory(())
        held = [memory.hold(f"kind {n}", "label", H100, Instant(0.0)) for n in range(3)]
        for learned in held:
            feed(learned.draw, 400, 40)
        records = [memory.release(learned, UnixTime(1.0)) for learned in held]
        assert [record is not None for record in records] == [True, True, False]


def test_what_runs_for_long_goes_on_record_from_time_to_time() -> None:
    memory = Memory(())
    learned = memory.hold("kind", "label", H100, Instant(0.0))
    feed(learned.draw, 400, 40)
    assert memory.due(Instant(299.0), UnixTime(1.0)) == []
    assert [r.samples for r in memory.due(Instant(300.0), UnixTime(1.0))] == [40]
    assert memory.due(Instant(600.0), UnixTime(1.0)) == []  # nothing new
    feed(learned.draw, 400, 1)
    assert [r.samples for r in memory.due(Instant(900.0), UnixTime(1.0))] == [41]


def test_a_kind_of_job_is_known_by_the_gpu_model_on_which_it_draws_most() -> None:
    memory = Memory(())
    for model, watts in (("A", 300), ("B", 420)):
        learned = memory.hold(f"kind/{model}", "label", H100, Instant(0.0))
        feed(learned.draw, watts, 100)
        learned.draw.refresh()
    assert memory.known_mw("kind") == pytest.approx(425 * W, rel=0.03)
    assert memory.known_mw("another kind") == 0


def test_what_is_on_record_is_known_before_the_job_runs_again() -> None:
    memory = Memory(())
    learned = memory.hold("kind/A", "label", H100, Instant(0.0))
    feed(learned.draw, 300, 100)
    record = memory.release(learned, UnixTime(1.0))
    assert record is not None
    assert Memory((record,)).known_mw("kind") == memory.known_mw("kind") > 0
