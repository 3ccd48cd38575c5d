"""Tasks in containers: a real podman, and an image from scratch."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from support.node.images import IMAGE, image_store
from support.node.keepers import CONTEXT, LiveKeeper, connect, keeper, order, ref
from support.node.simnode import wait_until
from wattline_agent.core.ports import LaunchContext, TaskSeen
from wattline_agent.keeper.journal import read_journal
from wattline_agent.keeper.processes import tree
from wattline_agent.keeper.spec import STARTS_FILE
from wattline_agent.secrets.secret_store import SecretStore
from wattline_protocol.ids import TaskRef
from wattline_protocol.job.spec import SecretUse
from wattline_protocol.site.containers import Containers
from wattline_protocol.wire.task_order import TaskOrder

pytestmark = pytest.mark.xdist_group("containers")


@pytest.fixture(scope="module")
def reachable() -> Iterator[Path]:
    """A folder that all accounts get to, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o711)
        yield folder


@pytest.fixture(scope="module")
def store(reachable: Path) -> Containers:
    """One for all tests of the file."""
    return image_store(reachable)


@pytest.fixture
def context(store: Containers) -> LaunchContext:
    """What the core gives a launch on a node with simulated GPUs."""
    return replace(CONTEXT, containers=store, is_simulated=True)


@pytest.fixture
def live(reachable: Path, request: pytest.FixtureRequest) -> Iterator[LiveKeeper]:
    """A keeper of root, or of the user of the tests."""
    state = reachable / request.node.name
    state.mkdir(0o711)
    with keeper(state) as one:
        yield one


def task(*words: str, of: TaskRef | None = None, **more: object) -> TaskOrder:
    return order("/tiny", *words, of=of, launcher="container", image=IMAGE, **more)


def mounts_of(live: LiveKeeper) -> list[str]:
    return [
        line
        for line in Path("/proc/mounts").read_text().splitlines()
        if str(live.state_dir) in line
    ]


def groups_of(live: LiveKeeper, of: TaskRef) -> list[Path]:
    """Control groups of the attempt, in any hierarchy of this host."""
    key = f"{of.job}.{of.task}.{of.attempt}"
    group = read_journal(live.state_dir / STARTS_FILE)[key]["cgroup"]
    return list(Path("/sys/fs/cgroup").glob(f"**/{Path(group).parent.name}/{key}")) if group else []


def assert_nothing_is_left(live: LiveKeeper, ended: TaskSeen) -> None:
    assert ended.exit is not None
    assert ended.exit.leftover_pids == ()
    assert live.processes(ended.ref) == set()
    assert mounts_of(live) == []
    assert groups_of(live, ended.ref) == []


def test_a_container_finds_what_a_process_does_and_has_no_capability(
    live: LiveKeeper, context: LaunchContext
) -> None:
    ended = live.run(task("show", env={"SEED": "17"}), context)
    assert ended.exit is not None
    assert (ended.exit.kind, ended.exit.code) == ("exited", 0), live.log()
    log = live.log()
    assert f"cwd {live.task_dir()}\nseed 17\n" in log
    assert "CapEff:\t0000000000000000" in log
    assert "CapBnd:\t0000000000000000" in log
    assert "NoNewPrivs:\t1" in log
    made = live.task_dir() / "made"
    assert (made.read_text(), made.stat().st_uid) == ("made\n", os.getuid())
    assert_nothing_is_left(live, ended)


def test_it_finds_its_secrets_and_no_record_of_podman_has_them(
    live: LiveKeeper, context: LaunchContext
) -> None:
    value = b"m4rker-of-a-secret"
    SecretStore(live.state_dir / "secrets").write("ada", "wandb", value)
    live.runner.launch(task("secret", secrets={"KEY": SecretUse("wandb", env=True)}), context)
    wait_until(lambda: live.log() != "" or live.seen().phase == "ended", "it has compared both")
    assert live.log() == "same\n"
    files = [path for path in live.state_dir.rglob("*") if path.is_file()]
    podman = [path for path in files if ".wattline-podman" in path.parts]
    assert podman, "they are elsewhere: then this test looks for them in the wrong place"
    holders = [path for path in files if value in path.read_bytes()]
    assert holders == [live.state_dir / "secrets" / "ada" / "wandb"]
    live.runner.kill(ref(), "emergency", "try")
    assert_nothing_is_left(live, live.until("ended"))


def test_it_ends_as_its_command_or_says_why_there_is_none(
    live: LiveKeeper, context: LaunchContext
) -> None:
    runs = (task("exit", "3", of=ref(1)), task("raise", "11", of=ref(2)))
    absent = order("/tiny", of=ref(3), launcher="container", image="localhost/absent")
    for one in (*runs, absent):
        live.runner.launch(one, context)
    ends = [live.until("ended", ref(job)).exit for job in (1, 2, 3)]
    assert [(end.code, end.signal) for end in ends if end] == [(3, None), (None, 11), (125, None)]
    assert "image not known" in live.log(ref(3))


def test_a_stop_a_pause_and_a_kill_reach_all_of_it_and_an_agent_finds_it_again(
    live: LiveKeeper, context: LaunchContext
) -> None:
    live.runner.launch(task("wait"), context)
    wait_until(lambda: {"ready", "child"} <= set(live.log().split()), "both processes run")
    below = tree.descendants(tree.all_processes(), [live.seen().pid or 0])
    assert live.processes() <= set(below)  # so that their use of GPUs is the attempt's
    live.runner.freeze(ref())
    live.until("paused")
    live.runner.close()
    live.runner = connect(live.state_dir)
    live.runner.thaw(ref())
    assert live.until("running").pid
    live.runner.stop(ref(), 30.0, "try")
    ended = live.until("ended")
    assert ended.exit is not None
    assert ended.exit.signal == signal.SIGTERM
    assert_nothing_is_left(live, ended)
    live.runner.launch(task("wait", of=ref(2)), context)
    wait_until(lambda: "ready" in live.log(ref(2)), "it runs")
    live.runner.kill(ref(2), "emergency", "try")
    assert_nothing_is_left(live, live.until("ended", ref(2)))


def test_an_account_runs_it_with_its_own_rights(
    live: LiveKeeper, context: LaunchContext, store: Containers
) -> None:
    if not live.runner.can_run_as():
        pytest.skip("only a keeper that is root starts tasks as other accounts")
    subprocess.run(["chown", "-R", "nobody:", store.images], check=True)
    ended = live.run(task("show", run_as="nobody"), context)
    assert ended.exit is not None
    assert (ended.exit.kind, ended.exit.code) == ("exited", 0), live.log()
    assert "CapEff:\t0000000000000000" in live.log()
    assert_nothing_is_left(live, ended)
