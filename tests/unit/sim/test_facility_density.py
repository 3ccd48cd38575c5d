"""Limits of a fleet, without running one."""

from types import SimpleNamespace
from typing import cast

import pytest

from wattline_sim.facility.density import why_refused
from wattline_sim.facility.report import FacilityReport

FINE = {"high": {"p50": 0.0, "p99": 0.049}, "low": {"p50": 0.049, "p99": 0.49}}


def run(slowdown: dict[str, dict[str, float]], trips: int = 0, broken: int = 0) -> FacilityReport:
    """Of a report, what is looked at."""
    seen = SimpleNamespace(slowdown=slowdown, trips=trips, violations=("I1",) * broken)
    return cast("FacilityReport", seen)


def test_a_fleet_within_all_limits_passes() -> None:
    assert why_refused(run(FINE)) == ""


@pytest.mark.parametrize(
    ("priority", "quantile", "at"),
    [("high", "p50", 0.01), ("high", "p99", 0.05), ("low", "p50", 0.05), ("low", "p99", 0.5)],
)
def test_each_limit_itself_is_too_much(priority: str, quantile: str, at: float) -> None:
    slow = {name: dict(of) for name, of in FINE.items()}
    slow[priority][quantile] = at
    assert f"{priority} {quantile}" in why_refused(run(slow))


def test_trips_and_broken_rules_come_before_slowdowns() -> None:
    assert why_refused(run({}, trips=2)) == "2 trips"
    assert why_refused(run({}, broken=1)) == "1 broken rules"
