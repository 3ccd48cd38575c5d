"""What jobs ask for: states, services, populations, the mix that was fitted."""

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from support.strategies.plants import ITERATING, row
from wattline_sim.facility.plant import (
    POPULATIONS,
    Arrival,
    Plant,
    Service,
    State,
    Workload,
    WorkloadError,
    inference_row,
    mixed,
)
from wattline_sim.facility.plant.catalogue import WORKLOADS
from wattline_sim.facility.plant.constants import FITTED, parse_constants
from wattline_sim.facility.plant.spread import (
    IDLE,
    KINDS,
    PERCENTILES,
    mixed_quantiles,
    power_samples,
)

ROOT = Path(__file__).parents[3]
TRACES = os.environ.get("WATTLINE_TRACES", "")


def test_a_gang_swings_in_step_and_two_jobs_do_not() -> None:
    plant = Plant(row(4), 1)
    plant.load(range(16), ITERATING, 1)
    plant.load(range(16, 32), ITERATING, 2)
    demand = []
    for _ in range(300):
        plant.step(0.1)
        demand.append(plant.demand_w.copy())
    series = np.array(demand).T
    assert np.corrcoef(series[0], series[15])[0, 1] > 0.99
    assert abs(np.corrcoef(series[0], series[31])[0, 1]) < 0.9


def test_a_job_is_the_same_wherever_it_runs() -> None:
    seen = []
    for first in (0, 8):
        plant = Plant(row(2), 1)
        plant.step(4.0)
        plant.load(range(first, first + 8), ITERATING, 77)
        levels = []
        for _ in range(400):
            plant.step(0.5)
            levels.append(plant.jobs.level[first])
        seen.append(levels)
    assert seen[0] == seen[1]


def test_a_capped_job_stays_longer_in_its_iterations() -> None:
    plant = Plant(row(2), 1)
    for node in (0, 1):
        plant.load(plant.gpus_of(node), ITERATING, 9)
    plant.set_limit_w(range(8), 350.0)
    plant.step(60.0)
    assert plant.jobs.clock_s[8] == pytest.approx(60.0, abs=0.2)
    assert 20.0 < plant.jobs.clock_s[0] < 55.0


def test_aligned_states_change_in_the_same_instant_for_all_jobs() -> None:
    plant = Plant(row(4), 1)
    for node in range(4):
        plant.load(plant.gpus_of(node), WORKLOADS["pulse"], node)
        plant.step(1.0)
    plant.step(180.0 - plant.now_s - 0.1)
    assert plant.demand_w.max() < 200.0
    plant.step(0.3)
    assert plant.demand_w.min() > 500.0


def test_a_slow_replica_holds_more_sequences_and_queues_requests() -> None:
    service = Service(2.5, 0.3, 0.5, 6.0, ((0.0, 0.05), (8.0, 0.6), (64.0, 0.8)), 0.95)
    replica = Workload("replica", (State("serve", "decode", 0.05, 0.05),), service=service)
    plant = Plant(row(2), 1)
    for node in (0, 1):
        plant.load(plant.gpus_of(node), replica, 4)
    plant.set_limit_w(range(8), 250.0)
    plant.step(600.0)
    sequences = plant.jobs._services.sequences
    assert sequences[0] > 1.2 * sequences[8]
    assert plant.backlog_s[0] > plant.backlog_s[8]


def test_traffic_follows_the_hour() -> None:
    loads = []
    for hour in (3, 15):
        plant = Plant(row(8), 1)
        plant._ticks = hour * 36_000
        for node in range(8):
            plant.load(plant.gpus_of(node), WORKLOADS["serving-row"], node)
        plant.step(120.0)
        taken = []
        for _ in range(60):
            plant.step(1.0)
            taken.append(float(plant.demand_w.mean()))
        loads.append(float(np.mean(taken)))
    assert loads[1] > 1.1 * loads[0]


@pytest.mark.parametrize(
    ("states", "message"),
    [
        ((), "at least one state"),
        ((State("a", "warm", 1.0, 1.0),), "phase 'warm' is not one of"),
        ((State("a", "slack", 1, 1, following=(("b", 1.0),)),), "no state 'b' to follow"),
        ((State("a", "slack", 1, 1), State("b", "slack", 1, 1)), "says no state that follows"),
    ],
)
def test_a_workload_that_contradicts_itself_is_refused(
    states: tuple[State, ...], message: str
) -> None:
    with pytest.raises(WorkloadError, match=message):
        Workload("w", states)


@pytest.mark.parametrize("name", POPULATIONS)
@pytest.mark.parametrize("fleet", [512, 4096])
def test_the_load_offered_per_gpu_does_not_depend_on_the_fleet(name: str, fleet: int) -> None:
    population = POPULATIONS[name](11)
    jobs = population.jobs(fleet, 3600.0)
    at_start = [job for job in jobs if job.at_s == 0.0]
    assert _gpus(at_start) / fleet == pytest.approx(population.offered, abs=0.08)
    high = _gpus([job for job in at_start if job.is_high])
    assert high / _gpus(at_start) == pytest.approx(0.30, abs=0.04)
    assert all(a.at_s <= b.at_s for a, b in pairwise(jobs))
    assert len({job.seed for job in jobs}) == len(jobs)
    assert max(job.gpus for job in jobs) <= fleet / 8


def _gpus(jobs: list[Arrival]) -> int:
    return sum(job.gpus for job in jobs)


def test_arrivals_replace_what_ends() -> None:
    population, hours = mixed(3), 6.0
    jobs = population.jobs(2048, hours * 3600.0)
    busy = [
        sum(j.gpus for j in jobs if j.at_s <= at < j.at_s + j.work_s)
        for at in np.linspace(0.0, hours * 3600.0, 40)
    ]
    assert np.mean(busy) / 2048 == pytest.approx(population.offered, abs=0.06)


def test_a_population_is_a_function_of_its_seed() -> None:
    assert mixed(4).jobs(512, 3600.0) == mixed(4).jobs(512, 3600.0)
    assert mixed(4).jobs(512, 3600.0) != mixed(5).jobs(512, 3600.0)
    assert inference_row(1).jobs(64, 60.0)[0].work_s == float("inf")


def test_gpu_power_of_the_mix_is_as_published_on_a_seed_not_used_to_fit() -> None:
    samples = power_samples((*KINDS, IDLE), seed=23, jobs=32, hours=0.4)
    for mix in FITTED.mix:
        shares = {**mix.shares, IDLE: 1.0 - sum(mix.shares.values())}
        found = mixed_quantiles(samples, shares, PERCENTILES)
        assert np.abs(found / np.array(mix.published_w) - 1.0).max() < 0.10, mix.name
        assert np.abs(mix.error_pct).max() < 10.0


@pytest.mark.skipif(not TRACES, reason="WATTLINE_TRACES names no folder of traces")
def test_the_fit_gives_the_committed_constants_again(tmp_path: Path) -> None:
    out = tmp_path / "constants.toml"
    done = subprocess.run(
        [sys.executable, "-m", "wattline_lab.fit.plant", "--out", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    again = parse_constants(out.read_text(encoding="utf-8"))
    assert (again.requests, again.weather) == (FITTED.requests, FITTED.weather)
    for fresh, kept in zip(again.mix, FITTED.mix, strict=True):
        assert fresh.published_w == kept.published_w
        assert np.allclose(fresh.plant_w, kept.plant_w, rtol=0.01)


def test_without_traces_the_fit_says_what_is_missing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wattline_lab.fit.plant", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "lacks acme-2023-power-temp, llm-requests, weather-tmy" in done.stderr


def test_the_page_shows_the_constants_that_are_loaded() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wattline_lab.fit.plant", "--table"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    page = (ROOT / "docs" / "facility.md").read_text(encoding="utf-8")
    for table in done.stdout.strip().split("\n\n"):
        assert table in page, f"docs/facility.md lacks what `fit.plant --table` prints:\n{table}"
