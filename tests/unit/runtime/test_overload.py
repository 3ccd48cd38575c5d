"""Overload on a virtual clock: gateway core and batchers with their default settings."""

import pytest

from support.programs.serving_clock import BatchSeconds, ServingClock

WITHIN_S = 0.5
SECONDS = 6.0


def per_input(count: int) -> float:
    return 0.011 * count


def per_batch(_: int) -> float:
    return 0.030


def gaining(count: int) -> float:
    return 0.020 + 0.001 * count


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("batch_s", [per_input, per_batch, gaining])
def test_twice_the_capacity_is_answered_at_capacity_in_time_and_the_rest_refused(
    batch_s: BatchSeconds, workers: int
) -> None:
    capacity_per_s = workers * max(n / batch_s(n) for n in (1, 2, 4, 8, 16, 32))
    clock = ServingClock(batch_s, workers)
    outcomes = clock.poisson(2 * capacity_per_s, SECONDS, WITHIN_S)
    answered_s = sorted(outcomes.answered_s)
    requests = len(answered_s) + sum(outcomes.refused.values())
    assert len(answered_s) >= 0.95 * capacity_per_s * SECONDS
    assert answered_s[int(0.99 * len(answered_s))] < WITHIN_S
    assert outcomes.refused.get("deadline", 0) <= 0.005 * requests


def test_below_capacity_none_is_refused() -> None:
    outcomes = ServingClock(per_input).poisson(0.7 / 0.011, SECONDS, WITHIN_S)
    assert outcomes.refused == {}
