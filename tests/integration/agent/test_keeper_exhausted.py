"""A host that has no process left, by a fork bomb of somebody, say, or no space on its disk."""

import os
import signal
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from support.node.keepers import CONTEXT, connect, keeper, ref, shell
from support.node.simnode import wait_until
from wattline_agent.executor.layout import ORDERS_FILE
from wattline_agent.keeper.journal import read_journal
from wattline_agent.keeper.processes import tree

V1_ROOT = Path("/sys/fs/cgroup/pids")


@pytest.fixture
def group() -> Iterator[Path]:
    """A group of the kernel's, outside the product, that limits its processes."""
    if not os.access(V1_ROOT / "cgroup.procs", os.W_OK):
        pytest.skip("no limit of processes can be set here: no writable cgroup v1 controller")
    made = V1_ROOT / f"wattline-test-{uuid.uuid4().hex}"
    try:
        made.mkdir()
    except OSError as error:
        pytest.skip(f"no limit of processes can be set here: {error}")
    yield made
    made.rmdir()


@pytest.mark.parametrize("is_forked", [False, True], ids=["vfork", "fork"])
def test_a_start_without_a_process_is_no_failure_of_its_job(
    tmp_path: Path, group: Path, is_forked: bool
) -> None:
    root = str(tmp_path / "shared") if is_forked else ""
    context = replace(CONTEXT, checkpoint_root=root)
    with keeper(tmp_path / "state", "--no-cgroup") as live:
        (group / "cgroup.procs").write_text(str(live.process.pid))
        (group / "pids.max").write_text("1")
        end = live.run(shell("exit 3", ref(1)), context).exit
        assert end is not None
        assert end.kind == "keeper_lost", "its job is tried again"
        assert end.detail == "no new process: Resource temporarily unavailable"
        (group / "pids.max").write_text("max")
        end = live.run(shell("exit 3", ref(2)), context).exit
        assert end is not None
        assert (end.kind, end.code) == ("exited", 3)


def test_a_keeper_whose_warden_cannot_be_replaced_now_does_that_later(
    tmp_path: Path, group: Path
) -> None:
    """The keeper's end would be that of all tasks."""
    with keeper(tmp_path / "state", "--no-cgroup") as live:
        (group / "cgroup.procs").write_text(str(live.process.pid))
        os.mkfifo(go := tmp_path / "go")
        live.runner.launch(shell(f"echo one; read line <{go}; echo two", ref(1)), CONTEXT)
        wait_until(lambda: live.log(ref(1)) == "one\n", "the first line")
        (group / "pids.max").write_text("1")
        os.kill(warden_of(live.process.pid), signal.SIGKILL)
        log = tmp_path / "state" / "keeper" / "log"
        wait_until(lambda: "no warden can be started" in log.read_text(), "a start that fails")
        (group / "pids.max").write_text("max")
        go.write_text("on\n")
        live.until("ended", ref(1))
        assert live.log(ref(1)) == "one\ntwo\n"


def warden_of(keeper_pid: int) -> int:
    children = tree.children_of(keeper_pid)
    assert children is not None
    names = {pid: tree.read_proc(f"/proc/{pid}/comm") for pid in children}
    return next(pid for pid, name in names.items() if name == b"wattline-warden\n")


@pytest.mark.parametrize("later", [(), (800.0,)], ids=["no-other", "another"])
def test_a_runtime_limit_that_a_full_disk_refuses_is_enforced_and_written_later(
    tmp_path: Path, later: tuple[float, ...]
) -> None:
    """Never over another one that the disk has taken since."""
    with keeper(tmp_path / "state", "--no-cgroup") as live:
        live.runner.launch(shell("sleep 1000", runtime_limit_s=1_000.0), CONTEXT)
        live.runner.close()
        orders, beside = live.state_dir / ORDERS_FILE, live.state_dir / f"{ORDERS_FILE}.new"
        orders.write_bytes(orders.read_bytes().rstrip(b"\0"))
        beside.mkdir()  # it is full, and the one to replace it cannot be made
        live.runner = connect(live.state_dir)
        live.runner.limit(ref(), 900.0)
        beside.rmdir()
        for limit_s in later:
            live.runner.limit(ref(), limit_s)
        live.run(shell("true", of=ref(2)))
        newest_s = [900.0, *later][-1]
        assert read_journal(orders)["1.0.1"]["order"]["runtime_limit_s"] == newest_s
        live.runner.limit(ref(), 0.5)
        end = live.until("ended").exit
        assert end is not None
        assert end.kind == "runtime_limit"
