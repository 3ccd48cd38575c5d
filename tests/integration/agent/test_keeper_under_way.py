"""Starts that hang before their program: the keeper serves everything else meanwhile.

What hangs is the name service; the account that a start becomes is looked up there.
"""

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from support.node.keepers import CONTEXT, LiveKeeper, connect, keeper, ref, shell, start_keeper
from support.node.name_service import answer, hanging, may_mount
from support.node.simnode import wait_until
from wattline_agent.core.ports import LaunchContext
from wattline_agent.executor.launch import spec_of
from wattline_agent.executor.layout import TaskDir
from wattline_agent.keeper.attempt import boottime_s
from wattline_agent.keeper.client import KeeperClient
from wattline_agent.keeper.journal import read_journal
from wattline_agent.keeper.life import START_PATIENCE_S
from wattline_agent.keeper.processes import tree
from wattline_agent.keeper.spec import STARTS_FILE
from wattline_agent.keeper.starting import MAX_UNDER_WAY
from wattline_protocol.ids import TaskRef
from wattline_protocol.wire.agent_messages import TaskExit
from wattline_protocol.wire.task_order import TaskOrder

NOBODY = "nobody"
SLOW_S = 30.0
PATIENT_S = 60.0
"""For what is to be done before a start is given up, on a machine that may be busy."""

pytestmark = pytest.mark.skipif(not may_mount(), reason="no mounts may be made here")


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that all accounts get to."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o711)
        (folder / "state").mkdir(0o711)
        yield folder


@contextmanager
def hung(folder: Path, *options: str, patience_s: float = PATIENT_S) -> Iterator[LiveKeeper]:
    inside = hanging(folder)
    with keeper(folder / "state", *options, inside=inside, patience_s=patience_s) as live:
        yield live


@pytest.fixture(params=[[], ["--no-cgroup"]], ids=["cgroup", "session"])
def options(request: pytest.FixtureRequest) -> list[str]:
    """With cgroups where this host has them, and without."""
    found: list[str] = request.param
    return found


@pytest.fixture
def live(reachable: Path, options: list[str]) -> Iterator[LiveKeeper]:
    with hung(reachable, *options) as started:
        yield started


@pytest.fixture
def brisk(reachable: Path, options: list[str]) -> Iterator[LiveKeeper]:
    """One that gives a start up as soon as hosts do."""
    with hung(reachable, *options, patience_s=START_PATIENCE_S) as started:
        yield started


def as_nobody(text: str = "id -u", job: int = 1) -> TaskOrder:
    return shell(text, of=ref(job), run_as=NOBODY)


def processes_on_record(live: LiveKeeper) -> dict[str, int]:
    """By attempt; 0 = none yet."""
    notes = read_journal(live.state_dir / STARTS_FILE)
    return {key: note["pid"] for key, note in notes.items()}


def let_through(live: LiveKeeper) -> None:
    """The name service answers the one that asks."""
    answer(live.state_dir.parent, lambda: live.seen().phase != "starting")


def child(live: LiveKeeper, of: TaskRef | None = None) -> int:
    """The process on its way, as on record."""
    name = of or ref()
    key = f"{name.job}.{name.task}.{name.attempt}"
    pid = processes_on_record(live)[key]
    assert pid
    return pid


def is_alive(pid: int) -> bool:
    process = tree.read_process(pid)
    return process is not None and not process.is_dead


def end(live: LiveKeeper, of: TaskRef | None = None) -> TaskExit:
    seen = live.until_ended(of or ref(), SLOW_S)
    assert seen.exit is not None
    return seen.exit


def runs(live: LiveKeeper, of: TaskRef) -> None:
    """A whole task."""
    assert live.run(shell("echo hello", of=of)).exit is not None
    assert live.log(of) == "hello\n"


def lease_ends(live: LiveKeeper, of: TaskRef) -> None:
    """A task that outlives its lease."""
    soon = LaunchContext(CONTEXT.gpu_uuids, "", boottime_s() + 0.3, CONTEXT.node)
    live.runner.launch(shell("sleep 1000", of=of), soon)
    assert end(live, of).kind == "task_lease_expired"


def stops(live: LiveKeeper, of: TaskRef) -> None:
    """A task that is asked to end."""
    live.runner.launch(shell("sleep 1000", of=of), CONTEXT)
    live.runner.stop(of, 5.0, "cancelled")
    assert end(live, of).signal == signal.SIGTERM


@pytest.mark.parametrize("act", [runs, lease_ends, stops])
def test_everything_else_goes_on_while_it_hangs(
    live: LiveKeeper, act: Callable[[LiveKeeper, TaskRef], None]
) -> None:
    live.runner.launch(as_nobody(), CONTEXT)
    act(live, ref(100))
    assert live.seen().phase == "starting"


def test_it_is_shown_as_starting(live: LiveKeeper) -> None:
    live.runner.launch(as_nobody(), CONTEXT)
    seen = live.seen()
    assert (seen.phase, seen.pid, seen.started_unix_s, seen.run_s) == ("starting", None, None, 0)


def test_it_is_given_up_after_a_while(brisk: LiveKeeper) -> None:
    brisk.runner.launch(as_nobody(), CONTEXT)
    pid = child(brisk)
    given_up = end(brisk)
    assert (given_up.kind, given_up.signal) == ("not_startable", None)
    assert given_up.detail == "/bin/sh: no exec within 4 s"
    assert not is_alive(pid)


def test_it_runs_when_the_name_service_answers_and_runs_once(live: LiveKeeper) -> None:
    live.runner.launch(as_nobody("id -u; echo ran"), CONTEXT)
    live.runner.close()
    live.runner = connect(live.state_dir)  # an agent that was started anew meanwhile
    assert live.seen().phase == "starting"
    let_through(live)
    assert end(live).kind == "exited"
    assert live.log() == "65534\nran\n"


def test_the_same_start_asked_twice_is_one(live: LiveKeeper) -> None:
    live.runner.launch(as_nobody("echo ran; sleep 1000"), CONTEXT)
    pid = child(live)
    with closing(KeeperClient(live.state_dir, SLOW_S)) as client:
        task = spec_of(as_nobody(), CONTEXT, TaskDir(live.state_dir, ref()), "/", Path("/"))
        assert client.ask("start", task=task.to_json())["view"]["phase"] == "starting"
    assert child(live) == pid
    let_through(live)
    assert live.until("running").pid == pid
    wait_until(lambda: live.log() == "ran\n", "it ran once")


def test_a_stop_ends_it_on_its_way(live: LiveKeeper) -> None:
    live.runner.launch(as_nobody(), CONTEXT)
    live.runner.stop(ref(), 30.0, "cancelled by ada")
    stopped = end(live)
    assert (stopped.kind, stopped.signal) == ("signaled", signal.SIGTERM)
    assert "cancelled by ada" in stopped.detail
    assert live.beside("stop").read_text() == "cancelled by ada\n"


def test_a_kill_ends_it_on_its_way(live: LiveKeeper) -> None:
    live.runner.launch(as_nobody(), CONTEXT)
    live.runner.kill(ref(), "emergency", "the feed is gone")
    assert end(live).kind == "emergency"


def test_its_task_lease_ends_it_on_its_way(live: LiveKeeper) -> None:
    soon = LaunchContext(CONTEXT.gpu_uuids, "", boottime_s() + 0.3, CONTEXT.node)
    live.runner.launch(as_nobody(), soon)
    assert end(live).kind == "task_lease_expired"


def test_a_stop_at_any_moment_of_a_start_ends_that_and_not_the_keeper(reachable: Path) -> None:
    with keeper(reachable / "state") as live:
        for job in range(1, 41):
            live.runner.launch(as_nobody("exec sleep 1000", job), CONTEXT)
            live.runner.stop(ref(job), 30.0, "cancelled")
            assert end(live, ref(job)).signal == signal.SIGTERM
        assert live.process.poll() is None


def test_one_that_is_stopped_by_somebody_is_given_up_and_killed(brisk: LiveKeeper) -> None:
    brisk.runner.launch(as_nobody(), CONTEXT)
    pid = child(brisk)
    os.kill(pid, signal.SIGSTOP)
    assert end(brisk).kind == "not_startable"
    assert not is_alive(pid)


def test_it_is_frozen_on_its_way_and_goes_on_when_it_is_thawed(live: LiveKeeper) -> None:
    live.runner.launch(as_nobody(), CONTEXT)
    live.runner.freeze(ref())
    live.until("paused")
    live.runner.thaw(ref())
    assert live.seen().phase == "starting"
    let_through(live)
    assert end(live).kind == "exited"
    assert live.log() == "65534\n"


def test_it_dies_with_its_keeper_and_the_next_one_says_so(live: LiveKeeper) -> None:
    live.runner.launch(as_nobody(), CONTEXT)
    pid = child(live)
    live.process.kill()
    live.process.wait(10)
    wait_until(lambda: not is_alive(pid), "it died with its keeper", 10)
    live.runner.close()
    live.process = start_keeper(live.state_dir)
    live.runner = connect(live.state_dir)
    assert end(live).kind == "keeper_lost"


def test_a_keeper_that_is_told_to_end_does(live: LiveKeeper) -> None:
    live.runner.launch(as_nobody(), CONTEXT)
    pid = child(live)
    live.process.send_signal(signal.SIGTERM)
    assert live.process.wait(SLOW_S) == 0
    assert not is_alive(pid)


def test_it_holds_nothing_of_the_keepers(live: LiveKeeper) -> None:
    live.runner.launch(as_nobody(), CONTEXT)
    held = Path(f"/proc/{child(live)}/fd")

    def has_its_own_alone() -> bool:
        open_now: set[str] = set()
        for one in held.iterdir():
            with suppress(FileNotFoundError):  # closed just now
                open_now.add(str(one.readlink()))
        pipes = {one for one in open_now if one.startswith("pipe:")}
        return open_now - pipes == {os.devnull} and len(pipes) == 2

    wait_until(has_its_own_alone, "its output and its word to the keeper: no lock, no connection")


def test_only_so_many_are_under_way_and_the_others_have_their_turn(reachable: Path) -> None:
    with hung(reachable, patience_s=8.0) as live:
        jobs = range(1, MAX_UNDER_WAY + 4)
        *_, third_last, second_last, last = jobs
        live.runner.launch_all([(as_nobody(job=job), CONTEXT) for job in jobs[:-1]])
        soon = LaunchContext(CONTEXT.gpu_uuids, "", boottime_s() + 2.0, CONTEXT.node)
        live.runner.launch(as_nobody(job=last), soon)
        assert {seen.phase for seen in live.observe()} == {"starting"}
        on_record = processes_on_record(live).values()
        assert sum(pid > 0 for pid in on_record) == MAX_UNDER_WAY
        assert len(on_record) == len(jobs), "those that wait too"
        live.runner.stop(ref(second_last), 30.0, "cancelled")
        stopped = end(live, ref(second_last))
        assert (stopped.kind, stopped.signal) == ("signaled", signal.SIGTERM)
        assert stopped.detail == "ended before it was started: cancelled"
        assert end(live, ref(last)).kind == "task_lease_expired"
        live.runner.freeze(ref(third_last))
        assert live.seen(ref(third_last)).phase == "paused"
        assert live.run(shell("true", of=ref(1000))).exit is not None
        assert end(live).kind == "not_startable"
        assert live.seen(ref(third_last)).phase == "paused"
        live.runner.thaw(ref(third_last))
        key = f"{third_last}.0.1"
        wait_until(lambda: processes_on_record(live)[key] > 0, "it has its turn")
        wait_until(lambda: all(s.phase == "ended" for s in live.observe()), "all ended", SLOW_S)
        kinds = [seen.exit.kind for seen in live.observe() if seen.exit is not None]
        assert kinds.count("not_startable") == len(jobs) - 2


def test_what_is_frozen_on_its_way_keeps_nobody_from_his_turn(reachable: Path) -> None:
    """It may be for hours, and needs no processor."""
    with hung(reachable) as live:
        jobs = range(1, MAX_UNDER_WAY + 1)
        live.runner.launch_all([(as_nobody(job=job), CONTEXT) for job in (*jobs, 1000)])
        assert processes_on_record(live)["1000.0.1"] == 0
        for job in jobs:
            live.runner.freeze(ref(job))
        wait_until(lambda: processes_on_record(live)["1000.0.1"] > 0, "it has its turn")
        assert {live.until("paused", ref(job)).phase for job in jobs} == {"paused"}


def test_a_run_time_limit_is_changed_of_one_that_waits_for_its_turn(reachable: Path) -> None:
    with hung(reachable) as live:
        jobs = range(1, MAX_UNDER_WAY + 2)
        live.runner.launch_all([(as_nobody("sleep 1000", job), CONTEXT) for job in jobs])
        last = ref(jobs[-1])
        assert processes_on_record(live)[f"{last.job}.0.1"] == 0
        live.runner.limit(last, 0.2)
        answer(reachable, lambda: live.seen(last).phase == "ended")
        assert end(live, last).kind == "runtime_limit"


def test_the_turn_comes_to_the_account_that_has_the_fewest_under_way(reachable: Path) -> None:
    with hung(reachable, patience_s=START_PATIENCE_S) as live:
        jobs = range(1, 2 * MAX_UNDER_WAY + 2)
        live.runner.launch_all([(as_nobody(job=job), CONTEXT) for job in jobs])
        live.runner.launch(shell("true", of=ref(1000), run_as="daemon"), CONTEXT)
        wait_until(lambda: processes_on_record(live)["1000.0.1"] > 0, "it has its turn")
        assert processes_on_record(live)[f"{jobs[-1]}.0.1"] == 0, "before one that came first"
