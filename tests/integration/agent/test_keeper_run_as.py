"""Tasks under a real keeper as another account of the host: who they are, and what they may."""

import os
import pwd
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.node.keepers import CONTEXT, LiveKeeper, connect, keeper, order, ref, shell
from support.node.simnode import wait_until
from wattline_agent.core.ports import LaunchContext
from wattline_agent.executor import runner
from wattline_agent.executor.launchers import terminal
from wattline_agent.keeper.client import KeeperClient
from wattline_agent.keeper.starting import MAX_UNDER_WAY
from wattline_agent.terminals.connect import connect as to_terminal
from wattline_protocol.wire.task_order import TaskOrder
from wattline_protocol.wire.task_reports.run_records import inventory_in

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root starts tasks as others")

NOBODY, DAEMON = "nobody", "daemon"
"""Accounts that every Debian has."""


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that all accounts get to, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o711)
        yield folder


@pytest.fixture
def live(reachable: Path) -> Iterator[LiveKeeper]:
    state = reachable / "state"
    state.mkdir(0o711)
    with keeper(state, env={"XDG_RUNTIME_DIR": "/run/user/0"}, patience_s=60.0) as started:
        yield started


def as_nobody(text: str, job: int = 1, **more: object) -> TaskOrder:
    return shell(text, of=ref(job), run_as=NOBODY, **more)


def shared(root: Path) -> LaunchContext:
    """Checkpoints go where everybody may make a directory."""
    root.mkdir()
    root.chmod(0o1777)
    return LaunchContext(CONTEXT.gpu_uuids, str(root), None, CONTEXT.node)


def why(live: LiveKeeper, task: TaskOrder, context: LaunchContext = CONTEXT) -> str:
    """It is not started: the words."""
    end = live.run(task, context).exit
    assert end is not None
    assert end.kind == "not_startable"
    return end.detail


def test_the_keeper_says_that_it_may(live: LiveKeeper) -> None:
    assert live.runner.can_run_as()


def test_it_is_the_account_with_its_groups_and_home_and_nothing_of_the_keeper(
    live: LiveKeeper,
) -> None:
    live.run(as_nobody('id -un; id -Gn; echo "$HOME $USER $LOGNAME ${XDG_RUNTIME_DIR-none}"; env'))
    entry = pwd.getpwnam(NOBODY)
    name, groups, variables, *env = live.log().splitlines()
    assert (name, groups) == (NOBODY, "nogroup")
    assert variables == f"{entry.pw_dir} {NOBODY} {NOBODY} none"
    assert "WATTLINE_JOB=1" in env
    names = {line.partition("=")[0] for line in env}
    kept = {"PATH", "LANG", "TZ", "LD_LIBRARY_PATH", "HOME", "USER", "LOGNAME", "SHELL", "PWD"}
    ours = ("WATTLINE_", "CUDA_", "PYTHON", "LC_", "_")
    assert {name for name in names - kept if not name.startswith(ours)} <= {"SHLVL", "OLDPWD"}


def test_its_terminal_is_the_accounts_own_and_the_agent_gets_to_it(live: LiveKeeper) -> None:
    text = "id -un; stat -c %U $(tty); stat -c %a:%U $WATTLINE_TASK_DIR/.wattline-terminal; read x"
    live.runner.launch(as_nobody(text, pty=True), CONTEXT)
    socket_path = live.task_dir() / terminal.SOCKET_NAME
    wait_until(socket_path.exists, "the terminal's socket")
    with to_terminal(live.state_dir, ref()) as link:
        link.settimeout(30.0)
        link.sendall(terminal.attach_frame(0, 80, 24, "a").encoded())
        link.sendall(terminal.Frame(terminal.INPUT, 0, b"\n").encoded())
        frames, found = terminal.FrameReader(), list[terminal.Frame]()
        while data := link.recv(65536):
            found += frames.feed(data)
    assert found[-1] == terminal.Frame(terminal.STATUS, 0)
    assert live.until("ended").exit is not None
    assert live.log().split() == [NOBODY, NOBODY, f"600:{NOBODY}"]


def test_what_the_job_says_of_its_home_counts(live: LiveKeeper) -> None:
    live.run(as_nobody('echo "$HOME"', env={"HOME": "/srv"}))
    assert live.log() == "/srv\n"


def test_it_reports_reads_its_notice_and_keeps_checkpoints(live: LiveKeeper) -> None:
    text = (
        "trap '' TERM; echo '{\"metrics\": {\"loss\": 0.5}}' >> $WATTLINE_METRICS; "
        "touch $WATTLINE_CHECKPOINT_DIR/step; "
        "test -r ${PYTHONPATH##*:}/wattline/task/__init__.py && echo library; "
        "touch here; while ! test -r $WATTLINE_STOP_FILE; do sleep 0.05; done; "
        "cat $WATTLINE_STOP_FILE"
    )
    live.runner.launch(as_nobody(text), CONTEXT)
    checkpoints = live.state_dir / "checkpoints" / "1"
    wait_until(lambda: (live.task_dir() / "here").exists(), "it has written")
    live.runner.stop(ref(), 30.0, "drained")
    seen = live.until("ended")
    assert seen.metrics == {"loss": 0.5}
    assert live.log() == "library\ndrained\n"
    owner = pwd.getpwnam(NOBODY).pw_uid
    for path in (checkpoints, checkpoints / "step", live.task_dir(), live.beside("metrics.jsonl")):
        assert path.stat().st_uid == owner, path
    assert checkpoints.stat().st_mode & 0o777 == 0o700


def test_what_it_runs_with_is_found_with_its_rights(live: LiveKeeper, reachable: Path) -> None:
    """Git does for it what it does for the account: here it refuses a repository of root's."""
    tree = reachable / "tree"
    tree.mkdir()
    subprocess.run(["git", "init", "-q", str(tree)], check=True)
    text = "while ! test -e done; do sleep 0.05; done"
    live.runner.launch(as_nobody(text, kind="training", workdir=str(tree)), CONTEXT)
    inventory = live.beside("inventory")
    wait_until(
        lambda: bool(live.observe()) and inventory.exists() and inventory.stat().st_size > 0,
        "an inventory",
    )
    assert inventory.stat().st_uid == pwd.getpwnam(NOBODY).pw_uid
    (tree / "done").touch()
    live.until("ended")
    notes = inventory_in(live.runner.read_record(ref()).inventory).notes
    assert notes == (
        "no packages: no process of the attempt was a Python interpreter",
        "no code: git trusts the repository of another account only by safe.directory",
    )


def test_its_checkpoints_are_found_with_its_rights(live: LiveKeeper, reachable: Path) -> None:
    work = reachable / "work"
    work.mkdir()
    os.chown(work, pwd.getpwnam(NOBODY).pw_uid, -1)
    text = "mkdir out; echo x >out/checkpoint-7; id -un"
    found = live.run(as_nobody(text, workdir=str(work), checkpoints="out/checkpoint-*"))
    assert found.checkpoint is not None, live.log()
    assert (found.checkpoint.step, live.log()) == (7, f"{NOBODY}\n")
    (record,) = (work / "out" / ".wattline-checkpoints").glob("*.jsonl")
    assert record.stat().st_uid == pwd.getpwnam(NOBODY).pw_uid


def test_it_may_open_its_output_by_name(live: LiveKeeper) -> None:
    live.run(as_nobody("echo one > /dev/stdout; echo two > /dev/stderr"))
    assert live.log() == "one\ntwo\n"


def test_logs_and_what_others_wrote_are_closed_to_it(live: LiveKeeper) -> None:
    live.run(shell("echo secret > own", of=ref(1), run_as=DAEMON))
    folder, state = live.task_dir(), live.state_dir
    paths = (folder / "own", live.beside("log"), state / "orders.journal", state / "keeper.sock")
    tries = "; ".join(f"test -r {path} && echo read {path}" for path in paths)
    writes = "; ".join(f"touch {state / where}/x && echo wrote" for where in ("", "tasks"))
    live.run(as_nobody(f"{tries}; ls {state / 'tasks'}; {writes}; echo done", job=2))
    shown = live.log(ref(2)).splitlines()
    assert not [line for line in shown if line.startswith(("read", "wrote", "1.0.1"))], shown
    assert shown[-1] == "done"


def test_the_directory_of_one_account_never_serves_another(live: LiveKeeper) -> None:
    where = "stat -c %i . $WATTLINE_CHECKPOINT_DIR"
    live.run(as_nobody(where, job=1))
    live.runner.drop(ref(1))
    live.run(shell(where, of=ref(2), run_as=DAEMON))
    assert live.task_dir(ref(2)).stat().st_uid == pwd.getpwnam(DAEMON).pw_uid
    assert set(live.log(ref(1)).split()).isdisjoint(live.log(ref(2)).split())


def test_no_tree_that_a_task_leaves_is_too_deep_to_be_removed(
    live: LiveKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "KEPT_ATTEMPTS", 0)
    depth = 2 * sys.getrecursionlimit()
    live.run(as_nobody(f"mkdir -p $(printf 'd/%.0s' $(seq {depth})) && echo made"))
    assert live.log() == "made\n"
    live.runner.drop(ref())
    wait_until(lambda: not live.task_dir().exists(), "it is removed")
    assert not live.beside("log").exists()


def test_shared_checkpoints_are_made_by_the_account(live: LiveKeeper, reachable: Path) -> None:
    context = shared(reachable / "shared")
    for attempt in (1, 2):
        live.run(
            shell("echo x >> $WATTLINE_CHECKPOINT_DIR/s", ref(7, 0, attempt), run_as=NOBODY),
            context,
        )
    made = (reachable / "shared" / "7").stat()
    assert (made.st_uid, stat.S_IMODE(made.st_mode)) == (pwd.getpwnam(NOBODY).pw_uid, 0o700)
    assert (reachable / "shared" / "7" / "s").read_text() == "x\nx\n"


def test_checkpoints_that_somebody_else_has_laid_out_are_not_used(
    live: LiveKeeper, reachable: Path
) -> None:
    context = shared(reachable / "shared")
    trap = reachable / "shared" / "1"
    trap.mkdir()
    os.chown(trap, 1, 1)
    trap.chmod(0o777)
    said = why(live, as_nobody("true"), context)
    assert said == f"cannot run as nobody: {trap} exists and belongs to another account"


def test_an_account_that_the_host_does_not_have_is_named(live: LiveKeeper) -> None:
    said = why(live, shell("true", run_as="no-such"))
    assert said == "cannot run as no-such: this host has no account no-such"


def test_a_state_directory_of_before_is_opened_and_what_lies_in_it_is_not(reachable: Path) -> None:
    """It was closed as a whole, so nobody had to close what lies in it."""
    state = reachable / "state"
    secrets = [state / "secret", *(state / name / "9" / "secret" for name in ("checkpoints", "x"))]
    secrets.append(state / "tasks" / "9.0.1.log")
    for file in secrets:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("of before")
        file.chmod(0o644)
    state.chmod(0o700)
    with keeper(state) as live:
        tries = "; ".join(f"test -r {file} && echo read {file}" for file in secrets)
        live.run(as_nobody(f"{tries}; touch $WATTLINE_CHECKPOINT_DIR/mine here && echo done"))
        assert live.log() == "done\n"
        assert (live.task_dir() / "here").exists()
    assert stat.S_IMODE(state.stat().st_mode) == 0o711
    for closed in (state / "secret", state / "checkpoints" / "9", state / "x", secrets[-1]):
        assert stat.S_IMODE(closed.stat().st_mode) & 0o077 == 0, closed


def test_what_lies_above_is_the_operators_to_open_and_named(live: LiveKeeper) -> None:
    above = live.state_dir.parent
    above.chmod(0o700)
    said = why(live, as_nobody("true", workdir="/"))
    assert said == f"cannot run as nobody: it has no access to {above} (chmod o+x {above})"
    above.chmod(0o711)
    end = live.run(as_nobody("true", job=2, workdir="/")).exit
    assert end is not None
    assert end.kind == "exited"


def test_what_is_closed_to_it_is_named_by_what_it_sees(live: LiveKeeper, reachable: Path) -> None:
    closed = reachable / "closed"
    (closed / "below").mkdir(parents=True)
    tool = closed / "tool"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    closed.chmod(0o700)
    said = why(live, as_nobody("true", workdir=str(closed / "below")))
    there = f"the working directory {closed}/below is not accessible"
    assert said == f"{there}: this user has no access to {closed} (chmod o+x {closed})"
    said = why(live, as_nobody("true", job=2, workdir=str(closed)))
    assert said == f"no access to the working directory {closed}: Permission denied"
    end = live.run(order(str(tool), of=ref(3), run_as=NOBODY)).exit
    assert end is not None
    assert (end.kind, end.detail) == (
        "not_found",
        f"command not found: {tool} (there is no {tool})",
    )


def test_a_keeper_of_before_runs_the_others_and_none_as_itself_in_an_accounts_place(
    live: LiveKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, object]] = []
    ask = KeeperClient.ask

    def of_before(client: KeeperClient, do: str, **request: Any) -> dict[str, Any]:
        answer = ask(client, do, **request)
        return {"pid": answer["pid"], "protocol": 1} if do == "status" else answer

    def note(_: KeeperClient, _do: str, requests: list[Any], **_more: Any) -> list[Any]:
        asked.extend(request["task"] for request in requests)
        return [{} for _ in requests]

    monkeypatch.setattr(KeeperClient, "ask", of_before)
    monkeypatch.setattr(KeeperClient, "ask_all", note)
    live.runner.close()
    live.runner = connect(live.state_dir)
    assert not live.runner.can_run_as()
    live.runner.launch_all([(as_nobody("true"), CONTEXT), (shell("true", of=ref(2)), CONTEXT)])
    (task,) = asked
    assert (task["key"], task["uid"]) == ("2.0.1", None)
    assert set(task).isdisjoint({"run_as", "own", "make"})
    end = live.seen().exit
    assert end is not None
    assert "keeper is older than its agent" in end.detail


def test_of_many_that_begin_and_end_together_each_end_is_told(live: LiveKeeper) -> None:
    """While the keeper hears of one's end it starts others, which may end meanwhile."""
    tasks = [order("/bin/true", of=ref(job), run_as=NOBODY) for job in range(1, 10 * MAX_UNDER_WAY)]
    live.runner.launch_all([(task, CONTEXT) for task in tasks])
    wait_until(lambda: all(seen.phase == "ended" for seen in live.observe()), "all have ended", 90)
    assert {seen.exit.kind for seen in live.observe() if seen.exit is not None} == {"exited"}


def test_it_dies_with_its_keeper(live: LiveKeeper) -> None:
    live.runner.launch(as_nobody("echo up; sleep 1000"), CONTEXT)
    wait_until(lambda: live.log() == "up\n", "it runs")
    live.process.kill()
    live.process.wait(10)
    wait_until(lambda: not live.processes(), "it died with its keeper", 10)


def test_a_keeper_that_may_become_nobody_runs_its_own_account_and_no_other(
    reachable: Path,
) -> None:
    """Root without capabilities stands for any user: its own account needs none."""
    state = reachable / "state"
    bare = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    with keeper(state, inside=bare) as live:
        assert not live.runner.can_run_as()
        assert live.runner.keeper_account() == "root"
        end = live.run(shell("id -un", run_as="root")).exit
        assert end is not None
        assert (end.kind, live.log()) == ("exited", "root\n")
        assert why(live, as_nobody("true", job=2)).startswith("cannot run as nobody: ")
