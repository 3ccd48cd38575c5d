"""What the parent of a gateway's processes adds up: use of API keys, traffic of revisions."""

import msgspec
import pytest

from wattline_protocol.ids import AttemptNo, JobId, TaskNo, TaskRef, UnixTime
from wattline_protocol.wire.api_keys import (
    ApiKeyShares,
    ApiKeyUse,
    BudgetDay,
    ReportApiKeyUse,
)
from wattline_protocol.wire.rollouts import (
    BUCKETS_S,
    MAX_REPORTED,
    MAX_WORK,
    ReportTraffic,
    RevisionTraffic,
    ServiceTraffic,
    WorkerTraffic,
)
from wattline_runtime.gateway.processes.sums import KeyUse, TrafficSum

KEY, OTHER = "a" * 64, "b" * 64


def used(
    inputs: int, digest: str = KEY, refused: int = 0, tokens: int = 0, day: float = 0.0
) -> ReportApiKeyUse:
    use = ApiKeyUse(digest, inputs, refused, inputs, UnixTime(5.0), tokens, tokens, 10 * inputs)
    return ReportApiKeyUse("r", (use,), UnixTime(day))


NOTHING = ReportApiKeyUse("r", ())


def part(shares: ApiKeyShares, digest: str = KEY) -> float:
    return shares.shares.get(digest, shares.share)


def test_parts_of_a_rate_follow_use_and_add_up_to_what_the_gateway_may_grant() -> None:
    uses = KeyUse(2)
    uses.answered(ApiKeyShares(0.5, {KEY: 0.8}), 0.0)
    uses.used(0, used(90), 1.0)
    uses.used(1, used(10), 1.0)
    first = uses.used(0, NOTHING, 1.0)
    second = uses.used(1, NOTHING, 1.0)
    assert part(first) + part(second) == pytest.approx(0.8, abs=0.1)
    assert part(first) > 3 * part(second) > 0
    assert part(first, OTHER) == part(second, OTHER) == 0.25


def test_a_process_that_ended_leaves_its_part_to_the_others() -> None:
    uses = KeyUse(2)
    for at_s in (0.0, 1.0, 2.0):
        uses.used(0, used(50), at_s)
        before = part(uses.used(1, used(50), at_s))
    uses.ended(0)
    after = part(uses.used(1, used(50), 3.0))
    assert before == pytest.approx(0.5, abs=0.05)
    assert after == pytest.approx(0.95)


def test_a_report_is_repeated_until_it_is_answered_and_counts_once() -> None:
    uses = KeyUse(2)
    uses.used(0, used(3, refused=1), 1.0)
    uses.used(1, used(4), 1.0)
    report = uses.report(2.0)
    uses.used(1, used(5), 2.0)
    assert uses.report(2.0) == report
    assert [(one.requests, one.refused, one.inputs) for one in report.uses] == [(7, 1, 7)]
    assert [one.energy_uj for one in report.uses] == [70]
    uses.answered(ApiKeyShares(1.0), 2.0)
    assert [one.inputs for one in uses.report(2.0).uses] == [5]


DAY = BudgetDay(UnixTime(86_400.0), 86_400.0, 10.0)


def test_each_process_knows_what_all_have_used_of_a_budget() -> None:
    uses = KeyUse(2)
    uses.answered(ApiKeyShares(1.0, day=DAY, used_tokens={KEY: 100}), 0.0)
    assert uses.used(0, used(1, tokens=5), 1.0).used_tokens == {KEY: 105}
    (sent,) = uses.report(1.0).uses
    assert (sent.tokens, sent.tokens_today) == (5, 5)
    given = uses.used(1, used(1, tokens=7), 4.0)
    assert given.used_tokens == {KEY: 112}, "sent, but not answered yet"
    assert given.day == BudgetDay(UnixTime(86_400.0), 86_400.0, 6.0)
    uses.answered(ApiKeyShares(1.0, day=DAY, used_tokens={KEY: 105}), 4.0)
    assert uses.used(1, NOTHING, 4.0).used_tokens == {KEY: 112}


def test_tokens_of_the_day_before_are_none_of_a_day_that_has_begun() -> None:
    uses = KeyUse(2)
    uses.answered(ApiKeyShares(1.0, day=DAY, used_tokens={KEY: 100}), 0.0)
    uses.used(0, used(1, tokens=5, day=86_400.0), 9.0)
    later = uses.used(1, used(1, tokens=7, day=86_400.0), 11.0)
    assert later.used_tokens == {}
    assert later.day == BudgetDay(UnixTime(172_800.0), 86_400.0, 86_399.0)
    report = uses.report(11.0)
    assert report.day_unix_s == 172_800.0
    assert [(one.tokens, one.tokens_today) for one in report.uses] == [(12, 0)]


def traffic(ready: int, requests: int = 0, slot: int | None = None) -> ReportTraffic:
    times = [0] * (len(BUCKETS_S) + 1)
    if slot is not None:
        times[slot] = requests
    row = RevisionTraffic("svc", JobId(7), ready, requests, times=tuple(times) if slot else ())
    return ReportTraffic((row,))


def test_traffic_is_added_up_and_ready_is_what_every_process_has() -> None:
    sums = TrafficSum()
    sums.add(0, traffic(2, 5, slot=3))
    sums.add(0, traffic(2, 1, slot=4))
    sums.add(1, traffic(1, 2, slot=3))
    (row,) = sums.take().revisions
    assert (row.ready, row.requests, row.times[3], row.times[4]) == (1, 8, 7, 1)
    (row,) = sums.take().revisions  # none has reported since
    assert (row.ready, row.requests, row.times) == (1, 0, ())
    sums.ended(1)
    assert sums.take().revisions[0].ready == 2


def test_a_worker_is_what_it_is_for_every_process() -> None:
    first, second = (TaskRef(JobId(7), TaskNo(task), AttemptNo(1)) for task in (0, 1))
    both = WorkerTraffic(first, "ready", 2, 0.5), WorkerTraffic(second, "ready", 1, 0.1)
    sums = TrafficSum()
    sums.add(0, ReportTraffic((), both))
    sums.add(1, ReportTraffic((), (WorkerTraffic(first, "stalled", 3, 0.25),)))
    assert sums.take().workers == (
        WorkerTraffic(first, "stalled", 5, 0.5),
        WorkerTraffic(second, "loading", 1, 0.1),
    )
    sums.ended(1)
    assert sums.take().workers == both


def test_loads_are_added_up_and_what_waits_is_what_each_process_has() -> None:
    first, second = ServiceTraffic("svc", 5, queued=3), ServiceTraffic("svc", 1, failed=2, queued=4)
    sums = TrafficSum()
    sums.add(0, ReportTraffic((), services=(first,)))
    sums.add(1, ReportTraffic((), services=(second,)))
    sums.add(1, ReportTraffic((), services=(ServiceTraffic("svc", 2, queued=1),)))
    report = sums.take(1.25)
    assert report.services == (ServiceTraffic("svc", 8, failed=2, queued=4),)
    assert report.seconds == 1.25
    assert sums.take().services == (ServiceTraffic("svc", queued=4),)  # none has reported since
    sums.ended(0)
    assert sums.take().services == (ServiceTraffic("svc", queued=1),)


def test_the_sum_of_what_models_report_stays_within_the_bounds_of_a_report() -> None:
    sums = TrafficSum()
    for process in range(2):
        most = ServiceTraffic("svc", 1, 1, work=MAX_WORK, batch_work=MAX_WORK)
        sums.add(process, ReportTraffic((), services=(most,)))
    data = msgspec.msgpack.encode(sums.take())
    (load,) = msgspec.msgpack.decode(data, type=ReportTraffic).services or ()
    assert (load.answered, load.work, load.batch_work) == (2, MAX_WORK, MAX_WORK)


def test_what_a_process_leaves_out_is_left_out_of_the_sum_until_it_is_not() -> None:
    sums = TrafficSum()
    services = [ServiceTraffic(f"s{n}", 1) for n in range(MAX_REPORTED + 1)]
    sums.add(0, ReportTraffic((), services=()))
    sums.add(1, ReportTraffic.bounded((), (), (), services, 1.0))
    sums.add(2, ReportTraffic((), services=(ServiceTraffic(f"s{MAX_REPORTED}", 1),)))
    report = sums.take()
    assert report.left_out == 1
    listed = {one.service for one in report.services or ()}
    assert listed == {f"s{n}" for n in range(MAX_REPORTED)}, "of the others a part is unknown"
    sums.add(1, ReportTraffic((), services=()))
    assert sums.take().left_out == 0
