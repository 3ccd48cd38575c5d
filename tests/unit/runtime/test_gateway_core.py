"""The gateway's decisions: routing, queue, deadlines, lost workers, routes."""

import pytest

from support.programs.serving import GatewayBench, name, route
from wattline_runtime.gateway import events as e
from wattline_runtime.gateway.admission import ServiceRate
from wattline_runtime.gateway.workers import REVOKED_GRACE_S, WORKER_SILENCE_S
from wattline_runtime.wire import Failure, FailureReason, GatewayBeat, WorkerBeat, WorkerRefused


@pytest.fixture
def bench() -> GatewayBench:
    return GatewayBench()


def fail(bench: GatewayBench, task: int, number: int, reason: FailureReason) -> None:
    bench.happens(e.WorkerMessage(name(task), f"key-{task}", Failure(number, reason, "because")))


def test_a_request_goes_to_an_idle_worker_at_once(bench: GatewayBench) -> None:
    bench.routes(1).worker(1).submit(7)
    assert bench.inferred(1) == [7]
    bench.reply(1, 7)
    assert bench.outcomes == {7: "out"}


def test_the_least_loaded_worker_gets_it_and_equals_take_turns(bench: GatewayBench) -> None:
    bench.routes(1, 2).worker(1).worker(2).submit(1, 2, 3)
    assert bench.inferred(1) == [1, 3]
    assert bench.inferred(2) == [2]
    bench.reply(1, 1).reply(1, 3).submit(4)
    assert bench.inferred(1) == [1, 3, 4]


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(bench: GatewayBench) -> None:
    bench.routes(1).worker(1, capacity=1).submit(1, 2, 3, 4, 5)
    effects = bench.gateway.handle(e.Submitted(6, "svc", b"in", bench.now_s + 9), bench.now_s)
    [answer] = effects
    assert isinstance(answer, e.Answer)
    assert isinstance(answer.outcome, e.Refusal)
    assert (answer.outcome.reason, answer.outcome.retry_after_s) == ("queue_full", 1)


def test_queued_requests_are_sent_in_order_as_slots_come_free(bench: GatewayBench) -> None:
    bench.routes(1).worker(1, capacity=1).submit(1, 2, 3).reply(1, 1).reply(1, 2)
    assert bench.inferred(1) == [1, 2, 3]


def test_without_a_ready_worker_the_answer_is_no_worker(bench: GatewayBench) -> None:
    bench.routes(1).submit(1)
    bench.worker(1, capacity=0).submit(2)
    assert bench.outcomes == {1: "no_worker", 2: "no_worker"}
    bench.worker(1, capacity=1).submit(3)
    assert bench.inferred(1) == [3]


def test_an_unknown_service_is_refused_naming_the_known(bench: GatewayBench) -> None:
    bench.routes(1)
    [answer] = bench.gateway.handle(e.Submitted(1, "svx", b"", 200.0), 100.0)
    assert isinstance(answer, e.Answer)
    assert isinstance(answer.outcome, e.Refusal)
    assert answer.outcome.reason == "unknown_service"
    assert answer.outcome.message == "there is no service 'svx'; known services: svc"


def test_a_deadline_ends_waiting_and_tells_the_worker(bench: GatewayBench) -> None:
    bench.routes(1).worker(1, capacity=1).submit(1, 2, within_s=2.0).submit(3)
    bench.later(1.9)
    assert bench.outcomes == {}
    assert bench.gateway.wake_at_s() <= bench.now_s + 0.1
    bench.later(0.1)
    assert bench.outcomes == {1: "deadline", 2: "deadline"}
    assert bench.cancelled(1) == [1]
    assert bench.inferred(1) == [1], "the slot is the worker's until it answers"
    fail(bench, 1, 1, "cancelled")
    assert bench.inferred(1) == [1, 3]


def test_a_client_that_leaves_frees_the_queue_and_the_worker(bench: GatewayBench) -> None:
    bench.routes(1).worker(1, capacity=1).submit(1, 2)
    bench.happens(e.Abandoned(2))
    bench.happens(e.Abandoned(1))
    bench.happens(e.Abandoned(1))
    assert bench.cancelled(1) == [1]
    fail(bench, 1, 1, "cancelled")
    assert bench.outcomes == {}
    assert bench.inferred(1) == [1]


def test_without_another_worker_a_lost_ones_requests_fail_at_once(bench: GatewayBench) -> None:
    bench.routes(1).worker(1, capacity=1).submit(1, 2)
    bench.happens(e.WorkerDisconnected(name(1)))
    assert bench.outcomes == {1: "worker_lost", 2: "no_worker"}


def test_a_retry_happens_only_while_the_deadline_allows(bench: GatewayBench) -> None:
    bench.routes(1, 2).worker(1).submit(1, within_s=1.0).worker(2)
    bench.now_s += 1.5
    bench.happens(e.WorkerDisconnected(name(1)))
    assert bench.outcomes == {1: "deadline"}
    assert bench.inferred(2) == []


def test_a_silent_worker_is_lost_and_a_beating_one_is_not(bench: GatewayBench) -> None:
    bench.routes(1, 2).worker(1).worker(2).submit(1)
    bench.later(WORKER_SILENCE_S).worker(2).later(0.3)
    assert [x.why for x in bench.other if isinstance(x, e.WorkerLeft)] == ["no heartbeat"]
    assert bench.inferred(2) == [1]


def test_a_draining_worker_finishes_but_gets_nothing_new(bench: GatewayBench) -> None:
    bench.routes(1, 2).worker(1).submit(1).worker(2, capacity=1)
    bench.worker(1, is_draining=True).submit(2)
    beats = [m for c, m in bench.sent if c == name(1) and isinstance(m, GatewayBeat)]
    assert beats[-1].drain_seen
    assert bench.inferred(2) == [2]
    bench.reply(1, 1)
    assert bench.outcomes == {1: "out"}


def test_what_a_draining_worker_hands_back_goes_to_another(bench: GatewayBench) -> None:
    bench.routes(1, 2).worker(1).submit(1).worker(2)
    fail(bench, 1, 1, "draining")
    assert bench.inferred(2) == [1]


@pytest.mark.parametrize("reason", ["bad_input", "model_error", "output_too_large"])
def test_a_models_failure_is_the_clients_answer(bench: GatewayBench, reason: FailureReason) -> None:
    bench.routes(1).worker(1).submit(1)
    fail(bench, 1, 1, reason)
    assert bench.outcomes == {1: reason}


def test_a_key_without_a_route_is_turned_away(bench: GatewayBench) -> None:
    bench.routes(1).worker(9)
    assert [m for _, m in bench.sent] == [WorkerRefused("no running task has this key")]
    assert isinstance(bench.other[0], e.WorkerRejected)
    bench.submit(1)
    assert bench.outcomes == {1: "no_worker"}


def test_a_worker_of_another_version_or_service_is_turned_away(bench: GatewayBench) -> None:
    bench.routes(1)
    bench.happens(e.WorkerMessage(name(1), "key-1", WorkerBeat(99, "svc", 1, 0, 0)))
    bench.happens(e.WorkerMessage(name(1), "key-1", WorkerBeat(1, "other", 1, 0, 0)))
    reasons = [m.reason for _, m in bench.sent if isinstance(m, WorkerRefused)]
    assert "version" in reasons[0]
    assert "belongs to service 'svc', not 'other'" in reasons[1]


def test_a_connection_cannot_speak_for_another_key(bench: GatewayBench) -> None:
    bench.routes(1, 2).worker(1).submit(1).worker(2)
    bench.happens(e.WorkerMessage(name(1), "key-2", Failure(1, "bad_input")))
    assert bench.outcomes == {}
    assert bench.inferred(2) == [1]


def test_a_worker_that_connects_anew_replaces_its_old_connection(bench: GatewayBench) -> None:
    bench.routes(1, 2).worker(1).submit(1)
    bench.worker(2)
    beat = WorkerBeat(1, "svc", 2, 0, 0)
    bench.happens(e.WorkerMessage(b"new", "key-1", beat))
    assert name(1) not in bench.gateway.pool.workers
    assert bench.inferred(2) == [1]


def test_a_revoked_worker_may_finish_but_not_for_ever(bench: GatewayBench) -> None:
    bench.routes(1, 2).worker(1).worker(2).submit(1, 2)
    bench.happens(e.RoutesChanged({"svc": (route(2),)}))
    bench.submit(3)
    assert bench.inferred(1) == [1]
    bench.reply(1, 1)
    assert bench.outcomes == {1: "out"}
    bench.later(0.3)
    assert name(1) not in bench.gateway.pool.workers
    bench.happens(e.RoutesChanged({"svc": ()}))
    for _ in range(int(REVOKED_GRACE_S / 0.5) + 1):
        bench.later(0.5).worker(2)
    assert set(bench.outcomes.values()) == {"out", "worker_lost"}


def test_a_service_that_ends_is_unknown_and_forgotten(bench: GatewayBench) -> None:
    bench.routes(1).worker(1, capacity=1).submit(1, 2)
    bench.happens(e.RoutesChanged({}))
    bench.submit(3)
    assert bench.outcomes == {2: "no_worker", 3: "unknown_service"}
    bench.reply(1, 1).later(0.3)
    assert bench.outcomes[1] == "out"
    assert bench.gateway.queue.services == {}


def test_a_stopping_gateway_finishes_what_is_inside_then_refuses_it(bench: GatewayBench) -> None:
    bench.routes(1).worker(1, capacity=2).submit(1, 2)
    bench.happens(e.StopStarted())
    bench.submit(3).reply(1, 1)
    bench.happens(e.GraceOver())
    assert bench.outcomes == {1: "out", 2: "stopping", 3: "stopping"}
    assert bench.cancelled(1) == [2]


def test_a_claim_of_endless_capacity_is_capped(bench: GatewayBench) -> None:
    bench.routes(1).worker(1, capacity=10**9)
    assert bench.gateway.pool.workers[name(1)].capacity == 4096


def test_who_cannot_make_it_in_time_is_told_at_once() -> None:
    bench = GatewayBench(queue_limit=100).routes(1).worker(1, capacity=1)
    bench.submit(*range(20), within_s=60.0)
    for number in range(12):  # ten a second, measured under saturation
        bench.now_s += 0.1
        bench.reply(1, number)
    bench.submit(50, within_s=0.5).submit(51, within_s=5.0)
    assert bench.outcomes[50] == "too_slow"
    assert 51 not in bench.outcomes


def test_what_lies_in_workers_counts_by_their_measured_batches() -> None:
    bench = GatewayBench().routes(1).worker(1, capacity=4, batch_s=0.2, lone_s=0.1)
    bench.submit(1, 2, 3, within_s=0.45)  # 80 % of it is admitted
    assert bench.outcomes == {3: "too_slow"}, (
        "0.3 s for it and those ahead, and 0.1 s for the running one"
    )


def test_a_request_with_nothing_ahead_is_admitted_whatever_was_measured() -> None:
    bench = GatewayBench().routes(1).worker(1, capacity=4, batch_s=9.0, lone_s=9.0)
    assert bench.submit(1, within_s=0.5).inferred(1) == [1]


@pytest.mark.parametrize("batch_s", [float("nan"), float("inf"), -1.0])
def test_a_batch_time_that_is_none_is_unknown_or_capped(batch_s: float) -> None:
    bench = GatewayBench().routes(1).worker(1, capacity=4, batch_s=batch_s, lone_s=batch_s)
    bench.submit(1)
    assert 0 <= bench.gateway.pool.workers[name(1)].pace.batch_s <= 3600


def test_the_rate_counts_only_saturated_time() -> None:
    rate = ServiceRate()
    now_s = 0.0
    for _ in range(20):
        now_s += 0.1
        rate.finished(now_s, workers=1, saturated=True)
    rate.finished(now_s + 0.1, workers=1, saturated=False)
    rate.finished(now_s + 1000.0, workers=1, saturated=True)  # idle until now
    assert rate.worker_s() == pytest.approx(0.1, rel=0.01)


def test_answers_of_one_batch_share_the_time_since_the_last() -> None:
    rate = ServiceRate()
    for number in range(1, 11):
        for left in (3, 2, 1, 0):  # the queue is empty when the batch's last answer arrives
            rate.finished(number * 0.4, workers=2, saturated=number % 2 == 1 or left > 0)
    assert rate.worker_s() == pytest.approx(0.2, rel=0.01)


def test_a_rate_from_a_bad_moment_is_forgotten_when_nothing_confirms_it() -> None:
    rate = ServiceRate()
    for number in range(1, 12):
        rate.finished(number * 10.0, workers=1, saturated=True)
    assert rate.worker_s() == pytest.approx(10.0)
    for number in range(20):
        rate.finished(200.0 + number, workers=1, saturated=False)
    assert rate.worker_s() is None


def test_old_deadlines_do_not_pile_up() -> None:
    bench = GatewayBench().routes(1).worker(1)
    for number in range(10_000):
        bench.gateway.handle(e.Submitted(number, "svc", b"", bench.now_s + 60), bench.now_s)
        bench.reply(1, number)
    assert len(bench.gateway.queue._deadlines) < 5_000
