"""A service whose replicas all fail at each start is a problem until one runs, or it has ended."""

import pytest

from support.core.harness import Harness, joined
from support.core.sites import job, site
from wattline_protocol.ids import JobId
from wattline_protocol.job.selection import only
from wattline_protocol.wire.client_messages import Cancel, Update
from wattline_scheduler.core.lifecycle.ending import HEALTHY_RUN_S
from wattline_scheduler.core.scaling.down_services import FAILED_TRIES


@pytest.fixture
def h() -> Harness:
    return joined(site().rack("a", 2).build())


def fails(h: Harness, number: JobId, replicas: int, times: int, first: int = 0) -> None:
    for _ in range(times):
        for gang in h.job(number).gangs[first : first + replicas]:
            for attempt in gang.live:
                h.agent(attempt.node).end(attempt.record.ref, 1, run_s=0.1)
        h.settle()
        h.run(15)


def test_it_begins_with_the_last_failure_and_ends_once_a_replica_runs(h: Harness) -> None:
    number = h.submit(job("echo").service(2))
    fails(h, number, 2, FAILED_TRIES - 1)
    assert not h.events("service_down")
    fails(h, number, 2, 1)
    (event,) = h.events("service_down")
    assert event.text == (
        "service echo: 'echo'[0] has failed 3 times in a row: exit status 1 (on a1)"
    )
    assert event.job == number
    h.run(HEALTHY_RUN_S + 5)
    assert h.events("service_down_over")


def test_a_replica_that_runs_is_enough(h: Harness) -> None:
    number = h.submit(job("echo").service(2))
    h.run(HEALTHY_RUN_S + 5)
    fails(h, number, 1, FAILED_TRIES + 1)
    assert not h.events("service_down")


def test_a_replica_that_was_removed_is_none_that_fails(h: Harness) -> None:
    number = h.submit(job("echo").service(2))
    h.run(HEALTHY_RUN_S + 5)
    fails(h, number, 1, FAILED_TRIES, first=1)
    h.do(Update(only(number), {"replicas": "1"}))
    fails(h, number, 1, 1)
    assert h.job(number).gangs[1].failures >= FAILED_TRIES
    assert not h.events("service_down")


def test_it_ends_with_the_service(h: Harness) -> None:
    number = h.submit(job("echo").service(1))
    fails(h, number, 1, FAILED_TRIES)
    assert h.events("service_down")
    h.do(Cancel(only(number)))
    h.settle()
    h.run(2)
    assert h.events("service_down_over")
