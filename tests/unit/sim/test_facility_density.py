"""Limits of a fleet, without running one."""

from types import SimpleNamespace
from typing import cast

import pytest

from wattline_sim.facility.density import CLASSES, Search, density, equal_caps, why_refused
from wattline_sim.facility.judging.price import Price
from wattline_sim.facility.judging.report import FacilityReport
from wattline_sim.facility.run import Size
from wattline_sim.facility.simulate import Ask, simulate

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


@pytest.mark.parametrize("most", [15, 16, 21, 24, 33, 40])
def test_the_search_finds_the_largest_fleet_that_passes(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def answer(ask: Ask, progress: object, *, versus_static: bool, watch: object) -> FacilityReport:
        del progress, watch
        assert not versus_static
        asked.append(ask.nodes)
        slow = FINE if ask.policy == "static" or ask.nodes <= most else {"high": {"p50": 1.0}}
        seen = run(slow)
        seen.gpus, seen.nodes = 8 * ask.nodes, ask.nodes  # type: ignore[misc]
        seen.throughput = float(ask.nodes)  # type: ignore[misc]
        seen.seconds_over_budget = 0.0  # type: ignore[misc]
        return seen

    monkeypatch.setattr("wattline_sim.facility.density.simulate", answer)
    search = Search("wattline", 1, cases=("mixed",), classes=("h100",))
    (case,) = density(search, lambda *_: None).cases
    assert case.gpus == (8 * most if most >= 16 else 0)
    assert len(asked) <= search.runs_most
    assert len(asked[1:]) == len(set(asked[1:])), "no fleet is run twice"


def test_equal_caps_make_more_of_what_is_drawn_than_of_what_is_booked() -> None:
    for gpu in CLASSES:
        booked, drawn = equal_caps(gpu)
        assert 1.0 < booked < drawn < 2.0


def test_leases_book_more_than_uncapped_work_draws() -> None:
    price = Price()
    assert price.nodes_by_drawing == 0, "nothing was watched yet"
    ask = Ask("mixed", "static", 16, Size(0.02, 1), feed_nodes=16.0, gpu="a40")
    simulate(ask, lambda _: None, versus_static=False, watch=price.watch)
    assert price.seconds == 72
    assert 16 < price.nodes_by_booking < price.nodes_by_drawing < 2 * price.nodes_by_booking
