"""Where a task starts: where it was submitted, if the node has that, else in its own directory."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.node.keepers import CONTEXT, LiveKeeper, connect, keeper, order, ref, shell
from support.node.simnode import wait_until
from wattline_agent.core.ports import TaskSeen
from wattline_agent.keeper.spawn import Launch, fork, read_status
from wattline_protocol.wire.task_order import TaskOrder

OWN = "it started in its own directory ($WATTLINE_TASK_DIR): "


@pytest.fixture
def live() -> Iterator[LiveKeeper]:
    """In a folder that all accounts get to."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o711)
        state = folder / "state"
        state.mkdir(0o711)
        with keeper(state, patience_s=60.0) as started:
            yield started


@pytest.fixture(params=["", "nobody"], ids=["own", "account"])
def run_as(request: pytest.FixtureRequest) -> str:
    """By vfork as the keeper itself, and forked as another account."""
    account: str = request.param
    if account and os.geteuid() != 0:
        pytest.skip("only root starts tasks as others")
    return account


@pytest.fixture
def here(live: LiveKeeper) -> Path:
    """Where the job was submitted."""
    folder = live.state_dir.parent / "here"
    folder.mkdir()
    (folder / "train.sh").write_text("echo trained\n")
    return folder


def ended(live: LiveKeeper, task: TaskOrder) -> tuple[TaskSeen, list[str]]:
    """It has ended: what is known of it, and its output."""
    seen = live.run(task)
    assert seen.exit is not None
    assert (seen.exit.kind, seen.exit.code) == ("exited", 0), seen.exit
    return seen, live.log(task.ref).splitlines()


def test_it_starts_where_it_was_submitted(live: LiveKeeper, here: Path, run_as: str) -> None:
    text = "pwd; sh train.sh; test -d $WATTLINE_TASK_DIR && echo $WATTLINE_TASK_DIR"
    seen, lines = ended(live, shell(text, submit_dir=str(here), run_as=run_as))
    assert lines == [str(here), "trained", str(live.task_dir())]
    assert seen.note == ""


def test_a_program_beside_it_is_found(live: LiveKeeper, here: Path, run_as: str) -> None:
    (here / "tool").write_text("#!/bin/sh\necho tool\n")
    (here / "tool").chmod(0o755)
    _, lines = ended(live, order("./tool", submit_dir=str(here), run_as=run_as))
    assert lines == ["tool"]


def test_where_that_is_not_it_starts_in_its_own_and_says_so(
    live: LiveKeeper, here: Path, run_as: str
) -> None:
    gone, file = here / "gone", here / "train.sh"
    for job, (there, why) in enumerate(((gone, "does not exist"), (file, "is not a directory"))):
        task = shell("pwd", of=ref(job), submit_dir=str(there), run_as=run_as)
        seen, lines = ended(live, task)
        assert lines == [str(live.task_dir(task.ref))]
        assert seen.note == f"{OWN}{there} {why}"


def test_a_note_is_known_while_it_runs_and_to_the_next_agent(live: LiveKeeper, run_as: str) -> None:
    live.runner.launch(shell("sleep 1000", submit_dir="/no/such", run_as=run_as), CONTEXT)
    said = f"{OWN}/no/such does not exist"
    wait_until(lambda: live.until("running").note == said, "its note")
    live.runner.close()
    live.runner = connect(live.state_dir)
    assert live.seen().note == said
    live.runner.kill(ref(), "emergency", "the test is over")
    assert live.until("ended").note == said


def test_a_workdir_that_is_absent_is_named_whatever_the_submit_dir(
    live: LiveKeeper, here: Path, run_as: str
) -> None:
    task = shell("true", workdir="/no/such", submit_dir=str(here), run_as=run_as)
    end = live.run(task).exit
    assert end is not None
    assert (end.kind, end.detail) == (
        "not_startable",
        "the working directory /no/such does not exist",
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts tasks as others")
def test_one_that_is_closed_to_its_account_is_not_entered_with_the_keepers_rights(
    live: LiveKeeper, here: Path
) -> None:
    below = here / "below"
    below.mkdir()
    here.chmod(0o700)
    for job, (there, why) in enumerate(
        (
            (here, "is not accessible to this user"),
            (below, f"is not accessible: this user has no access to {here} (chmod o+x {here})"),
        )
    ):
        task = shell("pwd", of=ref(job), submit_dir=str(there), run_as="nobody")
        seen, lines = ended(live, task)
        assert lines == [str(live.task_dir(task.ref))]
        assert seen.note == f"{OWN}{there} {why}"


def test_a_note_and_why_the_program_does_not_run_are_told_apart(tmp_path: Path) -> None:
    there = Launch("", ("no-such-program",), {}, str(tmp_path), 1, {}, prefer_cwd="/no/such")
    pid, status_pipe = fork(there)
    os.waitpid(pid, 0)
    status = read_status(status_pipe, there)
    os.close(status_pipe)
    assert status.note == f"{OWN}/no/such does not exist"
    assert status.is_over
    assert status.problem is not None
    assert status.problem.kind == "not_found"
