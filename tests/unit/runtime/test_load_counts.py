"""What a gateway counts of a service's load."""

from typing import Any

import msgspec
import pytest

from support.programs.serving import GatewayBench, name, route
from wattline_protocol.wire.rollouts import (
    BUCKETS_S,
    MAX_REPORTED,
    MAX_WORK,
    ReportTraffic,
    ServiceTraffic,
)
from wattline_runtime.gateway import events as e
from wattline_runtime.gateway.revisions.reporting import TrafficReporter
from wattline_runtime.gateway.stats import Stats
from wattline_runtime.gateway.telemetry.figures import figures
from wattline_runtime.wire import CHAT, MAX_TOKENS, Chunk, Failure, Reply

STREAM = e.RequestKind(method=CHAT, is_stream=True)


class LoadBench(GatewayBench):
    """Two workers, and a report on request."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.reporter = TrafficReporter(self.gateway, Stats())
        self.routes(1).worker(1, capacity=2, methods=("predict", "chat"))

    def says(self, message: Any) -> None:
        self.happens(e.WorkerMessage(name(1), "key-1", message))

    def report(self) -> ReportTraffic:
        return self.reporter.take(1.5)

    def load(self) -> ServiceTraffic:
        """Of the one service, also if it has none."""
        (found,) = self.report().services or (ServiceTraffic("svc"),)
        return found


def slots(times: tuple[int, ...]) -> dict[float, int]:
    """Counts by the upper bound of their bucket, in seconds."""
    return {round(BUCKETS_S[at], 3): count for at, count in enumerate(times) if count}


def test_a_report_has_the_load_since_the_last_one_and_what_waits_now() -> None:
    b = LoadBench()
    b.submit(1, 2, 3)
    report = b.report()
    assert report.seconds == 1.5
    assert report.services == (ServiceTraffic("svc", requests=3, queued=1),)
    assert [worker.waiting for worker in report.workers or ()] == [2]
    b.later(0.1)
    b.says(Reply(1, b"1", tokens=40))
    b.says(Reply(2, b"1"))
    load = b.load()
    assert (load.requests, load.answered, load.work, load.queued) == (0, 2, 41, 0)
    assert slots(load.times) == {0.128: 2}
    assert b.load() == ServiceTraffic("svc")


def test_services_without_load_take_no_row_from_others() -> None:
    """Anyone may submit thousands that never run."""
    b = LoadBench()
    idle = {f"idle-{n}": () for n in range(MAX_REPORTED)}
    b.happens(e.RoutesChanged({"svc": (route(1),), **idle}))
    b.submit(1)
    report = b.report()
    assert (report.services, report.left_out) == ((ServiceTraffic("svc", 1),), 0)


def test_services_that_a_report_leaves_out_are_in_the_next() -> None:
    """Anyone may send a request a second to thousands of services of their own."""
    b = LoadBench()
    names = [f"s{n}" for n in range(MAX_REPORTED + 2)]
    b.happens(e.RoutesChanged({one: (route(n),) for n, one in enumerate(names)}))
    listed = []
    for part in range(2):
        for n, one in enumerate(names, part * len(names)):
            b.gateway.handle(e.Submitted(n, one, b"in", b.now_s + 10.0), b.now_s)
        report = b.report()
        assert (len(report.services or ()), report.left_out) == (MAX_REPORTED, 4)
        listed += [one.service for one in report.services or ()]
    assert sorted(set(listed)) == sorted(names)


def test_a_stream_is_timed_at_its_first_part_and_counted_at_its_end() -> None:
    b = LoadBench()
    b.happens(e.Submitted(1, "svc", b"in", b.now_s + 10.0, kind=STREAM))
    b.later(0.01)
    b.says(Chunk(1, b"a"))
    report = b.report()
    assert [worker.waiting for worker in report.workers or ()] == [0]
    assert [(one.answered, sum(one.times)) for one in report.services or ()] == [(0, 1)]
    b.later(2.0)
    b.says(Reply(1, b"", tokens=9))
    load = b.load()
    assert (load.answered, load.work, sum(load.times)) == (1, 9, 0)


def test_only_what_the_service_owes_an_output_has_failed() -> None:
    b = LoadBench()
    b.submit(1, 2)
    b.says(Failure(1, "bad_input"))
    b.says(Failure(2, "model_error"))
    b.submit(3, within_s=1.0).later(2.0)
    b.submit(4, within_s=-1.0)
    b.submit(5).later(0.05)
    b.happens(e.Abandoned(5))
    load = b.load()
    assert (load.requests, load.answered, load.failed, load.left) == (5, 0, 3, 1)
    assert slots(load.times) == {0.064: 1}


def test_requests_of_priority_batch_are_work_and_no_load() -> None:
    b = LoadBench()
    b.submit(1, 2, 3, priority="batch")
    b.says(Reply(1, b"1", tokens=7))
    report = b.report()
    assert report.services == (ServiceTraffic("svc", batch_work=7),)
    assert [worker.waiting for worker in report.workers or ()] == [0]


def test_a_report_fits_its_wire_type() -> None:
    b = LoadBench()
    b.submit(1).reply(1, 1)
    report = b.report()
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(report), type=ReportTraffic) == report


def test_no_count_of_tokens_makes_a_report_that_is_refused() -> None:
    b = LoadBench()
    for number in range(1, 1001):
        b.submit(number, priority="batch" if number % 2 else "normal")
        b.says(Reply(number, b"1", tokens=MAX_TOKENS))
    data = msgspec.msgpack.encode(b.report())
    (load,) = msgspec.msgpack.decode(data, type=ReportTraffic).services or ()
    assert (load.answered, load.work, load.batch_work) == (500, MAX_WORK, MAX_WORK)


def test_counts_of_a_service_that_is_there_again_begin_at_zero() -> None:
    """As of one whose only replica ends and starts within a second."""
    b = LoadBench()
    b.submit(1, 2).reply(1, 1, 2)
    b.report()
    b.happens(e.WorkerDisconnected(name(1)))
    b.routes(service="other").routes(2).worker(2)
    b.later(0.1).submit(3, 4, 5)
    b.later(0.3).reply(2, 3, 4, 5)
    report = b.report()
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(report), type=ReportTraffic) == report
    (row,), (load,) = report.revisions, report.services or ()
    assert (row.requests, sum(row.times)) == (3, 3)
    assert (load.requests, load.answered, slots(load.times)) == (3, 3, {0.362: 3})


def test_the_load_is_in_the_metrics() -> None:
    b = LoadBench()
    b.submit(1, 2).reply(1, 1)
    b.says(Failure(2, "model_error"))
    values = figures(Stats(), b.gateway, {}, {}, {}).values
    counted = {name: values[f"load_{name}_total"] for name in ("requests", "failed", "work")}
    assert counted == {
        "requests": {("svc",): 2},
        "failed": {("svc",): 1},
        "work": {("svc",): 1},
    }


def test_a_report_of_no_time_is_refused() -> None:
    data = msgspec.msgpack.encode(ReportTraffic((), seconds=0.0))
    with pytest.raises(msgspec.ValidationError, match="seconds"):
        msgspec.msgpack.decode(data, type=ReportTraffic)


def test_what_a_fallback_answers_counts_where_no_replica_is_ready() -> None:
    b = LoadBench()
    queue = b.gateway.queue
    queue.answered_instead("svc", e.PLAIN, 0.1)
    assert b.load() == ServiceTraffic("svc"), "a replica should have answered"
    b.happens(e.RoutesChanged({"svc": ()}))
    queue.answered_instead("svc", e.PLAIN, 0.1)
    queue.answered_instead("svc", e.RequestKind(rank=e.BATCH), 0.1)
    queue.answered_instead("none", e.PLAIN, 0.1)
    load = b.load()
    assert (load.covered, slots(load.times)) == (1, {0.128: 1})
