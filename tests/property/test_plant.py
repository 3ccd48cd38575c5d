"""Whatever is done to the plant: no NaN, no negative watts, limits kept, the same again."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from support.strategies.plants import ITERATING, OVERDRIVEN, STEADY, redundant
from wattline_sim.facility.plant import Plant
from wattline_sim.facility.plant.catalogue import WORKLOADS

GPUS = 32
KINDS = [STEADY, OVERDRIVEN, ITERATING, *WORKLOADS.values()]

gpus = st.integers(0, GPUS - 1)
nodes = st.integers(0, GPUS // 8 - 1)
feeds = st.sampled_from(["main-a", "main-b", "row-a", "row-b"])
actions = st.one_of(
    st.tuples(st.just("limit"), gpus, st.floats(200.0, 700.0)),
    st.tuples(st.just("bmc"), gpus, st.floats(200.0, 700.0)),
    st.tuples(st.just("load"), gpus, st.sampled_from(range(len(KINDS)))),
    st.tuples(st.just("unload"), gpus, st.just(0)),
    st.tuples(st.sampled_from(["freeze", "thaw"]), gpus, st.just(0)),
    st.tuples(st.just("brake"), nodes, st.booleans()),
    st.tuples(st.just("power"), nodes, st.booleans()),
    st.tuples(st.just("reboot"), nodes, st.just(0)),
    st.tuples(st.sampled_from(["lose", "restore"]), feeds, st.just(0)),
    st.tuples(st.just("units"), st.integers(-4, 4), st.just(0)),
    st.tuples(st.just("outside"), st.floats(-30.0, 55.0), st.just(0)),
    st.tuples(st.just("lock"), gpus, st.sampled_from([None, 345, 1200, 1980])),
)
runs = st.lists(st.tuples(actions, st.integers(1, 15)), min_size=1, max_size=25)


def act(plant: Plant, what: str, where: object, how: object) -> None:
    match what, where, how:
        case "limit", int(gpu), float(watts):
            plant.set_limit_w(gpu, watts)
        case "bmc", int(gpu), float(watts):
            plant.set_bmc_limit_w(gpu, watts)
        case "load", int(gpu), int(kind) if _is_free(plant, gpu):
            plant.load(gpu, KINDS[kind], gpu * 31 + kind)
        case "unload", int(gpu), _:
            plant.unload(gpu)
        case "freeze", int(gpu), _:
            plant.freeze(gpu)
        case "thaw", int(gpu), _:
            plant.thaw(gpu)
        case "brake", int(node), bool(on):
            plant.brake(node, on)
        case "power", int(node), bool(on):
            plant.set_power(node, on)
        case "reboot", int(node), _:
            plant.reset_limits(node)
        case "lose", str(feed), _:
            plant.lose_feed(feed)
        case "restore", str(feed), _:
            plant.restore_feed(feed)
        case "units", int(count), _:
            plant.fail_unit("room", count)
        case "outside", float(outside_c), _:
            plant.set_outside_c(outside_c)
        case "lock", int(gpu), int() | None as max_mhz:
            plant.lock_clocks(gpu, max_mhz)


def _is_free(plant: Plant, gpu: int) -> bool:
    return bool(not plant.is_loaded[gpu] and plant.is_powered[gpu // 8])


def readings(plant: Plant) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    return [
        plant.power_now_w,
        plant.power_avg_1s_w,
        plant.limit_w,
        plant.temp_c,
        plant.memory_temp_c,
        plant.energy_j,
        plant.power_throttle_s,
        plant.demand_w,
        plant.performance,
        plant.node_wall_w,
        plant.domain_wall_w,
        plant.damage,
        plant.inlet_c,
        plant.zone_heat_w,
        plant.zone_capacity_w,
        plant.util_pct,
        plant.backlog_s,
    ]


@settings(max_examples=60, deadline=None)
@given(run=runs)
def test_readings_are_finite_and_limits_are_kept_whatever_happens(
    run: list[tuple[tuple[str, object, object], int]],
) -> None:
    plant = Plant(redundant(rating_w=30_000.0), 9)
    for (what, where, how), steps in run:
        act(plant, what, where, how)
        for steady_for in range(steps):
            plant.step(0.1)
            for values in readings(plant):
                assert np.isfinite(values).all()
                assert values.min(initial=0.0) >= 0.0 or values is plant.inlet_c
            assert plant.performance.max() <= 1.0
            assert plant.domain_wall_w[:2].sum() <= plant.node_wall_w.sum() + 1e-6
            if steady_for >= 11:
                assert np.all(plant.power_avg_1s_w <= plant.limit_w + 1e-6)


@settings(max_examples=15, deadline=None)
@given(run=runs, seed=st.integers(0, 2**63))
def test_the_same_calls_give_the_same_plant(
    run: list[tuple[tuple[str, object, object], int]], seed: int
) -> None:
    first, second = Plant(redundant(), seed), Plant(redundant(), seed)
    for plant in (first, second):
        for (what, where, how), steps in run:
            act(plant, what, where, how)
            plant.step(steps * 0.1)
    for one, other in zip(readings(first), readings(second), strict=True):
        assert np.array_equal(one, other)
