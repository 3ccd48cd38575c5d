"""A job's own progress corrects how much a cap is taken to slow it."""

import random

import pytest

from wattline_protocol.ids import Instant
from wattline_scheduler.power.demand.cap_slowdown import (
    MAX_STEEPNESS,
    MIN_STEEPNESS,
    Progress,
    corrected_permille,
    progress_name,
)

KEPT = 0.8


class Training:
    """A job that reports a count or a rate; under a cap it performs at `performance` ** s."""

    def __init__(self, name: str, steepness: float, *, step_s: float = 1.0) -> None:
        self.progress = Progress(name)
        self.steepness = steepness
        self.step_s = step_s
        self.done = 0.0
        self.at = 0.0
        self.rng = random.Random(7)
        self.seen: list[float] = []

    def run(self, seconds: int, performance: float, *, stalled: bool = False) -> None:
        speed = 0.0 if stalled else performance**self.steepness
        for _ in range(seconds):
            self.at += 1.0
            self.done += speed / self.step_s
            is_rate = self.progress.name.endswith("_per_s")
            noisy = 40 * speed * self.rng.uniform(0.95, 1.05)
            seen = self.progress.watch(
                noisy if is_rate else float(int(self.done)), performance, Instant(self.at)
            )
            if seen is not None:
                self.seen.append(seen)


@pytest.mark.parametrize("name", ["step", "steps_per_s"])
@pytest.mark.parametrize("steepness", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("step_s", [0.3, 1.0, 7.0])
def test_the_steepness_is_found(name: str, steepness: float, step_s: float) -> None:
    training = Training(name, steepness, step_s=step_s)
    training.run(300, 1.0)
    training.run(600, KEPT)
    assert training.seen
    assert sum(training.seen) / len(training.seen) == pytest.approx(steepness, abs=0.15)


def test_nothing_is_said_before_the_job_was_seen_without_a_cap() -> None:
    training = Training("step", 2.0)
    training.run(600, KEPT)
    assert training.seen == []


def test_a_cap_that_changes_starts_the_window_anew() -> None:
    training = Training("step", 2.0)
    training.run(300, 1.0)
    for _ in range(20):
        training.run(30, 0.7)
        training.run(30, 0.9)
    assert training.seen == []


def test_a_cap_that_hardly_matters_says_nothing() -> None:
    training = Training("step", 2.0)
    training.run(300, 1.0)
    training.run(600, 0.98)
    assert training.seen == []


def test_a_job_that_waits_for_something_else_says_nothing() -> None:
    training = Training("step", 1.0)
    training.run(300, 1.0)
    for _ in range(10):
        training.run(10, KEPT)
        training.run(120, KEPT, stalled=True)
    assert training.seen == []


def test_a_counter_that_jumps_back_starts_anew() -> None:
    training = Training("step", 1.0)
    training.run(300, 1.0)
    for _ in range(10):
        training.run(50, KEPT)
        training.done = 0.0  # back to its checkpoint
    assert training.seen == []


def test_a_reset_forgets_the_window_and_keeps_the_rate_without_a_cap() -> None:
    training = Training("step", 1.0)
    training.run(300, 1.0)
    rate = training.progress.free_rate
    training.run(50, KEPT)
    training.progress.reset()
    training.run(50, KEPT)
    assert training.seen == []
    assert training.progress.free_rate == rate == pytest.approx(1.0, rel=0.05)


def test_the_correction_moves_slowly_and_within_bounds() -> None:
    assert corrected_permille(1_000, 2.0) == 1_200
    steep = gentle = 1_000
    for _ in range(100):
        steep, gentle = corrected_permille(steep, 100.0), corrected_permille(gentle, 0.0)
    assert (steep, gentle) == (MAX_STEEPNESS, MIN_STEEPNESS)


def test_which_metric_counts() -> None:
    assert progress_name({"loss": 1.0, "step": 5.0, "samples_per_s": 9.0}, "") == "samples_per_s"
    assert progress_name({"loss": 1.0, "step": 5.0}, "") == "step"
    assert progress_name({"loss": 1.0}, "") == ""
    assert progress_name({"loss": 1.0, "files": 5.0}, "files") == "files"
    assert progress_name({"step": 5.0}, "files") == ""


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf"), 1e308])
@pytest.mark.parametrize("name", ["step", "steps_per_s"])
def test_a_metric_that_is_no_number_teaches_nothing_and_breaks_nothing(
    name: str, odd: float
) -> None:
    progress = Progress(name)
    seen = []
    for second in range(600):
        value = odd if second % 2 else -odd
        seen.append(progress.watch(value, 1.0 if second < 300 else KEPT, Instant(float(second))))
    assert set(seen) <= {None}


def test_a_cap_of_nothing_teaches_nothing() -> None:
    training = Training("steps_per_s", 1.0)
    training.run(300, 1.0)
    for second in range(300, 600):
        assert training.progress.watch(40.0, 0.0, Instant(float(second))) is None
