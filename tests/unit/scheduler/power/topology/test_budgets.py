"""Budgets in force as a function of time."""

from dataclasses import replace

import pytest

from wattline_protocol.ids import DomainId, Instant
from wattline_scheduler.power.topology.budgets import MAX_LIMITS_PER_DOMAIN, Limit, Limits

SITE = DomainId("site")
FULL_MW = 40_000_000
NOW = Instant(100.0)


def at(offset_s: float) -> Instant:
    return Instant(NOW + offset_s)


def shed(value_mw: int = 30_000_000, *, ramp_s: float = 0.0, name: str = "shed") -> Limit:
    return Limit(SITE, name, "operator", value_mw, start=NOW, ramp_s=ramp_s)


@pytest.fixture
def limits() -> Limits:
    return Limits({SITE: FULL_MW})


def test_without_a_limit_the_full_budget_is_in_force(limits: Limits) -> None:
    assert limits.budget_mw(SITE, NOW) == limits.granted_mw(SITE, NOW) == FULL_MW
    assert limits.binding(SITE, NOW) is None


def test_a_step_is_in_force_at_once_and_until_its_end(limits: Limits) -> None:
    limits.put(replace(shed(), end=at(60)), NOW)
    assert limits.budget_mw(SITE, at(-0.001)) == FULL_MW
    assert limits.budget_mw(SITE, NOW) == 30_000_000
    assert limits.budget_mw(SITE, at(59.999)) == 30_000_000
    assert limits.budget_mw(SITE, at(60)) == FULL_MW


def test_a_ramp_falls_in_a_straight_line_from_the_budget_in_force(limits: Limits) -> None:
    limits.put(shed(36_000_000, name="schedule 1"), NOW)
    known = limits.put(shed(26_000_000, ramp_s=100.0), NOW)
    assert known.from_mw == 36_000_000
    assert limits.budget_mw(SITE, at(50)) == 31_000_000
    assert limits.budget_mw(SITE, at(100)) == limits.budget_mw(SITE, at(1e6)) == 26_000_000


def test_a_release_ramp_rises_to_the_full_budget(limits: Limits) -> None:
    limits.put(replace(shed(), end=at(60), release_s=100.0), NOW)
    assert limits.budget_mw(SITE, at(60)) == 30_000_000
    assert limits.budget_mw(SITE, at(110)) == 35_000_000
    assert limits.budget_mw(SITE, at(160)) == FULL_MW


def test_a_ramp_that_is_ended_half_way_rises_from_there(limits: Limits) -> None:
    limits.put(replace(shed(ramp_s=100.0), end=at(50), release_s=10.0), NOW)
    assert limits.budget_mw(SITE, at(50)) == 35_000_000
    assert limits.budget_mw(SITE, at(55)) == 37_500_000


def test_the_least_limit_is_the_budget_and_says_so(limits: Limits) -> None:
    limits.put(shed(30_000_000), NOW)
    limits.put(Limit(SITE, "cooling", "cooling", 28_000_000, NOW), NOW)
    assert limits.budget_mw(SITE, NOW) == 28_000_000
    binding = limits.binding(SITE, NOW)
    assert binding is not None
    assert binding.source == "cooling"
    assert limits.withdraw(SITE, "cooling") is not None
    assert limits.budget_mw(SITE, NOW) == 30_000_000
    assert limits.withdraw(SITE, "cooling") is None


def test_the_same_name_replaces(limits: Limits) -> None:
    limits.put(shed(30_000_000), NOW)
    limits.put(shed(35_000_000), NOW)
    assert limits.budget_mw(SITE, NOW) == 35_000_000
    assert len(limits.of(SITE)) == 1


def test_a_limit_above_the_full_budget_raises_nothing(limits: Limits) -> None:
    limits.put(shed(FULL_MW * 2), NOW)
    assert limits.budget_mw(SITE, NOW) == FULL_MW


def test_leases_are_sized_for_the_end_of_the_next_step(limits: Limits) -> None:
    limits.put(shed(30_000_000, ramp_s=100.0), NOW)
    assert limits.budget_mw(SITE, at(10.3)) == 38_970_000
    assert limits.granted_mw(SITE, at(10.3)) == limits.budget_mw(SITE, at(12))
    assert limits.granted_mw(SITE, at(10.9)) == limits.granted_mw(SITE, at(10.0))


def test_a_step_that_is_to_come_is_seen_before_it_comes(limits: Limits) -> None:
    limits.put(replace(shed(), start=at(10)), NOW)
    assert limits.granted_mw(SITE, at(7.9)) == FULL_MW
    assert limits.budget_mw(SITE, at(9)) == FULL_MW
    assert limits.granted_mw(SITE, at(9)) == 30_000_000


def test_nothing_is_granted_early_on_the_way_up(limits: Limits) -> None:
    limits.put(replace(shed(), end=at(10), release_s=10.0), NOW)
    for tenths in range(0, 300, 3):
        now = at(tenths / 10)
        assert limits.granted_mw(SITE, now) <= limits.budget_mw(SITE, now)


def test_a_domain_takes_a_bounded_number_of_limits(limits: Limits) -> None:
    for number in range(MAX_LIMITS_PER_DOMAIN):
        limits.put(shed(name=f"event {number}"), NOW)
    with pytest.raises(ValueError, match="which is the most"):
        limits.put(shed(name="one more"), NOW)
    limits.put(shed(name="event 0"), NOW)
