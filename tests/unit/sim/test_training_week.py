"""A week of training: what is lost, what is saved, and what the watts do."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattline_sim.facility.building import Building, Shape, build
from wattline_sim.training.compare import caps_at_best
from wattline_sim.training.feed import Caps, Feed
from wattline_sim.training.gang import Gang
from wattline_sim.training.kinds import FINETUNING, GPU, LIGHT, PRETRAINING, Kind, pace
from wattline_sim.training.run import FIXED_EVERY_S, Policy, Run, Side
from wattline_sim.training.week import HIGH, Fault, Limit, Preemption, Week, week

HOUR_S = 3_600.0
FIXED = Policy("fixed", has_interval=False, has_forecast=False, freezes=False)
BUILDING = build(Shape(nodes=16, feed_nodes=16 * 0.85))
QUIET = replace(week(seed=1, days=1.0), limits=(), faults=(), preemptions=())
TWO_HOURS = replace(QUIET, lasts_s=2 * HOUR_S)


def finished(one: Week, policy: Policy, building: Building = BUILDING) -> Side:
    return Run(one, building, policy).finish()


@given(st.sampled_from((PRETRAINING, FINETUNING, LIGHT)), st.integers(200, 699))
def test_a_lower_cap_is_slower_and_draws_less(kind: Kind, cap_w: int) -> None:
    lower, higher = pace(kind, cap_w), pace(kind, cap_w + 1)
    assert 0 < lower.rate <= higher.rate <= 1
    assert GPU.idle_w < lower.watts <= higher.watts + 1e-9 <= GPU.limit_max_w + 1e-6
    assert lower.watts <= cap_w + 1e-9


@pytest.mark.parametrize("seed", [1, 2])
def test_a_seed_is_a_week_whatever_runs_in_it(seed: int) -> None:
    one = week(seed, 7.0)
    assert one == week(seed, 7.0) != week(seed + 1, 7.0)
    assert [limit.is_announced for limit in one.limits].count(False) == 1
    assert len(one.limits) == 6
    assert week(seed, 3.0).limits == tuple(x for x in one.limits if x.begin_s < 3 * 24 * HOUR_S)
    assert all(a.at_s <= b.at_s for a, b in pairwise(one.faults))
    high = {job.number for job in one.jobs if job.priority == HIGH}
    assert not high & {preemption.job for preemption in one.preemptions}


def test_a_fault_costs_the_work_since_the_newest_published_save() -> None:
    """The gang of node 0 saves at its start, and every half hour of its run time."""
    begun_s = TWO_HOURS.jobs[0].begun_s
    first_s = FIXED_EVERY_S - begun_s % FIXED_EVERY_S
    save_s = PRETRAINING.save_s(4)
    after_s = first_s + save_s + 600.0
    fault = replace(TWO_HOURS, faults=(Fault(after_s, 0),))
    calm, hit = finished(TWO_HOURS, FIXED), finished(fault, FIXED)
    cap_w = Feed(BUILDING, "fixed", 0.0).fixed_mw // 1_000
    redone_s = (after_s - first_s - PRETRAINING.copy_s(4)) * pace(PRETRAINING, cap_w).rate
    redone_hours = redone_s * 4 * 8 / HOUR_S
    done_hours = hit.useful_gpu_hours / (1 - hit.recomputed_pct / 100)
    assert done_hours - hit.useful_gpu_hours == pytest.approx(redone_hours, rel=0.01)
    assert calm.recomputed_pct == 0
    assert hit.restarts == 1
    assert hit.kwh < calm.kwh


SHED = Limit(HOUR_S, 1.5 * HOUR_S, 0.5, is_announced=True)
LOSS = replace(SHED, is_announced=False)


@pytest.mark.parametrize("limit", [SHED, LOSS], ids=["shed", "loss"])
def test_a_lower_budget_pauses_what_does_not_fit_and_no_work_is_lost(limit: Limit) -> None:
    one = replace(TWO_HOURS, limits=(limit,))
    ours, fixed = finished(one, Policy()), finished(one, FIXED)
    assert 0 < ours.pauses < fixed.pauses
    assert (ours.recomputed_pct, ours.restarts) == (0, 0)
    assert fixed.recomputed_pct > 0
    assert fixed.restarts == fixed.pauses
    stopped = finished(one, Policy(freezes=False))
    unwarned = finished(one, Policy(freezes=False, has_forecast=False))
    if limit.is_announced:
        assert stopped.recomputed_pct < 0.2 * unwarned.recomputed_pct
    else:
        assert stopped == unwarned


def test_a_preempted_gang_saves_if_it_knows() -> None:
    one = replace(TWO_HOURS, preemptions=(Preemption(HOUR_S, 3, 0.5 * HOUR_S),))
    assert finished(one, Policy()).recomputed_pct == 0
    assert finished(one, Policy(has_forecast=False)).recomputed_pct > 0


@pytest.mark.parametrize("caps", ["goal", "throughput", "fixed"])
def test_leases_fit_the_budget_at_every_division(
    caps: Caps, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = (
        replace(SHED, leaves=0.55),
        Limit(1.2 * HOUR_S, 1.8 * HOUR_S, 0.7, is_announced=False),
    )
    divisions = 0
    divide = Feed.divide

    def checked(feed: Feed, gangs: list[Gang], now_s: float) -> list[Gang]:
        nonlocal divisions
        chosen = divide(feed, gangs, now_s)
        lease_mw = feed._fleet.newest.lease_mw if feed._fleet.newest else ()
        if not chosen:
            divisions += 1
            assert sum(lease_mw) <= feed.grantable_mw(now_s)
        return chosen

    monkeypatch.setattr(Feed, "divide", checked)
    finished(replace(TWO_HOURS, limits=limits), replace(Policy(), caps=caps))
    assert divisions >= 4


def test_the_goal_gives_more_steps_for_a_kwh_and_fewer_an_hour() -> None:
    goal, throughput = finished(TWO_HOURS, Policy()), finished(TWO_HOURS, Policy("throughput"))
    bounded = finished(TWO_HOURS, Policy(min_performance=0.9))
    per_kwh = [side.steps_per_kwh for side in (goal, bounded, throughput)]
    assert per_kwh == sorted(per_kwh, reverse=True)
    hours = [side.useful_gpu_hours for side in (goal, bounded, throughput)]
    assert hours == sorted(hours)
    cap_w = Feed(BUILDING, "fixed", 0.0).fixed_mw // 1_000
    assert 1.0 < goal.steps_per_kwh / throughput.steps_per_kwh < caps_at_best(cap_w) * 1.02
