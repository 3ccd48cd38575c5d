"""The gateway's decisions about workers without progress."""

import pytest

from support.programs.serving import GatewayBench, name
from wattline_runtime.gateway import events as e
from wattline_runtime.wire import Failure, FailureReason


@pytest.fixture
def stalled() -> GatewayBench:
    """Worker 1 has had request 1, with 3 s to go, for a third of that; worker 2 idles."""
    bench = GatewayBench().routes(1, 2, 3).worker(1).submit(1, within_s=3.0).worker(2)
    return bench.later(0.9).later(0.15)


def fail(bench: GatewayBench, task: int, number: int, reason: FailureReason) -> None:
    bench.happens(e.WorkerMessage(name(task), f"key-{task}", Failure(number, reason)))


def test_what_lies_without_progress_for_a_third_of_its_deadline_is_tried_elsewhere() -> None:
    bench = GatewayBench().routes(1, 2).worker(1).submit(1, within_s=3.0).worker(2)
    bench.later(0.9)
    assert bench.inferred(2) == []
    bench.later(0.15)
    assert bench.inferred(2) == [1]
    [stall] = [x for x in bench.other if isinstance(x, e.WorkerStalled)]
    assert (stall.connection, stall.moved) == (name(1), 1)


@pytest.mark.parametrize(("first", "other"), [(1, 2), (2, 1)])
def test_the_first_answer_counts_and_the_other_worker_is_told(
    stalled: GatewayBench, first: int, other: int
) -> None:
    stalled.reply(first, 1)
    assert stalled.outcomes == {1: "out"}
    assert (stalled.cancelled(first), stalled.cancelled(other)) == ([], [1])
    fail(stalled, other, 1, "cancelled")
    assert stalled.outcomes == {1: "out"}


def test_a_deadline_is_told_to_both(stalled: GatewayBench) -> None:
    stalled.worker(1).worker(2).later(2.0)
    assert stalled.outcomes == {1: "deadline"}
    assert (stalled.cancelled(1), stalled.cancelled(2)) == ([1], [1])


def test_what_the_stalled_worker_drops_is_not_the_answer(stalled: GatewayBench) -> None:
    fail(stalled, 1, 1, "expired")
    assert stalled.outcomes == {}
    assert stalled.reply(2, 1).outcomes == {1: "out"}


def test_a_request_is_moved_once(stalled: GatewayBench) -> None:
    stalled.worker(3).worker(1).worker(2).later(1.5)
    assert stalled.inferred(3) == []


def test_others_are_preferred_until_it_answers(stalled: GatewayBench) -> None:
    stalled.submit(2)
    assert stalled.inferred(2) == [1, 2]
    stalled.reply(1, 1).submit(3)
    assert stalled.inferred(1) == [1, 3]


def test_what_it_drops_is_no_progress(stalled: GatewayBench) -> None:
    stalled.reply(2, 1)
    fail(stalled, 1, 1, "cancelled")
    assert stalled.worker(1, running=1, batch_age_s=3.0).submit(2).inferred(1) == [1]
    assert stalled.worker(1).submit(3).inferred(1) == [1, 3]


def test_where_all_are_stalled_requests_stay_and_new_ones_are_taken() -> None:
    bench = GatewayBench().routes(1).worker(1).submit(1, within_s=3.0).later(1.5)
    assert bench.submit(2).inferred(1) == [1, 2]
    assert bench.reply(1, 1).outcomes == {1: "out"}


def test_an_answer_is_progress() -> None:
    bench = GatewayBench().routes(1, 2).worker(1).submit(1, 2, within_s=3.0).worker(2)
    bench.later(0.9).reply(1, 1).later(0.9)
    assert bench.inferred(2) == []
    assert bench.later(0.2).inferred(2) == [2]


def test_a_batch_for_another_gateway_is_progress() -> None:
    bench = GatewayBench().routes(1, 2).worker(1).submit(1, within_s=3.0).worker(2)
    bench.later(0.8).worker(1, batch_age_s=0.1).later(0.8)
    assert bench.inferred(2) == []
    assert bench.worker(1, batch_age_s=0.9).later(0.2).inferred(2) == [1]


def test_a_worker_may_take_three_of_its_measured_batches() -> None:
    bench = GatewayBench().routes(1, 2).worker(1, batch_s=0.5)
    bench.submit(1, within_s=3.0).worker(2).later(1.4)
    assert bench.inferred(2) == []
    assert bench.later(0.2).inferred(2) == [1]


def test_a_stalled_worker_that_is_lost_takes_nothing_along(stalled: GatewayBench) -> None:
    stalled.happens(e.WorkerDisconnected(name(1)))
    assert stalled.outcomes == {}
    assert stalled.reply(2, 1).outcomes == {1: "out"}
