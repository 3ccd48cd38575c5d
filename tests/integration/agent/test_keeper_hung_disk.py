"""Tasks of the keeper's own user beside a file system that hangs for real: FUSE, unanswered."""

import itertools
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.node.keepers import CONTEXT, LiveKeeper, keeper, order, ref, shell
from support.node.name_service import may_mount
from support.node.simnode import wait_until
from wattline_agent.core.ports import LaunchContext
from wattline_agent.keeper.journal import read_journal
from wattline_agent.keeper.life import START_PATIENCE_S
from wattline_agent.keeper.processes import tree
from wattline_agent.keeper.spawn import TASK_OOM_SCORE_ADJ
from wattline_agent.keeper.spec import STARTS_FILE
from wattline_agent.keeper.starting import MAX_UNDER_WAY
from wattline_protocol.ids import TaskRef

DEVICE = Path("/dev/fuse")
MOUNT = """
exec 3<> /dev/fuse
mount -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0,allow_other hung "$0" && exec "$@"
"""
LATER = """
import subprocess, sys
from wattline_agent.keeper.mounts import NotLocal, Mounts

mounts, folder = Mounts(), sys.argv[1]
for change in (["true"], ["mount", "-t", "proc", "proc", folder], ["umount", folder]):
    subprocess.run(change, check=True)
    try:
        mounts.touch(folder)
    except NotLocal:
        print("elsewhere")
    else:
        print("here")
mounts.close()
"""
FROM_ROOT = """
import sys
from pathlib import Path
from wattline_agent.keeper.mounts import NotLocal, Mounts

mounts = Mounts(Path(sys.argv[1]))
try:
    mounts.touch(sys.argv[2])
except NotLocal:
    print("elsewhere")
mounts.close()
"""
SLOW_S = 30.0
PATIENT_S = 60.0
"""For what is to be done before a start is given up, on a machine that may be busy."""

pytestmark = pytest.mark.skipif(
    not DEVICE.exists() or not may_mount(), reason="no file system may be mounted here"
)


@contextmanager
def beside_it(patience_s: float) -> Iterator[LiveKeeper]:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o711)
        for name in ("state", "hung"):
            (folder / name).mkdir(0o711)
        (folder / "link").symlink_to("hung")
        inside = ["unshare", "--mount", "sh", "-c", MOUNT, str(folder / "hung")]
        with keeper(folder / "state", inside=inside, patience_s=patience_s) as started:
            yield started


@pytest.fixture
def live() -> Iterator[LiveKeeper]:
    with beside_it(PATIENT_S) as started:
        yield started


@pytest.fixture
def brisk() -> Iterator[LiveKeeper]:
    """One that gives a start up as soon as hosts do."""
    with beside_it(START_PATIENCE_S) as started:
        yield started


def hung(live: LiveKeeper) -> Path:
    return live.state_dir.parent / "hung"


def launch_all(live: LiveKeeper) -> list[TaskRef]:
    """Tasks, each of which touches it in another way."""
    there, here = hung(live), live.state_dir.parent / "here"
    here.mkdir()
    for name, interpreter in (("script", there / "python"), ("twice", here / "script")):
        (here / name).write_text(f"#! {interpreter} -u\n")
        (here / name).chmod(0o755)
    (here / "linked").symlink_to(there / "linked")
    refs = map(ref, itertools.count(1))
    tasks = [
        shell("true", of=next(refs), workdir=str(there)),
        shell("true", of=next(refs), workdir=f"{there.parent}/link/below"),
        order(f"{there}/train", of=next(refs)),
        order("no-such-command", of=next(refs), env={"PATH": f"/usr/bin:{there}/bin"}),
        shell("true", of=next(refs), workdir=str(there), run_as="nobody"),
        order("linked", of=next(refs), workdir=str(here)),
        order("./script", of=next(refs), workdir=str(here)),
        order(f"{here}/twice", of=next(refs)),
    ]
    saves = shell("true", of=next(refs))
    checkpoints = f"/proc/{live.process.pid}/root{there}/checkpoints"
    live.runner.launch_all([*((task, CONTEXT) for task in tasks), (saves, within(checkpoints))])
    return [task.ref for task in (*tasks, saves)]


def within(checkpoints: Path | str) -> LaunchContext:
    return LaunchContext(CONTEXT.gpu_uuids, str(checkpoints), None, CONTEXT.node)


def test_starts_that_touch_it_hang_and_are_given_up(brisk: LiveKeeper) -> None:
    for one in launch_all(brisk):
        end = brisk.until_ended(one, SLOW_S).exit
        assert end is not None
        assert (end.kind, "no exec within 4 s" in end.detail) == ("not_startable", True)


def test_what_touches_it_not_runs_meanwhile(live: LiveKeeper) -> None:
    hang, other = launch_all(live), ref(99)
    assert live.run(shell("echo hello", of=other)).exit is not None
    assert live.log(other) == "hello\n"
    assert {live.seen(one).phase for one in hang} == {"starting"}


def test_a_stop_ends_one_that_hangs(live: LiveKeeper) -> None:
    live.runner.launch(shell("true", workdir=str(hung(live))), CONTEXT)
    live.runner.stop(ref(), 30.0, "cancelled")
    stopped = live.until("ended").exit
    assert stopped is not None
    assert stopped.signal == signal.SIGTERM


def test_what_no_signal_ends_keeps_nobody_from_his_turn(live: LiveKeeper) -> None:
    """One name after another is looked up in a directory: who waits for that cannot be killed."""
    first, *others = [ref(job) for job in range(1, MAX_UNDER_WAY + 1)]
    live.runner.launch(order(f"{hung(live)}/train", of=first), CONTEXT)
    wait_until(lambda: hangs(live, first), "the first looks it up")
    live.runner.freeze(first)  # it is not given up meanwhile
    tasks = [order(f"{hung(live)}/train", of=other) for other in others]
    live.runner.launch_all([(task, CONTEXT) for task in tasks])
    wait_until(lambda: all(hangs(live, other) for other in others), "the others wait for it")
    for other in others:
        live.runner.kill(other, "emergency", "the feed is gone")
    for other in others:
        end = live.until_ended(other, SLOW_S).exit
        assert end is not None
        assert len(end.leftover_pids) == 1, end
    assert live.run(shell("true", of=ref(1000), run_as="nobody")).exit is not None
    live.runner.kill(first, "emergency", "the feed is gone")
    wait_until(lambda: all(seen.group_ended for seen in live.observe()), "nothing is left")
    assert live.seen(others[0]).phase == "ended"


def hangs(live: LiveKeeper, of: TaskRef) -> bool:
    """It has a process that waits in the kernel, behind the step that may wait for a cgroup."""
    pid = read_journal(live.state_dir / STARTS_FILE)[f"{of.job}.{of.task}.{of.attempt}"]["pid"]
    process, score = tree.read_process(pid), tree.read_proc(f"/proc/{pid}/oom_score_adj")
    is_behind = score == f"{TASK_OOM_SCORE_ADJ}\n".encode()
    return is_behind and process is not None and process.state == "D"


def test_a_command_before_it_on_the_path_does_not_touch_it(live: LiveKeeper) -> None:
    path = f"{os.defpath}:{hung(live)}"
    end = live.run(order("true", of=ref(1), env={"PATH": path})).exit
    assert end is not None
    assert end.kind == "exited"


def test_a_job_has_a_directory_for_its_checkpoints(live: LiveKeeper) -> None:
    root = live.state_dir.parent / "checkpoints"
    task = shell("touch $WATTLINE_CHECKPOINT_DIR/mine", of=ref(5))
    live.run(task, within(root))
    assert (root / "5" / "mine").exists()
    live.run(shell("touch $WATTLINE_CHECKPOINT_DIR/too", of=ref(5, 0, 2)), within(root))
    assert (root / "5" / "too").exists(), "one that is there is used"
    (root / "6").touch()
    end = live.run(shell("true", of=ref(6)), within(root)).exit
    assert end is not None
    assert (end.kind, f"{root}/6" in end.detail) == ("not_startable", True), end


def test_what_is_mounted_later_is_not_touched_either(tmp_path: Path) -> None:
    done = subprocess.run(
        ["unshare", "--mount", sys.executable, "-c", LATER, str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("here\nelsewhere\nhere\n", "")


def test_where_the_root_is_a_servers_nothing_of_it_is_touched(tmp_path: Path) -> None:
    """As the table has it; what hangs for real lies on the way."""
    away, table = tmp_path / "hung", tmp_path / "table"
    away.mkdir()
    table.write_text("21 1 0:20 / / rw - nfs server:/ rw\n")
    look = [sys.executable, "-c", FROM_ROOT, str(table), f"{away}/below/x"]
    inside = ["unshare", "--mount", "sh", "-c", MOUNT, str(away), *look]
    done = subprocess.run(inside, check=False, capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("elsewhere\n", "")


def test_no_name_that_an_account_gives_a_mount_ends_the_keeper() -> None:
    """Users mount by FUSE where they like."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "state").mkdir()
        name = os.fsdecode(b"\r\xff\x0b \n\xe2\x80\xa8")
        (folder / name).mkdir()
        inside = ["unshare", "--mount", "sh", "-c", MOUNT, str(folder / name)]
        with keeper(folder / "state", inside=inside) as live:
            end = live.run(order("true", of=ref(1))).exit
            assert end is not None
            assert end.kind == "exited"


def test_what_is_wrong_there_is_said_as_elsewhere(live: LiveKeeper) -> None:
    """A path that may hang but does not, as /proc, is looked up by the child."""
    for job, (command, kind, words) in enumerate(
        [
            ("/proc/no-such", "not_found", "there is no /proc/no-such"),
            ("/proc/self", "not_startable", "is a directory"),
        ],
        1,
    ):
        end = live.run(order(command, of=ref(job))).exit
        assert end is not None
        assert (end.kind, words in end.detail) == (kind, True), end
    live.run(order("sh", "-c", "pwd", of=ref(8), workdir="/proc/sys/kernel"))
    wait_until(lambda: live.log(ref(8)) == "/proc/sys/kernel\n", "it runs")
