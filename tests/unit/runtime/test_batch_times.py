"""Measured batch times: what is late, how a batch is cut, how much a worker holds."""

import pytest

from support.programs.serving import answers, batches, item, outputs
from wattline_runtime.serve import batcher as b
from wattline_runtime.serve.batch_times import (
    FORGET_S,
    SHORTEST_LIMIT_S,
    UNMEASURED_LIMIT_S,
    UNMEASURED_WINDOW,
    BatchTimes,
)


def measured(seconds: dict[int, float]) -> BatchTimes:
    times = BatchTimes()
    for cost, took_s in seconds.items():
        times.note(cost, cost, 0, took_s, 0.0)
    return times


def busy(times: BatchTimes, *items: b.Item) -> b.Batcher:
    """A batcher that runs item 0 since second 0, and holds `items`."""
    batcher = b.Batcher(budget=4, queue_limit=100, times=times)
    batcher.handle(b.Arrived((item(0),)), 0.0)
    batcher.handle(b.Arrived(items), 0.0)
    return batcher


def test_an_item_that_the_measured_time_makes_late_is_not_started() -> None:
    batcher = busy(measured({1: 1.0}), item(1, deadline_s=1.9), item(2, deadline_s=2.1))
    ended = batcher.handle(outputs(1), 1.0)
    assert answers(ended) == {0: "output", 1: "expired"}
    assert batches(ended) == [[2]]


def test_where_all_would_be_late_one_shows_whether_the_time_still_holds() -> None:
    late = [item(n, deadline_s=1.0 + n / 10) for n in (1, 2, 3)]
    batcher = busy(measured({1: 60.0}), *late)
    ended = batcher.handle(outputs(1), 1.0)
    assert answers(ended) == {0: "output", 1: "expired", 2: "expired"}
    assert batches(ended) == [[3]]


def test_a_batch_is_cut_until_it_ends_in_time() -> None:
    times = measured({1: 1.0, 2: 2.0, 4: 4.0})
    batcher = busy(times, *(item(n, deadline_s=3.5) for n in (1, 2, 3, 4)))
    assert batches(batcher.handle(outputs(1), 1.0)) == [[1, 2]]


def test_one_slow_batch_does_not_move_what_is_expected() -> None:
    times = measured({1: 5.0})
    for _ in range(3):
        times.note(1, 1, 0, 0.1, 0.0)
    assert times.expected_s(1) == pytest.approx(0.1)


def test_a_group_that_is_not_measured_again_is_forgotten() -> None:
    times = measured({1: 0.1, 8: 60.0})
    times.note(1, 1, 0, 0.1, FORGET_S + 1)
    assert times.expected_s(8) == pytest.approx(0.1)


def test_a_worker_holds_two_batches_of_an_efficient_size() -> None:
    assert BatchTimes().window(32) == UNMEASURED_WINDOW
    by_input = measured({1: 0.1, 2: 0.2, 4: 0.4})
    assert by_input.window(32) == 4, "larger batches gain nothing"
    by_batch = measured({1: 0.1, 2: 0.1, 4: 0.1})
    assert by_batch.window(32) == 16, "the next larger size has not been tried"
    assert by_batch.window(4) == 8


def test_a_fast_model_has_work_for_the_way_to_the_gateway_and_back() -> None:
    assert measured({1: 0.0001}).window(32) == 100


def test_a_window_counts_requests_not_cost() -> None:
    times = BatchTimes()
    times.note(40, 4, 0, 1.0, 0.0)
    assert times.window(64) == 13


def test_a_batch_hangs_after_eight_times_the_p99_at_least_ten_seconds() -> None:
    assert BatchTimes().limit_s() == UNMEASURED_LIMIT_S
    times = measured({1: 0.1})
    assert times.limit_s() == SHORTEST_LIMIT_S
    for _ in range(100):
        times.note(1, 1, 0, 2.0, 0.0)
    times.note(1, 1, 0, 100.0, 0.0)
    assert times.limit_s() == 16.0
