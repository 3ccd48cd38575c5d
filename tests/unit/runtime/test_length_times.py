"""What waits is cut by length into the batches that take least time, as measured while running."""

from collections.abc import Callable
from itertools import count
from random import Random

import pytest

from support.programs.serving import batches, item, outputs
from wattline_runtime.serve import batcher as b
from wattline_runtime.serve.length_times import LengthTimes

BATCHES = 400
BUDGET = 32
Seconds = Callable[[int, int], float]
"""Of a batch, by its size and its longest input."""


def padded(size: int, longest: int) -> float:
    """An encoder of MiniLM's shape on one core."""
    return 0.007 + 0.0003 * size * longest


def stepwise(size: int, longest: int) -> float:
    """A decoder: as many steps as the longest needs, whatever their number."""
    return 0.001 * longest + 0.00001 * size


def fixed(size: int, longest: int) -> float:
    return 0.030


def rate(seconds: Seconds, *, users: int = 24, lengths: bool = True, noise: float = 0.1) -> float:
    """Answers a second of so many users in a closed loop."""
    random, numbers, now_s, done = Random(3), count(), 0.0, 0
    batcher = b.Batcher(budget=BUDGET, queue_limit=users)
    waited: dict[int, int] = {}

    def arrivals(number: int) -> b.Arrived:
        found = {next(numbers): round(1.3 * random.randint(5, 60)) for _ in range(number)}
        waited.update(found)
        return b.Arrived(tuple(item(n, length=lengths * size) for n, size in found.items()))

    effects = batcher.handle(arrivals(1), now_s)
    batcher.handle(arrivals(users - 1), now_s)
    for _ in range(BATCHES):
        [batch] = batches(effects)
        done += len(batch)
        longest = max(waited.pop(number) for number in batch)
        now_s += seconds(len(batch), longest) * random.lognormvariate(0.0, noise)
        effects = batcher.handle(outputs(len(batch)), now_s)
        effects += batcher.handle(arrivals(len(batch)), now_s)
    return done / now_s


def test_a_model_that_reads_padding_answers_more_when_it_tells_lengths() -> None:
    assert rate(padded) > 1.4 * rate(padded, lengths=False)
    assert rate(padded, noise=0.4) > 1.3 * rate(padded, lengths=False, noise=0.4)


@pytest.mark.parametrize("seconds", [stepwise, fixed])
def test_a_model_that_gains_by_batches_gets_large_ones(seconds: Seconds) -> None:
    assert rate(seconds) > 0.9 * rate(seconds, lengths=False)


def test_the_oldest_is_in_every_batch() -> None:
    batcher = b.Batcher(budget=BUDGET, queue_limit=99)
    for size in (1, 2, 4, 8):
        for length in (10, 80):
            batcher.times.note(size, size, length, padded(size, length), 0.0)
    batcher.handle(b.Arrived((item(0, length=9),)), 0.0)
    lengths = {1: 78, 2: 6, 3: 7, 4: 6, 5: 75, 6: 7}
    batcher.handle(b.Arrived(tuple(item(n, length=s) for n, s in lengths.items())), 0.0)
    assert batches(batcher.handle(outputs(1), 1.0)) == [[5, 1]]
    assert batches(batcher.handle(outputs(2), 2.0)) == [[2, 4, 3, 6]]


def test_a_batch_costs_no_more_than_the_budget() -> None:
    times = LengthTimes()
    times.note(1, 10, 1.0)
    sizes = [(10, 3), (11, 3), (12, 3), (13, 9)]
    for oldest, (first, last) in enumerate([(0, 0), (1, 2), (1, 2), (3, 3)]):
        assert times.best_run(sizes, oldest, 6) == (first, last)


def test_sizes_that_recent_batches_do_not_have_are_tried() -> None:
    times = LengthTimes()
    for _ in range(16):
        times.note(8, 50, 1.0)
    run = times.best_run([(50 + n, 1) for n in range(8)], 0, BUDGET)
    assert run is not None
    assert run[1] - run[0] + 1 == 2

    for _ in range(16):
        times.note(1, 50, 1.0)
        times.note(1, 25, 0.5)
    run = times.best_run([(50 + 10 * n, 1) for n in range(8)], 0, BUDGET)
    assert run is not None
    assert run[1] - run[0] + 1 > 1


def test_a_new_pace_is_followed_within_five_batches() -> None:
    times = LengthTimes()
    for n in range(50):
        times.note(1 + n % 8, 10 + n % 7, 0.001 * (1 + n % 8) * (10 + n % 7))
        times.parts()
    times.note(4, 10, 10.0)
    assert times.expected_s(4, 10) == pytest.approx(0.040, rel=0.2)
    for n in range(5):
        times.note(4, 10 + n, 0.003 * 4 * (10 + n))
    assert times.expected_s(4, 12) == pytest.approx(0.144, rel=0.2)


def test_batches_shorter_than_the_search_are_not_cut() -> None:
    times = LengthTimes()
    times.note(4, 10, 0.0001)
    assert times.best_run([(1, 1), (90, 1)], 0, BUDGET) is None
