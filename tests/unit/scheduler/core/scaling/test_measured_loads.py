"""Reports of gateways become one load for each second, and silence none."""

import pytest

from support.core.rolling import RollingHarness, echo, gateway_site
from wattline_protocol.ids import JobId, UserName
from wattline_protocol.wire.client_messages import Denied, Done
from wattline_protocol.wire.rollouts import (
    BUCKETS_S,
    MAX_REPORTED,
    ReportTraffic,
    RevisionTraffic,
    ServiceTraffic,
    WorkerTraffic,
)
from wattline_scheduler.core.scaling.measured_loads import UNKNOWN_S, measured_loads
from wattline_scheduler.power.scaling.service_load import Load

TIMES = (0, 0, 0, 5) + (0,) * (len(BUCKETS_S) - 3)


class Loads(RollingHarness):
    """Takes each second as soon as it is over, in place of the tick."""

    def tell(self, gateway: str, *services: ServiceTraffic, seconds: float = 1.0) -> object:
        report = ReportTraffic((), self.workers, services=services, seconds=seconds)
        return self.ask(report, user=gateway, role="gateway")

    workers: tuple[WorkerTraffic, ...] = ()

    def second(self, after_s: float = 1.0) -> Load | str | None:
        self.mono_s += after_s
        loads = measured_loads(self.cluster.state, self.now)
        return "not over" if loads is None else loads["echo"]


@pytest.fixture
def h() -> Loads:
    made = Loads(gateway_site("gw", "other").build())
    made.reporting.clear()
    made.join()
    made.run(2)
    made.submit(echo(2))
    made.run(4)  # the gateways have had time to report
    return made


def test_a_gateway_that_counts_in_fewer_buckets_ends_nothing(h: Loads) -> None:
    """A stolen key may report any number of them: the sum of different ones raised at each tick."""
    for times in [(), (7,), TIMES]:
        h.tell("gw", ServiceTraffic("echo", 5, answered=5, work=5, times=TIMES))
        h.tell("other", ServiceTraffic("echo", 7, answered=7, work=7, times=times))
        load = h.second()
        assert isinstance(load, Load)
        assert sum(load.times) == 5 + sum(times)
        assert len(load.times) == len(TIMES)


def test_two_gateways_add_up(h: Loads) -> None:
    refs = [attempt.record.ref for gang in h.job(JobId(1)).gangs for attempt in gang.live]
    h.tell("gw", ServiceTraffic("echo"))
    h.tell("other", ServiceTraffic("echo"))
    h.second()
    h.workers = (WorkerTraffic(refs[0], "ready", waiting=2), WorkerTraffic(refs[1], "ready"))
    h.tell("gw", ServiceTraffic("echo", 10, answered=5, work=50, queued=3, times=TIMES))
    assert h.second() == "not over"
    h.tell("other", ServiceTraffic("echo", 6, answered=5, work=150, times=TIMES))
    assert h.second(0.1) == Load(
        requests=16,
        arrived=16 * 20.0,
        answered=200.0,
        queued=3 * 20.0,
        waiting={0: 4 * 20.0, 1: 0.0},
        times=tuple(2 * count for count in TIMES),
    )
    assert h.second() == "not over"


def test_a_late_report_is_no_second_without_load_and_none_with_twice_of_it(h: Loads) -> None:
    h.tell("gw", ServiceTraffic("echo", 10))
    h.second()
    assert h.second() == "not over"
    h.tell("gw", ServiceTraffic("echo", 20), seconds=2.0)
    load = h.second(0.1)
    assert isinstance(load, Load)
    assert (load.requests, load.arrived) == (10, 10.0)
    h.tell("gw", ServiceTraffic("echo", 10))
    h.tell("gw", ServiceTraffic("echo", 10))
    load = h.second()
    assert isinstance(load, Load)
    assert load.requests == 10


def test_while_a_gateway_is_silent_the_load_is_not_known(h: Loads) -> None:
    h.tell("gw", ServiceTraffic("echo", 10))
    h.tell("other", ServiceTraffic("echo", 10))
    h.second()
    for _ in range(7):
        h.tell("gw", ServiceTraffic("echo", 10))
        found = h.second()
    assert found is None
    assert h.second(UNKNOWN_S / 2) == "not over"
    h.tell("other", ServiceTraffic("echo", 10))
    h.tell("gw", ServiceTraffic("echo", 10))
    assert isinstance(h.second(), Load)


def test_without_a_report_and_with_one_of_an_earlier_release_it_is_not_known(h: Loads) -> None:
    assert h.second(1.1) is None
    h.ask(ReportTraffic(()), user="gw", role="gateway")
    assert h.second(1.1) is None


def test_the_load_of_a_service_that_a_report_leaves_out_is_not_known(h: Loads) -> None:
    h.tell("gw", ServiceTraffic("echo", 10))
    h.second()
    rows = [ServiceTraffic(f"s{n}", 1) for n in range(MAX_REPORTED + 2)]
    listed = ReportTraffic.bounded((), (), (), [ServiceTraffic("echo", 10), *rows], 1.0)
    left_out = ReportTraffic.bounded((), (), (), [*rows, ServiceTraffic("echo", 10)], 1.0)
    h.ask(listed, user="gw", role="gateway")
    assert isinstance(h.second(), Load)
    for report in (listed, left_out, listed):
        h.ask(report, user="gw", role="gateway")
    assert h.second() is None, "one of its reports does not have it"
    h.ask(listed, user="gw", role="gateway")
    assert isinstance(h.second(), Load)
    [event] = h.events("traffic_left_out")
    assert event.text == "gateway gw: 3 revisions, workers and services are in no report"
    h.tell("gw", ServiceTraffic("echo", 10))
    assert isinstance(h.second(), Load)
    assert h.events("traffic_left_out_over")


def test_a_gateway_that_reports_often_makes_no_seconds_shorter(h: Loads) -> None:
    h.tell("gw", ServiceTraffic("echo", 10))
    h.second()
    h.tell("gw", ServiceTraffic("echo", 10), seconds=0.1)
    assert h.second(0.1) == "not over"


@pytest.mark.parametrize("claimed_s", [0.01, 1.0, 100.0])
def test_the_times_that_a_gateway_claims_are_bounded_by_those_of_its_reports(
    h: Loads, claimed_s: float
) -> None:
    h.tell("gw", ServiceTraffic("echo", 40))
    h.second()
    rates = []
    for _ in range(12):
        h.mono_s += 4.0
        h.tell("gw", ServiceTraffic("echo", 40), seconds=claimed_s)
        load = h.second(0.0)
        rates += [load.requests] if isinstance(load, Load) else []
    assert rates[-1] == 10


def test_reports_that_were_held_up_come_together_and_count_in_full(h: Loads) -> None:
    h.tell("gw", ServiceTraffic("echo", 10))
    h.second()
    h.mono_s += 4.0
    for _ in range(4):
        h.tell("gw", ServiceTraffic("echo", 10))
    load = h.second(0.0)
    assert isinstance(load, Load)
    assert load.requests == 10


@pytest.mark.parametrize(
    "services",
    [
        (ServiceTraffic("echo", 1), ServiceTraffic("echo", 1)),
        (ServiceTraffic("echo", 9, answered=9, work=8),),
        (ServiceTraffic("echo", 9, work=8),),
    ],
    ids=["twice", "less-work", "no-answer"],
)
def test_a_report_that_cannot_be_true_is_refused_whole(
    h: Loads, services: tuple[ServiceTraffic, ...]
) -> None:
    answer = h.tell("gw", *services)
    assert isinstance(answer, Denied)
    assert "gw" not in h.cluster.state.traffic


def test_a_revision_that_is_reported_twice_is_refused(h: Loads) -> None:
    twice = (RevisionTraffic("echo", JobId(1), 1),) * 2
    answer = h.ask(ReportTraffic(twice), user="gw", role="gateway")
    assert answer == Denied("bad_request", "a revision is reported twice")


def test_services_that_do_not_exist_are_not_kept(h: Loads) -> None:
    assert h.tell("gw", *(ServiceTraffic(f"s{n}", 1) for n in range(9))) == Done("")
    assert h.cluster.state.traffic[UserName("gw")].load == {}
