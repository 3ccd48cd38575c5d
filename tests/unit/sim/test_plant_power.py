"""Draw of the plant's GPUs and nodes: limits, energy, gangs, reasons."""

import numpy as np
import pytest

from support.strategies.plants import ITERATING, OVERDRIVEN, STEADY, row
from wattline_scheduler.power.demand.models import node_model, node_power
from wattline_sim.facility.plant import Layout, Plant, State, Workload
from wattline_sim.physics import Reason


def loaded(layout: Layout, workload: Workload = OVERDRIVEN, seed: int = 3) -> Plant:
    plant = Plant(layout, seed)
    for node in range(len(layout.nodes)):
        plant.load(plant.gpus_of(node), workload, seed=node)
    return plant


def test_idle_gpus_draw_idle_watts() -> None:
    plant = Plant(row(), 1)
    plant.step(5.0)
    idle_w = plant.layout.gpu_model.idle_w
    assert np.all(np.abs(plant.power_now_w / idle_w - 1.0) <= 0.06)
    assert set(plant.reasons.tolist()) == {int(Reason.IDLE)}


def test_every_one_second_average_keeps_the_limit() -> None:
    plant = loaded(row())
    plant.step(3.0)
    plant.set_limit_w(range(16), 431.0)
    plant.step(1.1)
    for _ in range(200):
        plant.step(0.1)
        assert plant.power_avg_1s_w.max() <= 431.0 + 1e-6


def test_ripple_exceeds_the_limit_below_a_second() -> None:
    plant = loaded(row())
    most_w = 0.0
    for _ in range(600):
        plant.step(0.1)
        most_w = max(most_w, float(plant.power_now_w.max()))
    assert 1.15 * 700.0 < most_w <= 1.25 * 700.0


def test_a_lower_limit_acts_within_a_step() -> None:
    plant = loaded(row())
    plant.step(2.0)
    plant.set_limit_w(range(16), 300.0)
    plant.step(0.2)
    assert plant.power_now_w.max() < 300.0 * 1.25
    assert np.all(plant.limit_w == 300.0)


def test_the_lower_of_driver_and_bmc_limit_is_enforced_and_a_reboot_forgets_the_drivers() -> None:
    plant = Plant(row(1), 1)
    plant.set_limit_w([0, 1], 500.0)
    plant.set_bmc_limit_w([1, 2], 400.0)
    assert plant.limit_w[:4].tolist() == [500.0, 400.0, 400.0, 700.0]
    plant.reset_limits(0)
    assert plant.limit_w[:4].tolist() == [700.0, 400.0, 400.0, 700.0]


def test_a_limit_outside_the_models_range_is_refused() -> None:
    plant = Plant(row(1), 1)
    with pytest.raises(ValueError, match=r"100\.0 W is outside 200 to 700 W"):
        plant.set_limit_w(0, 100.0)


def test_energy_is_power_over_time() -> None:
    plant = loaded(row(), ITERATING)
    before_j, sum_j = plant.energy_j.copy(), np.zeros(16)
    for _ in range(300):
        plant.step(0.1)
        sum_j += plant.power_now_w * 0.1
    assert np.allclose(plant.energy_j - before_j, sum_j, rtol=1e-9)


def test_wall_watts_are_all_parts_over_the_supplies_efficiency() -> None:
    plant = loaded(row())
    plant.step(30.0)
    inside_w = plant.power_now_w.reshape(2, 8).sum(axis=1) + plant.hosts.other_w
    efficiency = inside_w / plant.node_wall_w
    assert np.all((efficiency > 0.9) & (efficiency < 0.97))
    assert plant.domain_wall_w[0] == pytest.approx(plant.node_wall_w.sum())
    assert plant.zone_heat_w[0] == pytest.approx(plant.node_wall_w.sum())


@pytest.mark.parametrize("gpu", ["h100", "b200", "a40", "v100"])
@pytest.mark.parametrize("level", [0.3, 0.5, 0.7, 0.9])
def test_a_settled_node_draws_what_the_fitted_model_says(gpu: str, level: float) -> None:
    plant = Plant(row(1, gpu=gpu), 1)
    steady = Workload("steady", (State("work", "training_hot", level, level),))
    plant.load(range(8), steady, 1)
    plant.step(120.0)
    fit = node_model(plant.layout.gpu_model.display_name)
    expected_w = float(node_power(fit, plant.power_avg_1s_w.sum()))
    assert plant.node_wall_avg_1s_w[0] == pytest.approx(expected_w, rel=0.025)


def test_cards_differ() -> None:
    plant = loaded(row(16), STEADY)
    plant.step(1.0)
    spread = plant.demand_w.max() / plant.demand_w.min() - 1.0
    assert 0.05 < spread < 0.17


def test_a_synchronous_gang_goes_at_the_pace_of_its_slowest_gpu() -> None:
    plant = loaded(row())
    plant.set_limit_w(3, 350.0)
    plant.step(2.0)
    assert len(set(plant.performance[:8].tolist())) == 1
    assert 0.3 < plant.performance[0] < 0.8
    assert plant.performance[8] == 1.0


def test_reasons_and_throttle_time_tell_who_is_capped() -> None:
    plant = loaded(row())
    plant.set_limit_w(range(8), 400.0)
    plant.step(10.0)
    assert plant.reasons[0] & Reason.POWER_CAP
    assert plant.power_throttle_s[0] == pytest.approx(10.0, abs=0.2)


def test_frozen_gpus_idle_and_stand_still_until_thawed() -> None:
    plant = loaded(row())
    plant.step(5.0)
    plant.freeze(range(8))
    plant.step(1.0)
    assert plant.power_now_w[:8].max() < 100.0
    assert plant.performance[:8].max() == 0.0
    clock_s = plant.jobs.clock_s[0]
    plant.step(5.0)
    assert plant.jobs.clock_s[0] == clock_s
    plant.thaw(range(8))
    plant.step(1.0)
    assert plant.power_now_w[:8].min() > 500.0


def test_a_busy_gpu_is_refused_and_an_ended_process_frees_its_gpus_only() -> None:
    plant = loaded(row())
    with pytest.raises(ValueError, match=r"\[8\] already run"):
        plant.load([8], STEADY, 1)
    plant.unload([8, 9])
    assert not plant.is_loaded[8:10].any()
    assert plant.is_loaded[10:].all()
    plant.load([8], STEADY, 1)
    plant.step(10.0)
    assert plant.power_avg_1s_w[8] < 0.95 * plant.power_avg_1s_w[10]


def test_tasks_of_one_gang_on_two_nodes_share_their_clock_and_their_slowest_gpu() -> None:
    plant = Plant(row(3), 1)
    plant.load(plant.gpus_of(0), ITERATING, 4, gang="job 1")
    plant.step(1.3)
    plant.load(plant.gpus_of(1), ITERATING, 4, gang="job 1")
    plant.load(plant.gpus_of(2), ITERATING, 4)
    plant.set_limit_w(0, 300.0)
    plant.step(30.0)
    assert plant.performance[15] == plant.performance[0] < 0.9
    assert plant.performance[23] == 1.0
    plant.freeze(plant.gpus_of(0))
    plant.step(0.1)
    assert plant.performance[8:16].max() == 0.0
    plant.unload(plant.gpus_of([0, 1]))
    plant.load(plant.gpus_of(0), ITERATING, 4, gang="job 1")
    plant.step(0.2)
    assert plant.jobs.clock_s[plant.jobs.row_of[0]] < 0.3


def test_the_brake_and_a_clock_lock_cut_the_draw() -> None:
    plant = loaded(row())
    plant.step(1.0)
    plant.brake(0, on=True)
    plant.lock_clocks(plant.gpus_of(1), 1200)
    plant.step(1.0)
    assert plant.power_avg_1s_w[:8].max() < 400.0
    assert plant.reasons[0] & Reason.POWER_BRAKE
    assert plant.power_avg_1s_w[8:].max() < 500.0
    assert plant.reasons[8] & Reason.LOCKED_CLOCKS
    plant.brake(0, on=False)
    plant.lock_clocks(plant.gpus_of(1), None)
    plant.step(2.0)
    assert plant.power_avg_1s_w.min() > 600.0


def test_overshoot_bursts_stay_twenty_percent_above_the_limit() -> None:
    plant = loaded(row())
    plant.set_overshoot(0.20)
    plant.set_limit_w(range(16), 500.0)
    plant.step(3.0)
    assert plant.power_avg_1s_w.max() == pytest.approx(510.0, abs=8.0)
    assert plant.power_avg_1s_w.max() <= 500.0 * 1.04


def test_steps_are_whole_sub_steps() -> None:
    plant = Plant(row(1), 1)
    with pytest.raises(ValueError, match="not a whole number"):
        plant.step(0.25)
