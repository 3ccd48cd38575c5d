"""The history of a run in bounded memory: thinned, counted, and small enough for a message."""

import json
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattline_agent.executor.metrics import MAX_BYTES_PER_LOOK, MetricsTail
from wattline_agent.executor.run_record.curves import RunHistory, Thinned
from wattline_protocol.wire.task_reports.run_records import (
    MAX_CHECKPOINTS,
    MAX_CURVES,
    MAX_PARAMETERS,
    MAX_PART_BYTES,
    MAX_POINTS,
    BadRecord,
    inventory_in,
    report_in,
)


@given(st.integers(1, 5_000))
def test_the_first_the_last_and_every_2_to_the_kth_value_remain(count: int) -> None:
    thinned = Thinned()
    for number in range(count):
        thinned.add(float(number), float(-number), 0.0)
    curve = thinned.curve("loss")
    steps = [point.step for point in curve.points]
    assert (curve.count, curve.lowest, curve.highest) == (count, 1.0 - count, 0.0)
    assert (steps[0], steps[-1]) == (0, count - 1)
    assert min(count, MAX_POINTS // 2) <= len(steps) <= MAX_POINTS + 1
    stride = 1 if len(steps) < 2 else int(steps[1])
    assert stride & (stride - 1) == 0
    assert steps[:-1] == [float(number) for number in range(0, count - 1, stride)]


def test_values_of_one_report_share_its_step_and_others_are_numbered() -> None:
    history = RunHistory()
    history.add({"step": 10.0, "loss": 0.5, "rate": 2.0}, 5.0)
    history.add({"loss": 0.4}, 6.0)
    history.add({"step": 12.0}, 7.0)
    curves = {curve.name: curve for curve in report_in(history.part()).curves}
    assert [point.step for point in curves["loss"].points] == [10, 2]
    assert [point.value for point in curves["step"].points] == [12]
    assert curves["rate"].points[0].unix_s == 5.0


def test_metrics_and_parameters_without_end_are_bounded_and_counted() -> None:
    history, dice = RunHistory(), random.Random(1)
    for number in range(2 * MAX_CURVES):
        for step in range(300):
            history.add({"step": float(step), f"m{number}": dice.random()}, dice.random() * 1e9)
    for number in range(2 * MAX_PARAMETERS):
        history.set(f"p{number}", "".join(chr(dice.randrange(0x4E00, 0x9FA5)) for _ in range(999)))
    data = history.part(("H100",) * 8)
    report = report_in(data)
    assert len(data) <= MAX_PART_BYTES
    assert (len(report.curves), report.dropped_values) == (MAX_CURVES, MAX_CURVES * 300)
    assert all(curve.count == 300 for curve in report.curves)
    assert len(report.parameters) + report.dropped_parameters == 2 * MAX_PARAMETERS
    assert report.parameters


def test_what_is_written_faster_than_it_is_read_is_counted(tmp_path: Path) -> None:
    file = tmp_path / "metrics"
    tail = MetricsTail(str(file))
    lines = "".join(json.dumps({"metrics": {"step": n, "loss": 1.0}}) + "\n" for n in range(20_000))
    file.write_text(lines)
    tail.poll()
    read = tail.history.curves["loss"]
    per_line = len(lines) / 20_000
    assert len(lines) > 2 * MAX_BYTES_PER_LOOK
    assert (tail.latest["step"], read.last[0]) == (19_999, 19_999)
    assert abs(tail.history.unread_bytes + read.count * per_line - len(lines)) < 2_000


@settings(max_examples=25)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=6), st.integers(0, 5))
def test_an_agent_that_follows_continues_the_history(counts: list[int], restart: int) -> None:
    """Whatever it finds in the file again is not counted twice."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "metrics"
        throughout, tail, step = MetricsTail(str(file)), MetricsTail(str(file)), 0
        for number, count in enumerate(counts):
            with file.open("a") as opened:
                for _ in range(count):
                    step += 1
                    opened.write(json.dumps({"metrics": {"step": step, "loss": 1 / step}}) + "\n")
                opened.write('{"metrics": {"step": ')  # the rest of the line comes with the next
            for one in (throughout, tail):
                one.poll()
            if number == restart:
                stored = RunHistory.of(report_in(tail.history.part()))
                tail = MetricsTail(str(file), history=stored)
                tail.poll()
            with file.open("a") as opened:
                opened.write(f'{step + 0.5}, "loss": 0}}}}\n')
        for one in (throughout, tail):
            one.poll()
        assert tail.history == throughout.history
        assert tail.latest == throughout.latest


def saved(step: int) -> str:
    line = {"wattline": "checkpoint", "step": step, "bytes": 5, "save_s": 1.5, "unix_s": 9.0}
    return json.dumps(line) + "\n"


def test_the_newest_checkpoints_are_on_record_and_older_ones_counted(tmp_path: Path) -> None:
    file = tmp_path / "metrics"
    file.write_text(saved(1))
    tail = MetricsTail(str(file))
    for step in range(2, MAX_CHECKPOINTS + 4):
        tail.poll()
        with file.open("a") as opened:
            opened.write(saved(step))
    follower = MetricsTail(str(file), history=RunHistory.of(report_in(tail.history.part())))
    for one in (tail, follower):
        one.poll()
        report = report_in(one.history.part())
        assert [found.step for found in report.checkpoints] == [*range(4, MAX_CHECKPOINTS + 4)]
        assert report.dropped_checkpoints == 3
        assert (report.checkpoints[0].bytes, report.checkpoints[0].save_s) == (5, 1.5)


def test_a_checkpoint_out_of_bounds_is_not_on_record(tmp_path: Path) -> None:
    file = tmp_path / "metrics"
    file.write_text(saved(-1) + saved(2**70) + saved(7))
    tail = MetricsTail(str(file))
    tail.poll()
    assert [one.step for one in report_in(tail.history.part()).checkpoints] == [7]


def test_a_file_that_began_again_is_read_from_its_beginning(tmp_path: Path) -> None:
    file = tmp_path / "metrics"
    file.write_text('{"metrics": {"loss": 3}}\n' * 3)
    tail = MetricsTail(str(file))
    tail.poll()
    file.write_text('{"metrics": {"loss": 2}}\n')
    tail.poll()
    assert (tail.history.curves["loss"].count, tail.history.unread_bytes) == (4, 0)


@pytest.mark.parametrize(
    "values",
    [
        {"a": "x\x1b[31m" + "y" * 9_999, "b\u202e": 1, "c": [1], "d": None, "e": 1e400},
        ["a"],
        {"f": float("inf"), "a": 10**400, "g" * 1_000: 1},
    ],
)
def test_parameters_out_of_bounds_are_cut_or_left_out(tmp_path: Path, values: object) -> None:
    file = tmp_path / "metrics"
    file.write_text(json.dumps({"wattline": "parameters", "values": values}) + "\n")
    tail = MetricsTail(str(file))
    tail.poll()
    parameters = report_in(tail.history.part()).parameters
    assert set(parameters) <= {"a"}
    assert all(len(str(one)) <= 500 and str(one).isprintable() for one in parameters.values())


@pytest.mark.parametrize(
    "part", [b"", b"\0", RunHistory().part()[:-3], bytes(100), b"x\x9c" * 9_000]
)
def test_a_damaged_part_is_refused(part: bytes) -> None:
    for read in (report_in, inventory_in):
        with pytest.raises(BadRecord):
            read(part)
