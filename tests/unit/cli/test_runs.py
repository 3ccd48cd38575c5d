"""Runs: what a command's options and seeds are, what differs between two, what may be shown."""

import re
from io import StringIO

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, RenderableType

from wattline.client.errors import Unavailable
from wattline.failures import ActFailed
from wattline.runs.acts import read_run
from wattline.runs.compare import Difference, EnergyPair, MetricPair, compare, settings
from wattline.runs.run import Run, options_of, run_of, seeds_of
from wattline.runs.show import comparison, detail
from wattline_protocol.ids import AttemptNo, GpuIndex, JobId, NodeId, TaskNo, TaskRef, UnixTime
from wattline_protocol.job.spec import ArraySpec, JobSpec, Resources
from wattline_protocol.views.site_views import AttemptView, JobView
from wattline_protocol.wire.bounds import CONTROL
from wattline_protocol.wire.task_order import TaskUsage
from wattline_protocol.wire.task_reports.checkpoints import SavedCheckpoint
from wattline_protocol.wire.task_reports.run_records import (
    Code,
    Curve,
    Inventory,
    Packages,
    Point,
    RunRecord,
    RunReport,
    packed,
)

SECRET = "hunter2-value-of-a-variable"
USAGE = TaskUsage(
    run_s=100.0, gpu_s=360.0, node_energy_mj=1_800_000_000, cap_gpu_s=300.0, cap_gpu_mj=90_000_000
)
CODE = Code("c0ffee", "main", "+x", 2, "d1", ("new.py",), 1)
PACKAGES = Packages("/venv/bin/python", "3.12.1", "s1", ("numpy==2.0", "torch==2.6"), 2)


def attempt(task: int, number: int) -> AttemptView:
    node, gpus = NodeId(f"n{task % 2 + 1}"), (GpuIndex(0), GpuIndex(1))
    times = UnixTime(1_000.0 + number), UnixTime(1_100.0 + number)
    return AttemptView(TaskNo(task), AttemptNo(number), "COMPLETED", node, gpus, *times, USAGE)


def job(*attempts: AttemptView, spec: JobSpec) -> JobView:
    values = {field.name: None for field in msgspec.structs.fields(JobView) if field.required}
    known = {"id": JobId(17), "name": "digits", "kind": "training", "owner": "ada"}
    return JobView(**{**values, **known, "attempts": attempts, "spec": spec})  # type: ignore[arg-type]


def record(report: RunReport, inventory: Inventory | None = None) -> RunRecord:
    ref = TaskRef(JobId(17), TaskNo(0), AttemptNo(1))
    found = inventory or Inventory(CODE, PACKAGES)
    return RunRecord(ref, packed(report), packed(found))


def run(*words: str, report: RunReport | None = None, inventory: Inventory | None = None) -> Run:
    spec = JobSpec("digits", ("python", "train.py", *words), env={"TOKEN": SECRET, "A": SECRET})
    made = report or RunReport(parameters={"lr": 0.1})
    return run_of(job(attempt(0, 1), spec=spec), 0, 1, record(made, inventory))


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (("--lr", "0.1", "--amp", "--wd=-1e-3"), {"--lr": "0.1", "--amp": "", "--wd": "-1e-3"}),
        (("--shift", "-2", "-v", "data.txt"), {"--shift": "-2"}),
        (("model.lr=3", "+data=/x=y", "out"), {"model.lr": "3", "+data": "/x=y"}),
        (("--lr", "1", "--lr", "2", "--"), {"--lr": "2"}),
    ],
)
def test_options_are_those_of_argparse_click_and_hydra(
    words: tuple[str, ...], options: dict[str, str]
) -> None:
    assert options_of(("python", *words)) == options


@given(st.lists(st.text(max_size=20), max_size=20))
def test_any_command_has_options_or_none(words: list[str]) -> None:
    options_of(words)


def test_seeds_are_recognised_by_a_word_of_their_name() -> None:
    options = {"--seed": "1", "--data-seed": "2", "--speed": "9", "seed_everything": "3"}
    found = seeds_of(options, {"torch_seed": 4, "seedling": 1, "lr": 0.1})
    assert found == {"--seed": "1", "--data-seed": "2", "seed_everything": "3", "torch_seed": 4}


def test_a_run_of_an_array_sums_its_gang() -> None:
    spec = JobSpec("a", ("x",), array=ArraySpec((3, 7)), resources=Resources(nodes=2))
    tries = [attempt(task, number) for task in range(4) for number in (1, 2)]
    found = run_of(job(*tries, spec=spec), 2, 2, None, "the record of 17.2#2 is on n1, which …")
    assert (found.run, found.index, found.nodes) == ("17.7#2", 7, ("n1", "n2"))
    assert (found.gpu_count, found.gpu_hours, found.energy_kwh) == (4, 0.2, 1.0)
    assert (found.mean_cap_w, found.ended_unix_s) == (300.0, 1_102.0)
    assert found.notes == ("the record of 17.2#2 is on n1, which …",)


def test_differences_are_listed_apart_from_what_is_the_same() -> None:
    curve = Curve("loss", 2, 0.1, 0.9, (Point(1, 0.9, 5.0), Point(2, 0.1, 6.0)))
    other = Inventory(CODE, Packages("/venv/bin/python", "3.12.1", "s2", ("numpy==2.1",), 1))
    a = run("--lr", "0.1", report=RunReport(parameters={"lr": 0.1}, curves=(curve,)))
    b = run("--lr", "0.2", report=RunReport(parameters={"lr": 0.1, "seed": 4}), inventory=other)
    found = compare(a, b)
    assert found.different[:2] == (
        Difference("command", "python train.py --lr 0.1", "python train.py --lr 0.2"),
        Difference("option --lr", "0.1", "0.2"),
    )
    assert {one.key: (one.a, one.b) for one in found.different[2:]} == {
        "packages": ("s1", "s2"),
        "package numpy": ("2.0", "2.1"),
        "package torch": ("2.6", None),
        "parameter seed": (None, 4),
    }
    assert {"commit", "diff", "parameter lr", "python", "gpus"} <= set(found.same)
    assert found.metrics == (MetricPair("loss", 0.1, None),)
    assert found.energy_kwh == EnergyPair(0.5, 0.5)
    same = compare(a, a)
    assert (same.different, set(same.same)) == ((), set(settings(a)))


def test_no_value_of_a_variable_is_in_a_run_or_a_comparison() -> None:
    one = run("--lr", "1")
    shown = msgspec.json.encode([one, compare(one, run()), settings(one)]).decode()
    assert SECRET not in shown
    assert one.env_names == ("A", "TOKEN")


def test_checkpoints_are_shown_with_their_sizes() -> None:
    saved = (SavedCheckpoint(1_000, 7 << 30, 41.0, UnixTime(0.0)),)
    one = run(report=RunReport(checkpoints=saved, dropped_checkpoints=3))
    text = shown(detail(one))
    assert "step 1000" in text
    assert "7 GiB" in text
    assert "note: 3 older checkpoints not listed: the newest 1 are" in text


def test_what_was_dropped_or_is_damaged_is_noted_once() -> None:
    report = RunReport(dropped_parameters=1, dropped_values=9, unread_bytes=70, inventory_note="x")
    notes = run(report=report, inventory=Inventory(notes=("no code: no git",))).notes
    assert notes == (
        "no code and packages: x",
        "1 parameter dropped: too many or too long",
        "9 values dropped, of metrics beyond the first 0",
        "70 bytes of metrics were not read: written too fast, or before a restart of the agent",
        "no code: no git",
    )
    broken = msgspec.structs.replace(record(RunReport()), inventory=b"x\x9c\0")
    spec = JobSpec("digits", ("python",))
    found = run_of(job(attempt(0, 1), spec=spec), 0, 1, broken)
    assert found.notes[0].startswith("code and packages are damaged: ")


class Site:
    """Answers as a client does, of one job."""

    def __init__(self, view: JobView, error: Exception | None = None) -> None:
        self._view, self._error = view, error

    def job(self, number: int) -> JobView:
        assert number == self._view.id
        return self._view

    def run_record(self, number: int, *, task: int, attempt: int) -> RunRecord:
        if self._error is not None:
            raise self._error
        return record(RunReport(parameters={"task": task, "attempt": attempt}))


def read(text: str, view: JobView, error: Exception | None = None) -> Run:
    return read_run(Site(view, error), text)  # type: ignore[arg-type]  # what it uses of a client


@pytest.mark.parametrize(
    ("text", "task", "number"), [("17.7", 2, 2), ("17.3#1", 0, 1), ("17.3", 0, 1)]
)
def test_a_run_is_named_by_job_index_and_attempt(text: str, task: int, number: int) -> None:
    spec = JobSpec("a", ("x",), array=ArraySpec((3, 7)), resources=Resources(nodes=2))
    tries = [attempt(0, 1), attempt(1, 1), attempt(2, 1), attempt(2, 2), attempt(3, 2)]
    found = read(text, job(*tries, spec=spec))
    assert found.parameters == {"task": task, "attempt": number}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("17#", "'17#' is no run: write 17, `last`, 12.7 for an index"),
        ("17.3", "job 17 is no array: write 17"),
        ("17#9", "there is no run 17#9: the newest attempt is 1"),
        ("1" * 19, "is no run"),
    ],
)
def test_what_names_no_run_is_refused_with_what_does(text: str, words: str) -> None:
    with pytest.raises(ActFailed, match=re.escape(words)):
        read(text, job(attempt(0, 1), spec=JobSpec("a", ("x",))))


def test_an_array_and_a_job_that_has_not_started_say_how() -> None:
    spec = JobSpec("a", ("x",), array=ArraySpec((3, 7)))
    with pytest.raises(ActFailed, match=r"job 17 is an array: write 17\.3 for one"):
        read("17", job(attempt(0, 1), spec=spec))
    with pytest.raises(ActFailed, match="run 17 has not started"):
        read("17", job(spec=JobSpec("a", ("x",))))


def test_a_run_whose_node_is_away_is_shown_without_its_record() -> None:
    view = job(attempt(0, 1), spec=JobSpec("a", ("python", "--lr", "1")))
    found = read("17", view, Unavailable("the record of 17.0#1 is on n1, which does not report"))
    assert (found.options, found.metrics) == ({"--lr": "1"}, ())
    assert found.notes == ("the record of 17.0#1 is on n1, which does not report",)


def shown(value: RenderableType) -> str:
    console = Console(width=100, file=StringIO())
    console.print(value)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]  # a StringIO


def test_packages_are_listed_by_name_only_where_both_runs_have_some() -> None:
    other = Inventory(CODE, Packages("/venv/bin/python", "3.12.1", "s2", ("numpy==2.1",), 1))
    both = shown(comparison(compare(run(), run(inventory=other))))
    assert ("package numpy" in both, "packages" in both) == (True, False)
    one = shown(comparison(compare(run(), run(inventory=Inventory(CODE, None)))))
    assert ("package numpy" in one, "packages" in one) == (False, True)


def test_what_a_task_forged_controls_no_terminal() -> None:
    bad = "a\x1b[2Jb\u202ec"
    curve = Curve(bad, 1, 0.0, 0.0, (Point(1, 0.0, 0.0),))
    forged = Inventory(
        Code(bad, bad, f"{bad}\n" * 99, 9, "", ("new.py",), 1),
        Packages("/bin/python", bad, bad, (bad,), 1),
        (bad,),
    )
    report = RunReport(parameters={bad: bad}, curves=(curve,), gpus=(bad,))
    one = run(bad, report=report, inventory=forged)
    for text in (shown(detail(one)), shown(comparison(compare(one, run())))):
        assert "b" in text
        assert not CONTROL.search(text.replace("\n", ""))
    assert "… 59 more lines" in shown(detail(one))
    worse = Inventory(Code(bad, untracked=(bad,)))
    (note,) = run(inventory=worse).notes
    assert note.endswith("a value is out of bounds at `$.code.untracked[0]`")
