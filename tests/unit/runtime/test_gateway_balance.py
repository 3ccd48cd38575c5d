"""Which worker a request goes to: by expected time, with hedges, and probes of bad workers."""

import pytest

from support.programs.serving import GatewayBench, name
from support.programs.serving_clock import ServingClock
from wattline_runtime.gateway import events as e
from wattline_runtime.gateway.balance import circuit, hedging
from wattline_runtime.gateway.core import HEDGE_CHECK_S
from wattline_runtime.wire import Failure, Infer

P95_S = 0.1
CHECK_S = HEDGE_CHECK_S + 0.001


@pytest.fixture
def two() -> GatewayBench:
    """Workers 1 and 2 of the same pace, with slots; hedging has what it needs."""
    bench = GatewayBench(queue_limit=100).routes(1, 2, 3)
    for task in (1, 2):
        bench.worker(task, capacity=4, batch_s=0.01, lone_s=0.01)
    state = bench.gateway.queue.services["svc"].hedging
    state.p95_s = P95_S
    for _ in range(hedging.SHARE):
        state.arrived()
    return bench


def fail(bench: GatewayBench, task: int, number: int) -> None:
    failure = Failure(number, "model_error")
    bench.happens(e.WorkerMessage(name(task), f"key-{task}", failure))


# --- expected time


def test_a_slow_worker_gets_what_it_would_answer_first() -> None:
    bench = GatewayBench(queue_limit=100).routes(1, 2)
    bench.worker(1, capacity=8, batch_s=0.04, lone_s=0.01)
    bench.worker(2, capacity=8, batch_s=0.12, lone_s=0.03)
    bench.submit(*range(8))
    assert (len(bench.inferred(1)), len(bench.inferred(2))) == (6, 2)


def test_a_request_waits_for_a_fast_worker_rather_than_take_a_slot_of_a_slow_one() -> None:
    bench = GatewayBench(queue_limit=100).routes(1, 2)
    bench.worker(1, capacity=2, batch_s=0.01, lone_s=0.01)
    bench.worker(2, capacity=2, batch_s=0.025, lone_s=0.025)
    assert bench.submit(1, 2, 3).inferred(2) == []
    assert bench.reply(1, 1).inferred(1) == [1, 2, 3]
    bench.submit(4, 5, 6, 7, 8, 9)
    assert bench.inferred(2) != [], "the queue is longer than what the slow one takes"


def test_the_deadline_that_a_worker_gets_is_what_is_left(two: GatewayBench) -> None:
    two.submit(1, within_s=1.0).later(0.15)
    budgets = [m.budget_ms for _, m in two.sent if isinstance(m, Infer)]
    assert budgets == [pytest.approx(1000, abs=1), pytest.approx(850, abs=1)]


@pytest.mark.parametrize("rate_per_s", [50.0, 150.0])
def test_a_replica_a_hundred_times_slower_does_not_show_in_the_p99(rate_per_s: float) -> None:
    def pace(count: int) -> float:
        return 0.004 + 0.001 * count

    clock = ServingClock(pace, workers=3, factors={2: 100.0})
    clock.poisson(rate_per_s, 5.0, 2.0)
    clock.outcomes.answered_s.clear()
    outcomes = clock.poisson(rate_per_s, 10.0, 2.0)
    answered_s = sorted(outcomes.answered_s)
    assert outcomes.refused == {}
    assert answered_s[int(0.99 * len(answered_s))] < 0.05


# --- hedges


def test_what_waits_longer_than_the_p95_is_sent_to_a_second_worker(two: GatewayBench) -> None:
    two.submit(1).later(P95_S)
    assert two.inferred(2) == []
    two.later(CHECK_S)
    assert two.inferred(2) == [1]
    assert two.reply(2, 1).outcomes == {1: "out"}
    assert (two.cancelled(1), two.cancelled(2)) == ([1], [])


def test_where_one_of_two_drops_it_the_other_answers(two: GatewayBench) -> None:
    two.submit(1).later(P95_S).later(CHECK_S)
    two.happens(e.WorkerMessage(name(2), "key-2", Failure(1, "expired")))
    assert two.outcomes == {}
    assert two.reply(1, 1).outcomes == {1: "out"}


def test_a_worker_that_is_lost_with_a_hedged_request_costs_no_retry(two: GatewayBench) -> None:
    two.submit(1).later(P95_S).later(CHECK_S)
    two.worker(3, capacity=4, batch_s=0.01, lone_s=0.01)
    two.happens(e.WorkerDisconnected(name(2)))
    assert (two.outcomes, two.inferred(3)) == ({}, [])
    two.happens(e.WorkerDisconnected(name(1)))
    assert (two.outcomes, two.inferred(3)) == ({1: "worker_lost"}, [])


def test_one_request_of_twenty_is_hedged(two: GatewayBench) -> None:
    numbers = range(1, 1 + 3 * hedging.SHARE)
    state = two.gateway.queue.services["svc"].hedging
    for number in numbers:
        state.p95_s = P95_S
        two.submit(number).later(P95_S).later(CHECK_S)
        two.worker(1, capacity=4, batch_s=0.01, lone_s=0.01)
        two.worker(2, capacity=4, batch_s=0.01, lone_s=0.01)
        for task in (1, 2):
            two.reply(task, number)
    assert state.hedged == 4, "one was saved up"


def test_what_lost_a_worker_is_not_hedged(two: GatewayBench) -> None:
    two.submit(1)
    two.happens(e.WorkerDisconnected(name(1)))
    two.worker(3, capacity=4, batch_s=0.01, lone_s=0.01)
    two.later(P95_S).later(CHECK_S).later(CHECK_S)
    assert (two.inferred(2), two.inferred(3)) == ([1], [])


def test_nothing_is_hedged_while_requests_wait(two: GatewayBench) -> None:
    two.submit(*range(9)).later(P95_S).later(CHECK_S)
    assert len(two.inferred(1)) == len(two.inferred(2)) == 4


# --- circuits


def open_by_failures(bench: GatewayBench, task: int) -> None:
    """Answer what worker `task` gets with failures until its circuit opens; the next is a probe."""
    worker = bench.gateway.pool.workers[name(task)]
    number = 100
    while worker.status == "ready":
        bench.submit(number)
        if number in bench.inferred(task):
            fail(bench, task, number)
        else:
            bench.reply(3 - task, number)
        number += 1
    assert number <= 100 + 2 * 4
    bench.submit(number)
    fail(bench, task, number)
    bench.reply(3 - task, number)
    assert bench.outcomes[number] == "out"


def test_a_worker_whose_answers_fail_gets_probes_until_it_recovers(two: GatewayBench) -> None:
    open_by_failures(two, 1)
    before = len(two.inferred(1))
    two.later(0.1).submit(1, 2).reply(2, 1, 2)
    assert len(two.inferred(1)) == before, "the circuit has just been probed"
    number = 2
    for _ in range(6):
        two.worker(1, capacity=4, batch_s=0.01, lone_s=0.01)
        two.worker(2, capacity=4, batch_s=0.01, lone_s=0.01)
        two.later(circuit.PROBE_PERIOD_S)
        number += 1
        two.submit(number)
        assert (two.inferred(1)[-1], two.inferred(2)[-1]) == (number, number)
        two.reply(1, number).reply(2, number)
    assert two.gateway.pool.workers[name(1)].status == "ready"
    changes = [x.why for x in two.later(0.3).other if isinstance(x, e.CircuitChanged)]
    assert changes == ["its answers fail", ""]


def test_a_failed_probe_is_not_the_answer(two: GatewayBench) -> None:
    open_by_failures(two, 1)
    two.later(circuit.PROBE_PERIOD_S).submit(1)
    fail(two, 1, 1)
    assert 1 not in two.outcomes
    assert two.reply(2, 1).outcomes[1] == "out"


def test_a_model_that_fails_everywhere_opens_no_way_out(two: GatewayBench) -> None:
    open_by_failures(two, 1)
    for number in range(200, 210):
        two.submit(number)
        task = 2 if number in two.inferred(2) else 1
        fail(two, task, number)
    assert {two.outcomes[number] for number in range(200, 210)} == {"model_error"}


def test_a_failing_replica_costs_a_few_requests() -> None:
    clock = ServingClock(lambda count: 0.005 + 0.001 * count, workers=3, failing={1})
    outcomes = clock.poisson(100.0, 10.0, 2.0)
    assert outcomes.refused["model_error"] <= 5
