"""The worker's batching policy."""

import pytest

from support.programs.serving import answers, batches, item, outputs
from wattline_runtime.serve import batcher as b


@pytest.fixture
def batcher() -> b.Batcher:
    return b.Batcher(budget=4, queue_limit=100)


def arrive(batcher: b.Batcher, *items: b.Item, now_s: float = 0.0) -> list[b.Effect]:
    return batcher.handle(b.Arrived(items), now_s)


def test_a_lone_request_runs_at_once(batcher: b.Batcher) -> None:
    assert batches(arrive(batcher, item(1))) == [[1]]


def test_while_the_model_is_busy_requests_gather_and_then_share_a_batch(
    batcher: b.Batcher,
) -> None:
    arrive(batcher, item(1))
    assert arrive(batcher, item(2)) == arrive(batcher, item(3)) == []
    ended = batcher.handle(outputs(1), 0.0)
    assert answers(ended) == {1: "output"}
    assert batches(ended) == [[2, 3]]


def test_a_batch_is_ordered_by_length_around_the_oldest(batcher: b.Batcher) -> None:
    arrive(batcher, item(0))
    lengths = {1: 50, 2: 400, 3: 49, 4: 52, 5: 500, 6: 48}
    arrive(batcher, *(item(n, length=length) for n, length in lengths.items()))
    assert batches(batcher.handle(outputs(1), 0.0)) == [[6, 3, 1, 4]]
    assert batches(batcher.handle(outputs(4), 0.0)) == [[2, 5]]


def test_the_budget_counts_cost_not_requests(batcher: b.Batcher) -> None:
    arrive(batcher, item(0))
    arrive(batcher, item(1, cost=3), item(2, cost=2), item(3, cost=1))
    assert batches(batcher.handle(outputs(1), 0.0)) == [[1]]
    assert batches(batcher.handle(outputs(1), 0.0)) == [[2, 3]]


def test_an_item_over_the_budget_runs_alone(batcher: b.Batcher) -> None:
    arrive(batcher, item(0))
    arrive(batcher, item(1, cost=99), item(2))
    assert batches(batcher.handle(outputs(1), 0.0)) == [[1]]


def test_an_expired_request_never_reaches_the_model(batcher: b.Batcher) -> None:
    arrive(batcher, item(1))
    arrive(batcher, item(2, deadline_s=5.0), item(3))
    ended = batcher.handle(outputs(1), 5.0)
    assert answers(ended) == {1: "output", 2: "expired"}
    assert batches(ended) == [[3]]


def test_a_cancelled_request_frees_its_place_at_once(batcher: b.Batcher) -> None:
    arrive(batcher, item(1))
    arrive(batcher, item(2))
    assert answers(batcher.handle(b.Cancelled(b.Key(1, 2)), 0.0)) == {2: "cancelled"}
    assert batches(batcher.handle(outputs(1), 0.0)) == []


def test_a_request_cancelled_while_running_is_answered_at_the_batchs_end(
    batcher: b.Batcher,
) -> None:
    arrive(batcher, item(1))
    assert batcher.handle(b.Cancelled(b.Key(1, 1)), 0.0) == []
    assert answers(batcher.handle(outputs(1), 0.0)) == {1: "cancelled"}
    assert batcher.handle(b.Cancelled(b.Key(1, 1)), 0.0) == []


def test_the_queue_is_bounded() -> None:
    batcher = b.Batcher(budget=1, queue_limit=2)
    arrive(batcher, item(0))
    assert answers(arrive(batcher, item(1), item(2), item(3))) == {3: "overloaded"}


def test_a_repeated_request_is_taken_once(batcher: b.Batcher) -> None:
    arrive(batcher, item(1))
    arrive(batcher, item(1), item(2), item(2))
    assert batches(batcher.handle(outputs(1), 0.0)) == [[2]]


def test_a_batch_that_breaks_is_run_again_one_by_one(batcher: b.Batcher) -> None:
    arrive(batcher, item(0))
    arrive(batcher, item(1), item(2))
    batcher.handle(outputs(1), 0.0)
    broke = b.BatchBroke(b.Failed("model_error", "boom"))
    assert batches(batcher.handle(broke, 0.0)) == [[1]]
    arrive(batcher, item(3))
    ended = batcher.handle(broke, 0.0)
    assert (answers(ended), batches(ended)) == ({1: "model_error"}, [[2]])
    ended = batcher.handle(outputs(1), 0.0)
    assert (answers(ended), batches(ended)) == ({2: "output"}, [[3]])


def test_a_lost_gateways_requests_are_dropped(batcher: b.Batcher) -> None:
    arrive(batcher, item(1))
    other = b.Item(b.Key(2, 9), 1e9, 1, 0, "of another gateway")
    arrive(batcher, item(2), other)
    batcher.handle(b.GatewayLost(1), 0.0)
    ended = batcher.handle(outputs(1), 0.0)
    assert answers(ended) == {1: "cancelled"}
    assert batches(ended) == [[9]]


def test_draining_finishes_what_is_here_and_hands_back_the_rest(batcher: b.Batcher) -> None:
    arrive(batcher, item(1))
    arrive(batcher, item(2))
    batcher.handle(b.DrainStarted(), 0.0)
    assert answers(arrive(batcher, item(3))) == {3: "draining"}
    assert batches(batcher.handle(outputs(1), 0.0)) == [[2]]
    assert answers(batcher.handle(b.GraceOver(), 9.0)) == {2: "draining"}
    assert batcher.handle(outputs(1), 9.5) == []
    assert (batcher.queued, batcher.running) == (0, 0)


def test_a_batch_is_no_older_for_the_time_in_which_its_process_was_frozen(
    batcher: b.Batcher,
) -> None:
    arrive(batcher, item(1))
    batcher.handle(b.WasFrozen(60.0), 61.0)
    assert batcher.batch_age_s(61.0) == 1.0


def test_a_hung_model_keeps_its_batch_and_the_rest_is_handed_back(batcher: b.Batcher) -> None:
    arrive(batcher, item(1))
    arrive(batcher, item(2), now_s=3.0)
    assert batcher.batch_age_s(5.0) == 5.0
    assert answers(batcher.handle(b.ModelHung(), 5.0)) == {2: "draining"}
    assert answers(arrive(batcher, item(3), now_s=6.0)) == {3: "draining"}
