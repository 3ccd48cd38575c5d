"""The warm-up of a model, and batches that its memory does not suffice for."""

from typing import ClassVar

import pytest

from support.programs.serving import answers, batches, item, outputs
from wattline_runtime.serve import batcher as b
from wattline_runtime.serve.batch_times import BatchTimes
from wattline_runtime.serve.model import ModelOutOfMemory, run_batch
from wattline_runtime.serve.warm_up import WarmUpFailed, warm_up


class Small:
    """Fits `most` inputs into its memory, and notes its batches."""

    def __init__(self, most: int = 1000) -> None:
        self.most = most
        self.seen: list[int] = []

    def load(self, args: object) -> None: ...

    def example(self) -> list[object]:
        return [1, 2, 3]

    def predict(self, batch: list[object]) -> list[object]:
        if len(batch) > self.most:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        self.seen.append(len(batch))
        return batch


def test_examples_run_in_batches_of_the_sizes_to_come() -> None:
    model = Small()
    found = warm_up(model, 8)
    assert model.seen == [1, 1, 2, 2, 4, 4, 8, 8]
    assert [(run.count, run.cost) for run in found.runs] == [(1, 1), (2, 2), (4, 4), (8, 8)]
    assert found.fits is None


class Long(Small):
    """Reads padding: the time of a batch follows its size and its longest input."""

    def example(self) -> list[object]:
        return ["a" * length for length in (9, 60, 5, 50, 8, 55, 6, 7)]

    def length(self, text: str) -> int:
        return len(text)


def test_examples_of_both_ends_show_what_padding_costs() -> None:
    found = warm_up(Long(), 8)
    sizes = [(run.count, run.length) for run in found.runs]
    assert sizes == [(1, 60), (1, 5), (2, 60), (2, 6), (4, 60), (4, 8), (8, 60)]
    times = BatchTimes()
    for count, length in sizes:
        times.note(count, count, length, 0.01 + 0.0003 * count * length, 0.0)
    waiting = [(length, 1) for length in range(5, 61)]
    first, last = times.by_length.best_run(waiting, 30, 32) or (0, 0)
    assert last - first < 16, "the first batches already are of like lengths"


def test_the_largest_batch_that_fits_is_found() -> None:
    found = warm_up(Small(most=5), 32)
    assert (found.fits, len(found.runs)) == (4, 3)
    with pytest.raises(WarmUpFailed, match="a single example"):
        warm_up(Small(most=0), 32)


class Wrong(Small):
    def predict(self, batch: list[object]) -> list[object]:
        if len(batch) == 2:
            raise ValueError("two is not my number")
        return batch


class Short(Small):
    def predict(self, batch: list[object]) -> list[object]:
        return batch[:1]


def test_a_warm_up_that_fails_says_what_the_model_raised() -> None:
    with pytest.raises(ValueError, match="two is not my number"):
        warm_up(Wrong(), 8)
    with pytest.raises(WarmUpFailed, match="with 2 examples: model_error: the model returned 1"):
        warm_up(Short(), 8)


class Texts:
    def load(self, args: object) -> None: ...

    def example(self) -> list[object]:
        return ["a", "b"]

    def embed(self, texts: list[str]) -> list[list[float]]:
        return [[float(len(texts))] for _ in texts]


class Talker(Texts):
    embed = None  # type: ignore[assignment]
    asked: ClassVar[list[object]] = []

    def chat(self, request: object) -> list[str]:
        self.asked.append(request)
        return ["x"]


def test_models_of_other_methods_warm_up_too() -> None:
    assert [run.count for run in warm_up(Texts(), 4).runs] == [1, 2, 4]
    assert warm_up(Talker(), 4).runs == ()
    assert Talker.asked == ["a", "b"]


def test_running_out_of_memory_is_no_answer() -> None:
    with pytest.raises(ModelOutOfMemory):
        run_batch(Small(most=0), [1])


def test_a_batch_that_does_not_fit_is_halved_and_the_size_remembered() -> None:
    batcher = b.Batcher(budget=8, queue_limit=100)
    batcher.handle(b.Arrived((item(0),)), 0.0)
    batcher.handle(b.Arrived(tuple(item(n) for n in range(1, 9))), 0.0)
    assert batches(batcher.handle(outputs(1), 0.0)) == [[1, 2, 3, 4, 5, 6, 7, 8]]
    batcher.handle(b.Cancelled(b.Key(1, 2)), 0.0)
    halved = batcher.handle(b.OutOfMemory(), 0.0)
    assert answers(halved) == {2: "cancelled"}
    assert batches(halved) == [[1, 3, 4, 5]]
    batcher.check_invariants()
    assert batcher.budget == 4
    assert batches(batcher.handle(outputs(4), 0.0)) == [[6, 7, 8]]


def test_an_input_that_does_not_fit_alone_fails() -> None:
    batcher = b.Batcher(budget=8, queue_limit=100)
    batcher.handle(b.Arrived((item(1, cost=6),)), 0.0)
    assert answers(batcher.handle(b.OutOfMemory(), 0.0)) == {1: "model_error"}
    assert batcher.budget == 8
