"""Requests wait for the first routes, and for a moment while a service has no ready worker."""

import pytest

from support.programs.serving import GatewayBench, name
from wattline_runtime.gateway import events as e
from wattline_runtime.gateway.core import STALL_CHECK_S

HOLD_S = 2.0


@pytest.fixture
def bench() -> GatewayBench:
    """A gateway that has just started: no routes yet."""
    return GatewayBench(hold_s=HOLD_S)


def test_before_the_first_routes_requests_of_any_service_wait(bench: GatewayBench) -> None:
    bench.submit(1).submit(2, service="nothing").later(5.0)
    assert not bench.outcomes
    bench.routes(1)
    assert bench.outcomes == {2: "unknown_service"}
    bench.worker(1)
    assert bench.inferred(1) == [1]
    assert bench.submit(3, service="nothing").outcomes[3] == "unknown_service"


def test_they_wait_no_longer_than_their_deadlines_and_their_clients(bench: GatewayBench) -> None:
    bench.submit(1, within_s=1.0).submit(2).submit(3, within_s=0.0)
    assert bench.outcomes == {3: "deadline"}
    bench.happens(e.Abandoned(2))
    assert bench.later(1.0).outcomes == {3: "deadline", 1: "deadline"}
    assert bench.routes(1).worker(1).inferred(1) == []


def test_their_number_is_limited_over_all_services(bench: GatewayBench) -> None:
    for number in range(1, 6):
        bench.submit(number, service=f"service-{number}")
    assert bench.outcomes == {5: "queue_full"}


def test_a_gateway_that_stops_before_its_first_routes_answers_them(bench: GatewayBench) -> None:
    bench.submit(1).happens(e.StopStarted())
    assert bench.submit(2).outcomes == {2: "stopping"}
    bench.happens(e.GraceOver())
    assert bench.outcomes == {2: "stopping", 1: "stopping"}


def test_a_listed_service_without_workers_holds_its_requests_for_a_moment(
    bench: GatewayBench,
) -> None:
    bench.routes(1).later(HOLD_S / 2).submit(1).worker(1, capacity=0)
    assert not bench.outcomes, "a worker that loads is not ready"
    bench.later(HOLD_S / 2 + STALL_CHECK_S)
    assert bench.outcomes == {1: "no_worker"}
    assert bench.submit(2).outcomes[2] == "no_worker", "at once from then on"
    assert bench.worker(1).submit(3).inferred(1) == [3]


def test_the_hold_begins_anew_when_the_last_ready_worker_leaves(bench: GatewayBench) -> None:
    bench.routes(1, 2).worker(1).later(1.0).worker(1).submit(1)
    bench.happens(e.WorkerDisconnected(name(1)))
    bench.submit(2).later(HOLD_S / 2)
    assert not bench.outcomes
    bench.worker(2)
    assert bench.inferred(2) == [1], "what a lost worker had is retried alone"
    assert bench.reply(2, 1).inferred(2) == [1, 2]


def test_what_its_last_worker_had_is_worker_lost_in_the_end(bench: GatewayBench) -> None:
    bench.routes(1).worker(1).submit(1)
    bench.happens(e.WorkerDisconnected(name(1)))
    bench.submit(2).later(HOLD_S)
    assert bench.outcomes == {1: "worker_lost", 2: "no_worker"}


def test_held_requests_are_limited_in_number(bench: GatewayBench) -> None:
    bench.routes(1).submit(1, 2, 3, 4, 5)
    assert bench.outcomes == {5: "queue_full"}


def test_a_service_that_ends_refuses_what_it_held(bench: GatewayBench) -> None:
    bench.routes(1).submit(1)
    bench.happens(e.RoutesChanged({}))
    assert bench.outcomes == {1: "no_worker"}
    assert bench.submit(2).outcomes[2] == "unknown_service"
