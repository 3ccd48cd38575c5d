"""Runs a model's examples before its worker is ready, in batches of the sizes that it will see.

The first requests then meet a model that is compiled and whose batch times are known. A model that
fails here never gets a request: its worker ends with the error.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice

from wattline_runtime.serve.batcher import Failed
from wattline_runtime.serve.model import (
    Embedding,
    Model,
    ModelOutOfMemory,
    ModelRaised,
    free_memory,
    inference_mode,
    measure,
    offered,
    outcomes_of,
)
from wattline_runtime.wire import EMBED, PREDICT


class WarmUpFailed(Exception):
    """The model gives no valid output for its own examples."""


@dataclass(frozen=True, slots=True)
class Run:
    """A batch of the warm-up."""

    cost: int
    count: int
    length: int
    seconds: float


@dataclass(frozen=True, slots=True)
class WarmUp:
    """What the warm-up showed."""

    runs: tuple[Run, ...] = ()
    fits: int | None = None
    """Largest cost that fits into memory; None: all that were tried."""


def warm_up(model: Model, max_cost: int) -> WarmUp:
    """Run batches of 1, 2, 4 … examples up to `max_cost`: of the longest ones, then of the shortest
    ones if these are much shorter, since only both show what padding costs. Each runs twice: the
    first run of a size may compile. Raises WarmUpFailed, and what the model raises."""
    values = _examples(model)
    longest = sorted(values, key=lambda value: measure(model, value)[1], reverse=True)
    runs: list[Run] = []
    count = 1
    while values:
        batch = list(islice(cycle(longest), count))
        short = list(islice(cycle(reversed(longest)), count))
        cost = _size(model, batch)[0]
        if runs and cost > max_cost:
            break
        try:
            runs.append(_timed(model, batch))
            short_cost, length = _size(model, short)
            if 2 * length < runs[-1].length and short_cost <= max_cost:
                runs.append(_timed(model, short))
        except ModelOutOfMemory as error:
            free_memory()
            if not runs:
                raise WarmUpFailed("warm-up: out of memory for a single example") from error
            return WarmUp(tuple(runs), max(run.cost for run in runs))
        count *= 2
    return WarmUp(tuple(runs))


def _timed(model: Model, batch: Sequence[object]) -> Run:
    _run(model, batch)
    begin_s = time.monotonic()
    _run(model, batch)
    seconds = time.monotonic() - begin_s
    cost, length = _size(model, batch)
    return Run(cost, len(batch), length, seconds)


def _size(model: Model, batch: Sequence[object]) -> tuple[int, int]:
    """Cost, and the longest length."""
    sizes = [measure(model, value) for value in batch]
    return sum(cost for cost, _ in sizes), max(length for _, length in sizes)


def _examples(model: Model) -> list[object]:
    example = getattr(model, "example", None)
    if example is None:
        return []
    methods, values = offered(model), list(example())
    if PREDICT in methods:
        return values
    if EMBED in methods:
        return [Embedding({"input": text}, [text]) for text in values]
    for request in values:
        with inference_mode():
            pieces = getattr(model, methods[0])(request)
            for _ in (pieces,) if isinstance(pieces, str) else pieces:
                pass
    return []


def _run(model: Model, batch: Sequence[object]) -> None:
    try:
        outcomes = outcomes_of(model, list(batch))
    except ModelRaised as raised:
        raise raised.error from None
    failed = [outcomes] if isinstance(outcomes, Failed) else outcomes
    for outcome in failed:
        if isinstance(outcome, Failed):
            text = f"warm-up with {len(batch)} examples: {outcome.reason}: {outcome.detail}"
            raise WarmUpFailed(text)
