"""A service on the plant: every request is answered, and nothing draws more than the feed has."""

import numpy as np
import pytest

from wattline_protocol.site.wall_power import wall_mw
from wattline_sim.facility.building import Building, Shape, build
from wattline_sim.facility.plant.catalogue import PREFILL_S_PER_TOKEN
from wattline_sim.service.feed import MW_PER_W, Feed
from wattline_sim.service.fixed import Fixed
from wattline_sim.service.requests import Requests
from wattline_sim.service.run import Run, Scaling, begun
from wattline_sim.service.stage import GRACE_S, LOAD_S, SLOT_GPUS, STEP_S, Bounds
from wattline_sim.service.step import DOUBLE_S, seconds_to_more
from wattline_sim.service.wattline import Wattline

NODES, BOUNDS = 4, Bounds(2, 4)
CAPACITY = SLOT_GPUS / PREFILL_S_PER_TOKEN
TOKENS = 1_000.0


@pytest.fixture(scope="module")
def building() -> Building:
    return build(Shape(nodes=NODES, feed_nodes=NODES / 1.5))


def wattline(building: Building) -> Wattline:
    return Wattline(Feed(building), building.layout.gpu_model, BOUNDS, 1.5)


def steady(per_s: float, seconds: float) -> Requests:
    arrival_s = 10.0 + np.arange(0.0, seconds, 1.0 / per_s)
    return Requests(arrival_s, np.full(len(arrival_s), TOKENS), np.full(len(arrival_s), 50.0))


def play(run: Run, seconds: float) -> None:
    for _ in range(round(seconds / STEP_S)):
        run.step()


def test_a_lone_request_takes_prefill_then_decode(building: Building) -> None:
    requests = steady(0.01, 50.0)
    run = begun(building, requests, 1, wattline(building), 2)
    play(run, 30.0)
    replicas = run.stage.replicas
    assert replicas.first_s[0] - 10.0 == pytest.approx(TOKENS / CAPACITY, rel=0.05)
    assert replicas.last_s[0] - replicas.first_s[0] == pytest.approx(50 * 0.03, rel=0.05)


@pytest.mark.parametrize("kind", ["wattline", "fixed"])
def test_every_request_is_answered_in_order_whatever_is_scaled(
    building: Building, kind: str
) -> None:
    requests = steady(12.0, 300.0)
    ways: dict[str, Scaling] = {
        "wattline": wattline(building),
        "fixed": Fixed(Feed(building), BOUNDS, CAPACITY / 2),
    }
    run = begun(building, requests, 1, ways[kind], 2)
    play(run, 600.0)
    first_s, last_s = np.array(run.stage.replicas.first_s), np.array(run.stage.replicas.last_s)
    assert np.all(first_s > requests.arrival_s)
    assert np.all((last_s > first_s) & np.isfinite(last_s))
    assert run.stage.replicas.tokens == pytest.approx(len(first_s) * (TOKENS + 50.0), rel=0.02)


def test_the_same_seed_gives_the_same_digits(building: Building) -> None:
    runs = [begun(building, steady(12.0, 100.0), 1, wattline(building), 2) for _ in range(2)]
    for run in runs:
        play(run, 120.0)
    one, other = (run.stage for run in runs)
    assert one.replicas.last_s == other.replicas.last_s
    assert (one.service_j, one.training_gpu_s) == (other.service_j, other.training_gpu_s)


def test_caps_fit_the_feed_at_every_step(building: Building) -> None:
    run = begun(building, steady(14.0, 200.0), 1, wattline(building), 2)
    node = building.site.nodes[0]
    feed = next(domain for domain in building.site.domains if domain.id == building.top)
    usable_mw = feed.budget_mw - feed.transient_margin_mw - feed.foreign_reserve_mw
    for _ in range(round(200.0 / STEP_S)):
        run.step()
        gpus_mw = run.stage.plant.cards.limit_w.reshape(NODES, -1).sum(axis=1) * MW_PER_W
        leases_mw = [
            wall_mw(node.non_gpu_worst_mw + round(mw), node.psu_efficiency_permille)
            for mw in gpus_mw
        ]
        assert sum(leases_mw) <= usable_mw
        assert not run.is_over_feed


def test_a_replica_loads_before_it_serves_and_is_drained_before_it_goes(
    building: Building,
) -> None:
    run = begun(building, steady(8.0, 400.0), 1, wattline(building), 2)
    stage = run.stage
    play(run, 10.0)
    training_gpus = stage.plant.jobs.is_loaded.sum() - len(stage.service_gpus)
    stage.set_replicas(3)
    play(run, GRACE_S + LOAD_S - 5.0)
    assert len(stage.replicas.ready(stage.now_s)) == 2
    play(run, 10.0)
    assert len(stage.replicas.ready(stage.now_s)) == 3
    play(run, 5.0)
    leaving = max(stage.replicas.all, key=lambda one: one.outstanding)
    assert leaving.outstanding > 0
    leaving.is_draining = True
    stage.step()
    assert leaving in stage.replicas.all
    play(run, 60.0)
    assert leaving not in stage.replicas.all
    assert stage.plant.jobs.is_loaded.sum() - len(stage.service_gpus) == training_gpus


def test_a_doubled_load_does_more_within_two_seconds_and_gets_watts(building: Building) -> None:
    lengths = steady(5.0, 60.0)
    rate = 0.3 * BOUNDS.most * CAPACITY
    step = seconds_to_more(building, lengths, wattline(building), rate, 2, 1)
    assert step.tokens_s <= 2.0
    assert step.ability_s < DOUBLE_S
