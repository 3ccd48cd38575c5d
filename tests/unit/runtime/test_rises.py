"""A rise of the load is seen before the second is over that has it, and only where there is one."""

from collections.abc import Iterable
from itertools import pairwise

import pytest
from numpy.random import default_rng

from support.programs.serving import GatewayBench
from wattline_protocol.wire.rollouts import LoadRise, ReportRises
from wattline_runtime.gateway import events as e
from wattline_runtime.gateway.revisions.reporting import RISE_PERIOD_S, RiseReporter
from wattline_runtime.gateway.revisions.rises import LOOK_S, RiseWatch


def looks(counts: Iterable[int], watch: RiseWatch | None = None) -> list[float]:
    """What each look shows, of so many requests since the one before."""
    watch, total, found = watch or RiseWatch(), 0, []
    for count in counts:
        total += count
        found.append(watch.look(total, LOOK_S))
    return found


def even(rate: float, seconds: float, since_s: float = 0.0) -> list[int]:
    """Requests of each look at an even rate."""
    ends = [int(rate * (since_s + LOOK_S * at)) for at in range(round(seconds / LOOK_S) + 1)]
    return [after - before for before, after in pairwise(ends)]


@pytest.mark.parametrize("phase", [at / 10 for at in range(10)])
def test_a_tripled_load_is_seen_within_two_thirds_of_a_second_at_every_phase(phase: float) -> None:
    found = looks([*even(15.0, 30.0 + phase), *even(45.0, 1.0)])
    at = next(at for at, per_s in enumerate(found) if per_s)
    assert LOOK_S * (at + 1) - 30.0 - phase < 0.65
    assert found[at] == pytest.approx(30.0, rel=0.1), "of the new load alone"
    assert all(found[at:])


def test_chance_groups_and_what_comes_again_and_again_are_no_rises() -> None:
    dice = default_rng(2)
    for rate in (1.0, 15.0, 300.0):
        assert not any(looks(dice.poisson(rate * LOOK_S, 6_000).tolist()))
    in_groups = [12 if at % 30 == 0 else 0 for at in range(6_000)]
    assert not any(looks(in_groups)[600:])
    assert any(looks([*even(15.0, 60.0), *even(150.0, 1.0)]))
    assert not any(looks([*in_groups, *even(15.0, 1.0)])[600:]), "fewer than one group"


def test_few_requests_a_small_rise_and_what_is_not_usual_yet_are_none() -> None:
    assert not any(looks([*even(0.1, 60.0), 6, *even(0.1, 5.0)]))
    assert not any(looks([*even(1_000.0, 60.0), *even(1_400.0, 10.0)]))
    assert not any(looks([*even(15.0, 5.0), *even(45.0, 1.0)]))


def test_what_lasts_becomes_usual() -> None:
    found = looks([*even(15.0, 30.0), *even(45.0, 20.0)])
    assert any(found[300:320])
    assert not any(found[-50:])


def test_requests_that_a_late_look_counts_with_the_next_one_are_no_rise() -> None:
    """Those that arrive while the gateway is held up are read after it."""
    watch = RiseWatch()
    assert not any(looks(even(200.0, 30.0), watch))
    assert watch.look(6_000, 0.9) == 0.0
    assert watch.look(6_200, LOOK_S) == 0.0
    assert watch.look(6_200 + 60, LOOK_S) == 0.0


class Bench(GatewayBench):
    """One service, and looks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.queue_limit = 10**6
        self.routes(1)
        self.reporter = RiseReporter(self.gateway, self.now_s)

    def looks(self, counts: Iterable[int], service: str = "svc") -> list[ReportRises]:
        found = []
        for count in counts:
            self.gateway.queue.services[service].load.requests += count
            self.later(LOOK_S)
            found.append(self.reporter.look(self.now_s))
        return [report for report in found if report is not None]


def test_rises_are_reported_twice_a_second_at_most_and_services_without_routes_never() -> None:
    b = Bench()
    assert b.looks(even(15.0, 30.0)) == []
    reports = b.looks(even(45.0, 2.0))
    assert 2 <= len(reports) <= 2.0 / RISE_PERIOD_S
    (rise,) = reports[-1].rises
    assert rise == LoadRise("svc", rise.per_s)
    b.happens(e.RoutesChanged({"other": ()}))
    assert all(one.service != "svc" for report in b.looks([90], "other") for one in report.rises)
