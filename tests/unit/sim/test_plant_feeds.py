"""Feeds of the plant: redundant inputs, breakers, darkness."""

import numpy as np
import pytest

from support.strategies.plants import OVERDRIVEN, redundant, row
from wattline_sim.facility.plant import Feed, Layout, LayoutError, NodePlace, Plant
from wattline_sim.facility.plant.breakers import (
    TRIP_TABLES,
    Breakers,
    UnknownLevelError,
    trip_time_s,
)


@pytest.mark.parametrize("level", TRIP_TABLES)
def test_a_constant_overload_trips_at_the_time_in_the_table(level: str) -> None:
    for ratio, trip_s in TRIP_TABLES[level]:
        breakers = Breakers([level], np.array([1000.0]))
        step_s = trip_s / 500
        steps = 0
        while not breakers.step(np.array([1000.0 * ratio]), step_s):
            steps += 1
        assert (steps + 1) * step_s == pytest.approx(trip_s, rel=0.02)


def test_times_fall_strictly_with_the_overload_and_are_infinite_at_the_rating() -> None:
    ratios = np.linspace(1.001, 3.0, 500)
    for level in TRIP_TABLES:
        assert np.all(np.diff(trip_time_s(level, ratios)) < 0.0)
        assert np.isinf(trip_time_s(level, np.array([0.5, 1.0]))).all()


def test_damage_adds_up_over_overloads_and_decays_between() -> None:
    breakers = Breakers(["rack"], np.array([100.0]))
    breakers.step(np.array([140.0]), 30.0)
    assert breakers.damage[0] == pytest.approx(0.5)
    breakers.step(np.array([50.0]), 600.0)
    assert breakers.damage[0] == pytest.approx(0.5 / np.e)
    assert not breakers.step(np.array([140.0]), 30.0)
    assert breakers.step(np.array([140.0]), 30.0)


def test_a_level_without_a_table_is_refused_by_name() -> None:
    with pytest.raises(UnknownLevelError, match="known: rack, row, msb, ups"):
        Breakers(["rock"], np.array([1.0]))


def test_a_lost_feed_moves_its_load_to_the_survivor_within_a_step() -> None:
    plant = Plant(redundant(), 1)
    plant.load(range(32), OVERDRIVEN, 1)
    plant.step(20.0)
    before_w = plant.domain_wall_w.copy()
    assert before_w[0] == pytest.approx(before_w[1])
    plant.lose_feed("main-a")
    plant.step(0.1)
    assert plant.domain_wall_w[[0, 2]].tolist() == [0.0, 0.0]
    assert plant.domain_wall_w[1] == pytest.approx(plant.node_wall_w.sum())
    assert plant.domain_wall_w[1] == pytest.approx(2.0 * before_w[1], rel=0.08)
    plant.restore_feed("main-a")
    plant.step(0.1)
    assert plant.domain_wall_w[0] == pytest.approx(plant.domain_wall_w[1])


def test_a_tripped_breaker_leaves_single_fed_nodes_dark_and_forgets_their_work() -> None:
    plant = Plant(row(2, rating_w=7_000.0), 1)
    plant.load(range(16), OVERDRIVEN, 1)
    plant.set_limit_w(range(16), 600.0)
    plant.step(60.0)
    assert plant.tripped.tolist() == [True]
    assert plant.node_wall_w.tolist() == [0.0, 0.0]
    assert not plant.is_loaded.any()
    assert plant.power_now_w.max() == 0.0
    plant.restore_feed("row")
    plant.step(1.0)
    assert np.all(plant.limit_w == 700.0)
    assert plant.node_wall_w.min() > 1000.0


def test_losing_both_inputs_is_darkness_and_work_cannot_start_there() -> None:
    plant = Plant(redundant(), 1)
    plant.lose_feed("row-a")
    plant.lose_feed("main-b")
    plant.step(0.1)
    assert not plant.is_powered.any()
    with pytest.raises(ValueError, match="have no power"):
        plant.load([0], OVERDRIVEN, 1)


def test_a_node_switched_off_draws_nothing() -> None:
    plant = Plant(redundant(), 1)
    plant.set_power([1, 2], on=False)
    plant.step(0.1)
    assert (plant.node_wall_w > 0.0).tolist() == [True, False, False, True]


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (lambda: Layout((NodePlace(("x",)),), (Feed("a", 1.0),)), "inputs must be one or two"),
        (lambda: Layout((), (Feed("b", 1.0, parent="a"), Feed("a", 1.0))), "must come before"),
        (lambda: Layout((), (Feed("a", 1.0), Feed("a", 1.0))), "unique"),
        (lambda: Layout((NodePlace(("a",), "z"),), (Feed("a", 1.0),)), "zone 'z'"),
    ],
)
def test_a_layout_that_cannot_stand_is_refused(layout: object, message: str) -> None:
    assert callable(layout)
    with pytest.raises(LayoutError, match=message):
        layout()
