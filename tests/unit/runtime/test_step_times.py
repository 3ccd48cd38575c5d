"""Step times of a rank: medians, waits for others, and the line that reports them."""

import json
from pathlib import Path

import pytest

from support.task_home import as_first_attempt
from wattline import task
from wattline.task import steps
from wattline.task.steps import WINDOW, StepTimes
from wattline_runtime.train.waits import MAX_OPEN, GpuWaits


def test_a_save_or_another_single_long_step_changes_no_median() -> None:
    times, at_s = StepTimes(), 0.0
    for step in range(WINDOW + 10):
        at_s += 30.0 if step == 15 else 1.0
        times.wait(0.25)
        times.end(step, at_s)
    found = times.summary()
    assert found == {"step": WINDOW + 9, "step_s": 1.0, "busy_s": 0.75, "count": WINDOW}


def test_steps_that_are_reported_now_and_then_count_in_even_parts() -> None:
    times = StepTimes()
    times.end(10, 5.0)
    times.wait(4.0)
    times.end(20, 25.0)
    times.end(20, 26.0)  # the same step again, with other metrics
    assert times.summary() == {"step": 20, "step_s": 2.0, "busy_s": 1.6, "count": 1}


def test_a_return_to_an_earlier_step_begins_again() -> None:
    times = StepTimes()
    for step, at_s in ((7, 0.0), (8, 1.0), (3, 50.0)):
        times.end(step, at_s)
    assert times.summary()["count"] == 0
    times.end(4, 52.0)
    assert times.summary() == {"step": 4, "step_s": 2.0, "busy_s": 2.0, "count": 1}


def test_the_line_of_a_metric_carries_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_first_attempt(tmp_path, monkeypatch)
    monkeypatch.setenv("RANK", "5")
    monkeypatch.setattr(steps, "_times", StepTimes())
    monkeypatch.setattr(steps, "_reported_s", -1.0)
    task.metric(step=1, loss=0.5)
    task.metric(step=float("nan"))
    task.metric(step=-2)
    with task.waiting():
        task.metric(step=2)  # too soon for another report
    lines = [json.loads(text) for text in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    (line,) = (one["rank"] for one in lines if "rank" in one)
    assert (line["rank"], line["step"], line["count"]) == (5, 1, 0)


class Mark:
    """An event of a GPU whose work takes `at_ms`."""

    def __init__(self, at_ms: float, *, is_reached: bool) -> None:
        self.at_ms, self.is_reached, self.is_recorded = at_ms, is_reached, False

    def record(self) -> None:
        self.is_recorded = True

    def query(self) -> bool:
        return self.is_reached

    def elapsed_time(self, end_event: "Mark") -> float:
        assert self.is_recorded
        assert end_event.is_recorded
        return end_event.at_ms - self.at_ms


def test_waits_on_a_gpu_count_once_the_gpu_has_come_to_their_end() -> None:
    later = Mark(900.0, is_reached=False)
    marks = iter([Mark(0.0, is_reached=True), Mark(250.0, is_reached=True)])
    waits = GpuWaits(lambda: next(marks))
    end = waits.begin()
    assert waits.take_s() == 0.0, "its end was not recorded yet"
    end()
    marks = iter([Mark(300.0, is_reached=True), later])
    waits.begin()()
    assert (waits.take_s(), waits.take_s()) == (0.25, 0.0)
    later.is_reached = True
    assert waits.take_s() == 0.6


def test_waits_without_an_end_do_not_add_up() -> None:
    waits = GpuWaits(lambda: Mark(0.0, is_reached=False))
    for _ in range(MAX_OPEN * 2):
        waits.begin()
    assert len(waits._open) == MAX_OPEN
