"""The facility simulator: small fleets, short scenarios; no trip, no broken rule, same by seed."""

import pytest

from wattline_sim.facility.judging.report import FacilityReport
from wattline_sim.facility.names import POLICY_NAMES, SCENARIO_NAMES
from wattline_sim.facility.run import Size
from wattline_sim.facility.scenarios import SCENARIOS
from wattline_sim.facility.simulate import POLICIES, Ask, simulate

NODES, HOURS = 4, 0.07
PROMISED = [
    "gpus",
    "budget_kw",
    "throughput",
    "throughput_vs_static",
    "slowdown",
    "seconds_over_budget",
    "max_overshoot_pct",
    "trips",
    "hw_throttle_events",
    "max_gpu_temp_c",
    "stranded_pct",
    "shed_to_enforced_s",
    "preempted",
    "violations",
]


def ran(scenario: str, policy: str = "wattline", seed: int = 7) -> FacilityReport:
    ask = Ask(scenario, policy, NODES, Size(HOURS, seed))
    return simulate(ask, lambda _: None, versus_static=False)


@pytest.mark.parametrize("scenario", ["mixed", "burst", "shed-25", "lossy", "gpu-overshoot"])
def test_the_product_keeps_every_breaker_and_every_rule(scenario: str) -> None:
    report = ran(scenario)
    assert report.violations == ()
    assert report.trips == 0
    assert report.seconds_over_budget == 0.0
    assert report.simulated
    assert report.throughput > 0.0


def test_a_lowered_budget_is_enforced_within_a_second() -> None:
    report = ran("shed-25")
    assert report.shed_to_enforced_s
    assert report.shed_to_enforced_s["p99"] <= 1.0


def test_the_report_has_the_promised_keys() -> None:
    assert set(PROMISED) <= set(FacilityReport.__struct_fields__)


def test_the_same_seed_gives_the_same_run_and_another_does_not() -> None:
    first, again, other = ran("mixed"), ran("mixed"), ran("mixed", seed=8)
    assert (first.throughput, first.slowdown) == (again.throughput, again.slowdown)
    assert first.throughput != other.throughput


def test_static_leaves_nodes_off_and_is_what_others_are_compared_with() -> None:
    asked = Ask("all-hot", "static", NODES, Size(HOURS, 7))
    report = simulate(asked, lambda _: None)
    assert report.gpus < NODES * 8
    assert report.throughput_vs_static == 1.0


def test_every_name_of_the_command_line_can_be_run() -> None:
    assert tuple(SCENARIOS) == SCENARIO_NAMES
    assert tuple(POLICIES) == POLICY_NAMES
