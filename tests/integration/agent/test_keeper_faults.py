"""What becomes of tasks when their keeper, its warden or the agent dies, and of bad requests."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.node.keepers import (
    CONTEXT,
    LiveKeeper,
    connect,
    keeper,
    order,
    ref,
    replace_keeper,
    shell,
    start_keeper,
)
from support.node.simnode import DEADLINE_S, wait_until
from wattline_agent.core.ports import KeeperAbsent, LaunchContext
from wattline_agent.executor import living_tasks
from wattline_agent.executor.layout import ORDERS_FILE
from wattline_agent.executor.runner import KeeperRunner
from wattline_agent.keeper.client import KeeperClient, KeeperRefused
from wattline_agent.keeper.journal import Journal, read_journal
from wattline_agent.keeper.processes import tree
from wattline_agent.keeper.spec import ENDS_FILE, SOCKET_NAME, STARTS_FILE, TaskSpec
from wattline_protocol.ids import UnixTime
from wattline_protocol.wire.task_order import Notice

TREE = "trap '' TERM; setsid sh -c 'sleep 1000 & sleep 1000' & echo ready; sleep 1000"


@pytest.fixture(params=["cgroup", "session"])
def live(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LiveKeeper]:
    """A keeper that uses cgroups where this host has them, and one that does not."""
    with keeper(tmp_path, *([] if request.param == "cgroup" else ["--no-cgroup"])) as started:
        yield started


def test_a_killed_keeper_takes_its_tasks_with_it_and_the_next_one_says_so(
    live: LiveKeeper,
) -> None:
    live.runner.launch(shell(TREE), CONTEXT)
    wait_until(lambda: "ready" in live.log() and len(live.processes()) == 5, "the tree stands")
    live.process.kill()
    live.process.wait(10)
    wait_until(lambda: not live.processes(), "the warden has ended the tree", 10)
    replace_keeper(live)
    seen = live.seen()
    assert seen.exit is not None
    assert (seen.phase, seen.exit.kind) == ("ended", "keeper_lost")
    assert seen.exit.log_tail == "ready\n"
    assert seen.group_ended


def test_a_keeper_whose_state_directory_is_deleted_ends_with_its_tasks(live: LiveKeeper) -> None:
    live.runner.launch(shell(TREE), CONTEXT)
    wait_until(lambda: len(live.processes()) == 5, "the tree stands")
    shutil.rmtree(live.state_dir)
    assert live.process.wait(10) == 74
    wait_until(lambda: not live.processes(), "the warden has ended the tree", 10)


def test_without_a_warden_the_next_keeper_ends_what_is_left(live: LiveKeeper) -> None:
    live.runner.launch(shell(TREE), CONTEXT)
    wait_until(lambda: len(live.processes()) == 5, "the tree stands")
    os.kill(warden_of(live), signal.SIGSTOP)
    stopped = warden_of(live)
    live.process.kill()
    live.process.wait(10)
    os.kill(stopped, signal.SIGKILL)
    assert live.processes()
    replace_keeper(live)
    assert live.processes() == set()
    assert live.seen().phase == "ended"


def warden_of(live: LiveKeeper) -> int:
    """Once it has its name: it has the keeper's when it is forked."""
    wait_until(lambda: warden_of_or_zero(live) != 0, "a warden")
    return warden_of_or_zero(live)


def warden_of_or_zero(live: LiveKeeper) -> int:
    children = tree.children_of(live.process.pid)
    assert children is not None
    named = (p for p in children if tree.read_proc(f"/proc/{p}/comm") == b"wattline-warden\n")
    return next(named, 0)


def test_a_dead_warden_is_replaced_and_no_output_is_lost(live: LiveKeeper) -> None:
    go = live.state_dir / "go"
    live.runner.launch(
        shell(f"echo one; while [ ! -e {go} ]; do sleep 0.02; done; echo two"), CONTEXT
    )
    wait_until(lambda: live.log() == "one\n", "first line")
    first = warden_of(live)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: warden_of_or_zero(live) not in (0, first), "another warden")
    go.touch()
    live.until("ended")
    assert live.log() == "one\ntwo\n"


def test_a_frozen_group_that_a_dead_keeper_left_freezes_nobody(live: LiveKeeper) -> None:
    live.runner.launch(shell("sleep 1000"), CONTEXT)
    group = read_journal(live.state_dir / STARTS_FILE)["1.0.1"]["cgroup"]
    if not group:
        pytest.skip("no cgroup v2 group here")
    left = Path(group).with_name("2.0.1")
    left.mkdir()
    (left / "cgroup.freeze").write_text("1")
    end = live.run(shell("true", of=ref(2))).exit
    assert end is not None
    assert end.code == 0


def test_an_end_that_cannot_be_written_is_not_told(live: LiveKeeper) -> None:
    go = live.state_dir / "go"
    live.runner.launch(shell(f"while [ ! -e {go} ]; do sleep 0.02; done; exit 6"), CONTEXT)
    (live.state_dir / ENDS_FILE).mkdir()
    go.touch()
    own_log = live.state_dir / "keeper" / "log"
    wait_until(lambda: "is not on disk yet" in own_log.read_text(), "the keeper says so")
    assert live.seen().phase == "stopping"
    (live.state_dir / ENDS_FILE).rmdir()
    end = live.until("ended").exit
    assert end is not None
    assert end.code == 6


def test_a_request_that_meets_a_broken_disk_harms_nobody(live: LiveKeeper) -> None:
    live.task_dir().write_text("in the way")
    end = live.run(shell("true")).exit
    assert end is not None
    assert (end.kind, "1.0.1" in end.detail) == ("not_startable", True)
    assert live.run(shell("true", of=ref(2))).exit is not None


def test_a_notice_that_cannot_be_written_or_taken_away_holds_nobody_up(live: LiveKeeper) -> None:
    live.runner.launch(shell("sleep 1000"), CONTEXT)
    live.until("running")
    live.beside("notice").mkdir()
    live.runner.notify(ref(), Notice("pause", UnixTime(1.0), "less power soon"))
    assert live.seen().notice is None
    live.runner.freeze(ref())
    live.until("paused")
    live.runner.thaw(ref())
    live.until("running")


def test_a_stalling_disk_does_not_delay_a_task_lease(live: LiveKeeper) -> None:
    """The warden writes to disk; stopped, it stands for a disk that hangs."""
    warden = warden_of(live)
    os.kill(warden, signal.SIGSTOP)
    until_s = time.clock_gettime(time.CLOCK_BOOTTIME) + 1.0
    live.runner.launch(shell("sleep 1000"), LaunchContext((), "", until_s, "n"))
    wait_until(lambda: live.seen().phase == "stopping", "its lease is over", 10)
    wait_until(lambda: not live.processes(), "it was killed", 10)
    assert live.seen().phase == "stopping"
    os.kill(warden, signal.SIGCONT)
    end = live.until("ended").exit
    assert end is not None
    assert end.kind == "task_lease_expired"


def test_a_restarted_agent_takes_its_tasks_over(live: LiveKeeper) -> None:
    for job in (1, 2):
        live.runner.launch(shell("echo up; sleep 1000", of=ref(job)), CONTEXT)
    live.runner.launch(shell("exit 4", of=ref(3)), CONTEXT)
    live.until("ended", ref(3))
    before = {seen.ref: (seen.order, seen.pid, seen.phase) for seen in live.observe()}
    live.runner.close()
    live.runner = connect(live.state_dir)
    after = {seen.ref: (seen.order, seen.pid, seen.phase) for seen in live.observe()}
    assert after == before
    live.runner.stop(ref(2), 5, "cancelled")
    assert live.until("ended", ref(2)).group_ended
    assert live.seen(ref(1)).phase == "running"


def test_tasks_survive_a_killed_agent(tmp_path: Path) -> None:
    """The agent here is a process that launches a task and is killed at once."""
    with keeper(tmp_path) as live:
        code = (
            "import sys, os, signal\n"
            "from pathlib import Path\n"
            "from support.node.keepers import CONTEXT, shell\n"
            "from wattline_agent.executor.runner import KeeperRunner\n"
            f"KeeperRunner(Path({str(tmp_path)!r})).launch(shell('echo up; sleep 1000'), CONTEXT)\n"
            "os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run([sys.executable, "-c", code], env=env, timeout=30, check=False)
        assert done.returncode == -signal.SIGKILL
        live.runner.close()
        live.runner = connect(tmp_path)
        assert live.seen().phase == "running"
        wait_until(lambda: live.log() == "up\n", "its output is there")


def test_an_end_on_disk_outlives_the_keeper(live: LiveKeeper) -> None:
    live.run(shell("exit 7"))
    replace_keeper(live)
    seen = live.seen()
    assert seen.exit is not None
    assert (seen.exit.kind, seen.exit.code) == ("exited", 7)


@pytest.mark.parametrize("damaged", [b'{"order":{"ref":[1,0,1]}}', b'{"\\ud800":1}'])
def test_an_order_that_cannot_be_read_is_ended_and_keeps_no_agent_from_starting(
    live: LiveKeeper, damaged: bytes
) -> None:
    """As one of a release with other bounds."""
    for job in (1, 2):
        live.runner.launch(shell("sleep 1000", of=ref(job)), CONTEXT)
    live.runner.close()
    orders = Journal(live.state_dir / ORDERS_FILE)
    orders.put([("1.0.1", damaged), ("1.0.", b"{}")])
    orders.close()
    ended: list[str] = []
    live.runner = KeeperRunner(live.state_dir, 30.0, on_unreadable=ended.append)
    wait_until(lambda: not live.processes(ref(1)), "it has ended")
    assert ended == ["1.0.1"]
    assert [seen.ref for seen in live.observe()] == [ref(2)]
    live.run(shell("true", of=ref(3)))
    assert set(read_journal(live.state_dir / ORDERS_FILE)) == {"2.0.1", "3.0.1"}


def test_a_check_beside_an_agent_ends_and_removes_nothing(live: LiveKeeper) -> None:
    """`wattline-agent --check` may be of another release, and the agent may be launching."""
    for job in (1, 2):
        live.runner.launch(shell("sleep 1000", of=ref(job)), CONTEXT)
    live.run(shell("true", of=ref(3)))
    orders = live.state_dir / ORDERS_FILE
    orders.rename(orders.with_suffix(".kept"))  # to a check, as if none was on file yet
    assert living_tasks(live.state_dir) == 2
    orders.with_suffix(".kept").rename(orders)
    assert [seen.phase for seen in live.observe()] == ["running", "running", "ended"]
    assert all(live.task_dir(ref(job)).exists() for job in (1, 2, 3))


def test_an_end_that_was_told_outlives_a_power_cut(tmp_path: Path) -> None:
    """What was not synced is gone with it."""
    with keeper(tmp_path) as live:
        live.run(shell("exit 3"))
        (live.state_dir / STARTS_FILE).unlink()
        replace_keeper(live)
        seen = live.seen()
        assert seen.exit is not None
        assert (seen.exit.kind, seen.exit.code) == ("exited", 3)


def test_a_dropped_end_does_not_come_back_with_the_next_keeper(live: LiveKeeper) -> None:
    live.run(shell("exit 3"))
    live.runner.drop(ref())
    live.run(shell("exit 4", of=ref(2)))  # what was dropped is reported with the next launch
    replace_keeper(live)
    assert [seen.ref for seen in live.runner.observe()] == [ref(2)]
    live.run(shell("exit 5", of=ref(3)))
    assert set(read_journal(live.state_dir / ENDS_FILE)) == {"2.0.1", "3.0.1"}
    assert set(read_journal(live.state_dir / STARTS_FILE)) == {"2.0.1", "3.0.1"}


def test_what_was_dropped_but_not_told_is_shown_again_to_the_next_agent(
    live: LiveKeeper,
) -> None:
    live.run(shell("exit 3"))
    live.runner.drop(ref())
    live.runner.close()  # killed before it reported
    live.runner = connect(live.state_dir)
    assert live.seen().phase == "ended"
    live.runner.drop(ref())
    wait_until(
        lambda: not live.runner.observe() and not read_journal(live.state_dir / ORDERS_FILE),
        "the next look at everything tells it",
    )


def test_an_order_that_never_reached_the_keeper_was_promised_to_nobody(live: LiveKeeper) -> None:
    live.run(shell("true"))
    (live.state_dir / STARTS_FILE).unlink()
    (live.state_dir / ENDS_FILE).unlink()
    replace_keeper(live)
    assert live.runner.observe() == []
    end = live.run(shell("exit 5")).exit
    assert end is not None
    assert end.code == 5


def test_an_order_that_never_reached_the_keeper_is_forgotten_when_another_is_launched(
    live: LiveKeeper,
) -> None:
    live.run(shell("true"))
    (live.state_dir / STARTS_FILE).unlink()
    (live.state_dir / ENDS_FILE).unlink()
    replace_keeper(live)
    live.run(shell("true", of=ref(2)))
    assert set(read_journal(live.state_dir / ORDERS_FILE)) == {"2.0.1"}


def test_an_attempt_that_was_never_asked_for_stays_ended(live: LiveKeeper) -> None:
    live.run(shell("true", launcher="torchrun"))
    before = live.seen().exit
    live.runner.close()
    live.runner = connect(live.state_dir)
    assert before is not None
    assert before.kind == "not_startable"
    assert live.seen().exit == before


IMPATIENT = """
import sys
from wattline_agent.keeper import __main__ as keeper
keeper.LOCK_PATIENCE_S = 0.5
sys.exit(keeper.main())
"""
"""A keeper that waits no 10 s for the warden of the one before."""


def test_a_second_keeper_is_refused(live: LiveKeeper) -> None:
    command = [sys.executable, "-c", IMPATIENT, "--state-dir", str(live.state_dir)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 3
    assert "another keeper runs" in second.stderr
    assert live.run(shell("true")).exit is not None


def test_the_keeper_ends_only_when_no_task_is_left(live: LiveKeeper) -> None:
    live.runner.launch(shell("sleep 1000"), CONTEXT)
    client = KeeperClient(live.state_dir, DEADLINE_S)
    with pytest.raises(KeeperRefused, match="tasks are alive: 1,"):
        client.ask("exit")
    live.runner.kill(ref(), "emergency", "test")
    live.until("ended")
    client.ask("exit")
    client.close()
    assert live.process.wait(10) == 0
    assert not (live.state_dir / SOCKET_NAME).exists()


def test_sigterm_stops_all_tasks_then_the_keeper(live: LiveKeeper) -> None:
    live.runner.launch(shell("trap 'echo bye; exit 0' TERM; echo up; sleep 1000 & wait"), CONTEXT)
    wait_until(lambda: live.log() == "up\n", "it runs")
    live.process.send_signal(signal.SIGTERM)
    assert live.process.wait(20) == 0
    assert live.processes() == set()
    assert read_journal(live.state_dir / ENDS_FILE)["1.0.1"]["kind"] == "exited"


def test_a_keeper_that_is_ending_starts_nothing_and_fails_nothing(live: LiveKeeper) -> None:
    go = live.state_dir / "go"
    last = f"while [ ! -e {go} ]; do sleep 0.05; done; exit 0"
    live.runner.launch(shell(f"trap '{last}' TERM; echo up; sleep 1000 & wait"), CONTEXT)
    wait_until(lambda: live.log() == "up\n" and len(live.processes()) == 2, "it waits")
    live.process.send_signal(signal.SIGTERM)
    wait_until(lambda: live.seen().phase == "stopping", "it is ending")
    with pytest.raises(KeeperAbsent, match="is stopping"):
        live.runner.launch(shell("true", of=ref(2)), CONTEXT)
    go.touch()
    live.runner.close()
    assert live.process.wait(20) == 0
    live.process = start_keeper(live.state_dir)
    live.runner = connect(live.state_dir)
    assert [seen.ref for seen in live.runner.observe()] == [ref(1)]
    assert live.run(shell("true", of=ref(2))).exit is not None


def raw_answers(state_dir: Path, data: bytes) -> list[dict[str, object]]:
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(20)
        link.connect(os.path.relpath(state_dir / SOCKET_NAME))
        link.sendall(data)
        link.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := link.recv(65536):
            received += chunk
    return [json.loads(line) for line in received.splitlines()]


@pytest.mark.parametrize(
    ("request_bytes", "words"),
    [
        (b"garbage\n", "Expecting value"),
        (b"[]\n", "a request must be a map"),
        (b'{"id": 1}\n', "is none of"),
        (b'{"id": 1, "do": "kill"}\n', "no 'key'"),
        (b'{"id": 1, "do": "drop", "keys": ["../../etc"]}\n', "is not JOB.TASK.ATTEMPT"),
        (b'{"id": 1, "do": "renew", "until_s": "soon"}\n', "is not a time"),
        (b'{"id": 1, "do": "renew", "until_s": 1%b}\n' % (b"0" * 400), "is not a time"),
        (b'{"id": 1, "do": "start", "task": {"key": "1.0.1"}}\n', "missing or unknown keys"),
        (b"\xff\xfe\n", "Expecting value"),
        (b"[" * 100_000 + b"\n", "recursion"),
    ],
)
def test_a_bad_request_is_answered_in_words(
    tmp_path: Path, request_bytes: bytes, words: str
) -> None:
    with keeper(tmp_path) as live:
        (answer,) = raw_answers(tmp_path, request_bytes)
        assert answer["ok"] is False
        assert words in str(answer["error"])
        assert live.run(shell("true")).exit is not None


def test_a_program_whose_header_is_damaged_fails_alone(live: LiveKeeper) -> None:
    """The keeper looks for its loader: an offset of 2^64 - 1 ended it, and all tasks."""
    damaged = live.state_dir / "damaged"
    damaged.write_bytes(b"\x7fELF\x02".ljust(32, b"\1") + b"\xff" * 4096)
    damaged.chmod(0o755)
    live.runner.launch(shell("sleep 1000"), CONTEXT)
    end = live.run(order(str(damaged), of=ref(2))).exit
    assert end is not None
    assert end.kind == "not_startable"
    assert live.seen().phase == "running"


def test_a_start_that_no_call_takes_ends_as_one(live: LiveKeeper) -> None:
    """Half a surrogate pair, which JSON can spell, is in no argument of a program."""
    task = spec_json("3.0.1", argv=["/bin/echo", "\ud800"])
    client = KeeperClient(live.state_dir)
    client.ask("start", task=task)
    wait_until(lambda: view(client, "3.0.1")["phase"] == "ended", "it has ended")
    assert view(client, "3.0.1")["exit"]["kind"] == "not_startable"
    client.close()


def view(client: KeeperClient, key: str) -> dict[str, Any]:
    return next(one for one in client.ask("list")["tasks"] if one["key"] == key)


def spec_json(key: str, argv: list[str]) -> dict[str, Any]:
    plain = TaskSpec(
        key, tuple(argv), {}, {}, "/", {}, 0, 0, 1.0, 0.0, None, 65536, "", (), "", "", ()
    )
    return plain.to_json()


def test_an_endless_request_is_cut_off(tmp_path: Path) -> None:
    with keeper(tmp_path) as live:
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            raw_answers(tmp_path, b"x" * (16 * 1024 * 1024))
        assert live.run(shell("true")).exit is not None


def test_the_socket_is_private_and_nobody_lists_attempts(live: LiveKeeper) -> None:
    assert (live.state_dir / SOCKET_NAME).stat().st_mode & 0o777 == 0o600
    assert live.state_dir.joinpath("tasks").stat().st_mode & 0o777 == 0o711


def test_systemd_is_told_when_the_socket_answers_and_tasks_cannot_speak_to_it(
    tmp_path: Path,
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(DEADLINE_S)
        with keeper(tmp_path / "state", env={"NOTIFY_SOCKET": str(tmp_path / "notify")}) as live:
            assert systemd.recv(64) == b"READY=1"
            live.run(shell('echo "[$NOTIFY_SOCKET]"'))
            assert live.log() == "[]\n"
