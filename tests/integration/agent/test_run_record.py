"""The record of a run under a real keeper: what a program reports, and what is found beside it."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from support.node.keepers import CONTEXT, LiveKeeper, keeper, order, ref, shell
from support.node.simnode import wait_until
from wattline_protocol.wire.task_reports.run_records import inventory_in, report_in

SECRET = "hunter2-value-of-a-variable"
PROGRAM = """
import sys
from pathlib import Path
from wattline import task

task.parameters(lr=3e-4, seed=1, optimizer="adam", layers=[1, 2])
for step in range(1, 301):
    task.metric(step=step, loss=1 / step)
task.save(300, b"weights")
while not Path(sys.argv[1]).exists():
    task.safe_point()
"""


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveKeeper]:
    with keeper(tmp_path / "state") as started:
        yield started


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    done = subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True)
    return done.stdout.decode().strip()


def test_a_run_is_recorded_without_a_line_of_user_code(live: LiveKeeper, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "train.py").write_text(PROGRAM)
    git(tree, "init", "-q")
    git(tree, "add", ".")
    git(tree, "commit", "-q", "-m", "first")
    (tree / "train.py").write_text(PROGRAM + "# changed\n")
    (tree / "notes.txt").write_text("not added\n")
    goal = tmp_path / "goal"
    command = (sys.executable, "train.py", str(goal))
    names = ("TOKEN", "SEED", "WANDB_API_KEY", "GIT_AUTHOR_NAME", "LR", "PYTHONBREAKPOINT")
    env = {**dict.fromkeys(names, SECRET), "PYTHONPATH": f"/nowhere/{SECRET}"}
    task = order(*command, kind="training", workdir=str(tree), env=env)
    live.runner.launch(task, replace(CONTEXT, gpu_models=("H100", "H100")))
    inventory = live.beside("inventory")
    wait_until(
        lambda: bool(live.observe()) and inventory.exists() and inventory.stat().st_size > 0,
        "an inventory",
    )
    while_it_runs = report_in(live.runner.read_record(ref()).report)
    assert while_it_runs.curves[0].count == 300
    goal.touch()
    live.until("ended")
    live.runner.drop(ref())

    parts = live.runner.read_record(ref())
    report, found = report_in(parts.report), inventory_in(parts.inventory)
    assert report.parameters == {"lr": 3e-4, "seed": 1, "optimizer": "adam", "layers": "[1, 2]"}
    (saved,) = report.checkpoints
    assert (saved.step, report.dropped_checkpoints) == (300, 0)
    assert saved.bytes >= len(b"weights")
    (loss,) = report.curves
    assert (loss.name, loss.count, loss.lowest, loss.highest) == ("loss", 300, 1 / 300, 1.0)
    assert [point.step for point in loss.points][:3] == [1, 5, 9]
    assert (loss.points[-1].step, loss.points[-1].value) == (300, 1 / 300)
    assert (report.gpus, report.inventory_note, found.notes) == (("H100", "H100"), "", ())
    assert found.code is not None
    assert found.code.commit == git(tree, "rev-parse", "HEAD")
    assert "+# changed" in found.code.diff
    assert found.code.untracked == ("notes.txt",)
    assert found.packages is not None
    assert found.packages.interpreter == sys.executable
    assert any(name.startswith("pytest==") for name in found.packages.names)
    log = live.beside("log").read_text() if live.beside("log").exists() else ""
    assert SECRET not in f"{report} {found} {live.beside('metrics.jsonl').read_text()} {log}"


def test_what_cannot_be_found_is_noted_and_an_end_does_not_wait_for_it(live: LiveKeeper) -> None:
    task = shell("exec sleep 1000", kind="training", env={"GIT_DIR": SECRET})
    live.runner.launch(task, CONTEXT)
    inventory = live.beside("inventory")
    wait_until(
        lambda: bool(live.observe()) and inventory.exists() and inventory.stat().st_size > 0,
        "an inventory",
    )
    live.runner.stop(ref(), 30.0, "enough")
    live.until("ended")
    assert inventory_in(live.runner.read_record(ref()).inventory).notes == (
        "no packages: no process of the attempt was a Python interpreter",
        "no code: the directory is in no git repository",
    )


def test_an_end_waits_for_no_helper_and_the_record_says_what_it_lacks(live: LiveKeeper) -> None:
    slow = live.state_dir.parent / "git"
    slow.write_text("#!/bin/sh\nexec sleep 1000\n")
    slow.chmod(0o755)
    path = f"{slow.parent}:/usr/bin:/bin"
    live.runner.launch(shell("exec sleep 1000", kind="training", env={"PATH": path}), CONTEXT)
    inventory = live.beside("inventory")
    wait_until(lambda: bool(live.observe()) and inventory.exists(), "a helper")
    wait_until(lambda: len(live.processes()) > 2, "the helper's git")
    live.runner.stop(ref(), 30.0, "enough")
    live.until("ended")
    assert live.processes() == set()
    note = report_in(live.runner.read_record(ref()).report).inventory_note
    assert note.endswith("did not end before the attempt")


def test_a_task_that_is_over_at_once_and_reports_nothing_leaves_no_record(live: LiveKeeper) -> None:
    live.run(shell("true", kind="training"))
    assert live.runner.read_record(ref()).error == "the node has no record of this attempt"
