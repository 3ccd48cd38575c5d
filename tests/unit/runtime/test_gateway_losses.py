"""The gateway's decisions about requests of lost workers: each may be the reason."""

import pytest

from support.programs.serving import GatewayBench, name
from wattline_runtime.gateway import events as e
from wattline_runtime.gateway.request_queue import POISON_S
from wattline_runtime.wire import Failure


def lose(bench: GatewayBench, task: int) -> GatewayBench:
    bench.happens(e.WorkerDisconnected(name(task)))
    return bench


def submit(bench: GatewayBench, number: int, body: bytes) -> GatewayBench:
    bench.happens(e.Submitted(number, "svc", body, bench.now_s + 10))
    return bench


@pytest.fixture
def one_lost() -> GatewayBench:
    """Worker 1 was lost with requests 1 and 2; worker 2 is there, and has request 3."""
    bench = GatewayBench().routes(1, 2, 3).worker(1).submit(1, 2).worker(2).submit(3)
    return lose(bench, 1)


def test_each_is_retried_alone_in_order_before_all_others(one_lost: GatewayBench) -> None:
    one_lost.submit(4)
    assert one_lost.inferred(2) == [3], "it has another request"
    one_lost.reply(2, 3)
    assert one_lost.inferred(2) == [3, 1]
    one_lost.reply(2, 1)
    assert one_lost.inferred(2) == [3, 1, 2]
    one_lost.reply(2, 2).submit(5)
    assert one_lost.inferred(2) == [3, 1, 2, 4, 5], "it takes others again"


def test_one_worker_is_reserved_and_the_others_go_on(one_lost: GatewayBench) -> None:
    one_lost.worker(3, capacity=4).submit(4, 5)
    assert one_lost.inferred(3) == [4, 5]
    one_lost.reply(2, 3)
    assert one_lost.inferred(2) == [3, 1]


def test_what_ends_a_second_worker_is_refused_for_a_minute() -> None:
    bench = GatewayBench().routes(1, 2, 3).worker(1)
    submit(submit(bench, 1, b"poison"), 2, b"good").worker(2)
    lose(bench, 1)
    assert bench.inferred(2) == [1]
    lose(bench.worker(3), 2)
    assert bench.outcomes == {1: "poison"}
    assert bench.inferred(3) == [2], "only what was alone is blamed"
    assert bench.reply(3, 2).outcomes[2] == "out"
    assert submit(bench, 3, b"poison").outcomes[3] == "poison"
    assert 4 not in submit(bench, 4, b"good").outcomes
    bench.reply(3, 4)
    for _ in range(int(POISON_S) + 1):
        bench.worker(3).later(1.0)
    assert submit(bench, 5, b"poison").inferred(3) == [2, 4, 5]


def test_silence_makes_nothing_poison() -> None:
    """Workers fall silent with their hosts, and when their job is paused."""
    bench = GatewayBench().routes(1, 2, 3).worker(1)
    submit(bench, 1, b"good").worker(2).worker(3)
    bench.later(1.0).worker(2).worker(3).later(1.0).worker(2).worker(3).later(1.2)
    [second] = [task for task in (2, 3) if bench.inferred(task)]
    third = 5 - second
    for _ in range(4):
        bench.worker(third).later(1.0)
    assert bench.outcomes == {1: "worker_lost"}
    assert submit(bench, 2, b"good").inferred(third) == [2]


def test_a_reserved_worker_that_is_lost_before_its_turn_is_replaced(one_lost: GatewayBench) -> None:
    lose(one_lost.worker(3), 2)
    assert one_lost.inferred(3) == [3], "lost with 2, and first in the queue"
    one_lost.reply(3, 3)
    assert one_lost.inferred(3) == [3, 1]
    assert one_lost.outcomes == {3: "out"}


def test_what_is_handed_back_is_still_retried_alone(one_lost: GatewayBench) -> None:
    one_lost.reply(2, 3).worker(3)
    one_lost.worker(2, is_draining=True)
    one_lost.happens(e.WorkerMessage(name(2), "key-2", Failure(1, "draining")))
    assert one_lost.inferred(3) == [2], "reserved instead of the one that drains"
    assert one_lost.reply(3, 2).inferred(3) == [2, 1]


def test_a_worker_that_only_reconnects_makes_nothing_suspect() -> None:
    bench = GatewayBench().routes(1, 2).worker(1).submit(1, 2).worker(2)
    bench.worker(1, connection=b"anew")
    assert bench.inferred(2) == [1, 2]


def test_a_request_that_may_be_the_reason_is_not_moved_from_a_stalled_worker(
    one_lost: GatewayBench,
) -> None:
    one_lost.reply(2, 3).worker(3)
    one_lost.later(2.0).worker(2).worker(3).later(2.0)
    assert 1 not in one_lost.inferred(3)


def test_a_moved_request_is_not_retried_again_when_its_second_worker_is_lost() -> None:
    bench = GatewayBench().routes(1, 2, 3).worker(1).submit(1, within_s=3.0).worker(2).worker(3)
    bench.later(1.1)
    [second] = [task for task in (2, 3) if bench.inferred(task)]
    lose(bench, second)
    assert bench.outcomes == {1: "worker_lost"}
    assert bench.cancelled(1) == [1]
