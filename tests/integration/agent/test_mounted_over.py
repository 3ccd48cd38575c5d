"""What an account owns it may cover with a file system of its own (FUSE): the agent lives on."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from support.node.name_service import may_mount

TESTS = Path(__file__).parents[2]
DEVICE = Path("/dev/fuse")
COVER = """
import ctypes, os, sys
from pathlib import Path
from support.node.keepers import CONTEXT, connect, keeper, ref, shell
from support.node.simnode import wait_until
from wattline_agent.executor import runner
from wattline_agent.executor.cleanup import MAX_AT_ONCE, Cleanup
from wattline_agent.executor.dir_pool import DirPool
from wattline_agent.core.ports import TaskSeen

folder, options = Path(sys.argv[1]), sys.argv[2]


def cover(path: Path) -> None:
    device = os.open("/dev/fuse", os.O_RDWR)
    mode = "40000" if path.is_dir() else "100000"
    how = f"fd={device},rootmode={mode},user_id=65534,group_id=65534{options}"
    assert ctypes.CDLL(None).mount(b"theirs", bytes(path), b"fuse", 0, how.encode()) == 0, path


"""
AGENT = """
runner.KEPT_ATTEMPTS = 0
with keeper(folder / "state") as live:
    def run(job: int, text: str) -> TaskSeen:
        live.runner.launch(shell(text, of=ref(job), run_as="nobody"), CONTEXT)
        return live.until("running" if "sleep" in text else "ended", ref(job))

    report = 'echo \\'{"metrics": {"loss": 1}}\\' >> $WATTLINE_METRICS'
    run(1, f"{report}; sleep 1000")
    cover(live.beside("metrics.jsonl"))
    live.runner._list()
    live.runner.kill(ref(1), "emergency", "over")
    live.until("ended", ref(1))
    cover(live.task_dir())
    cover(folder / "state" / "checkpoints" / "1")
    live.runner.drop(ref(1))
    run(2, report)
    assert live.seen(ref(2)).metrics == {"loss": 1}
    live.runner.drop(ref(2))
    live.runner.launch(shell("true", of=ref(3), run_as="nobody", kind="service"), CONTEXT)
    live.until("ended", ref(3))
    cover(live.beside("worker.secret", ref(3)))
    live.runner.drop(ref(3))
    live.runner.launch(shell("true", of=ref(1, 0, 2), run_as="nobody"), CONTEXT)
    end = live.until("ended", ref(1, 0, 2)).exit
    print(end.kind)
    live.runner.close()
    live.runner = connect(live.state_dir)  # another agent finds all that
    live.runner.drop(ref(1, 0, 2))
    DirPool().make(str(folder / "state" / "checkpoints" / "1"))
"""
PRUNES = """
runner.KEPT_ATTEMPTS = 0
with keeper(folder / "state") as live:
    refs = [ref(job) for job in range(1, MAX_AT_ONCE + 2)]
    for at, one in enumerate(refs):
        live.runner.launch(shell("mkdir -p deep/below", of=one, run_as="nobody"), CONTEXT)
        live.until("ended", one)
        if at < MAX_AT_ONCE:
            cover(live.task_dir(one) / "deep" / "below")
        live.runner.drop(one)
    *_, last = (live.task_dir(one) for one in refs)
    wait_until(lambda: not last.exists(), "it is pruned")
    live.runner.close()  # at once: nothing hangs
    live.runner = connect(live.state_dir)
    print("pruned")
"""
HANGS = """
folders = [folder / str(n) for n in range(MAX_AT_ONCE + 1)]
cleanup = Cleanup(patience_s=0.0)
for one in folders:
    (one / "below").mkdir(parents=True)
    if one != folders[-1]:
        cover(one / "below")
    else:
        assert not cleanup.is_full(), "none of them has the time that it needs"
    cleanup.begin(str(one))
wait_until(lambda: not folders[-1].exists(), "it is removed")
cleanup.close()
print("removed")
"""

pytestmark = pytest.mark.skipif(
    not DEVICE.exists() or not may_mount(), reason="no file system may be mounted here"
)


@pytest.mark.parametrize("options", ["", ",allow_other"], ids=["closed to root", "hangs"])
def test_the_agent_neither_ends_nor_hangs(options: str) -> None:
    assert said_by(AGENT, options) == "not_startable"


def test_what_is_mounted_in_a_directory_keeps_no_other_from_being_pruned() -> None:
    assert said_by(PRUNES, ",allow_other") == "pruned"


def test_a_removal_that_hangs_is_broken_off() -> None:
    """Something was mounted after the look."""
    assert said_by(HANGS, ",allow_other") == "removed"


def said_by(program: str, options: str) -> str:
    """What it prints, in mounts of its own."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o711)
        (folder / "state").mkdir(0o711)
        inside = ["unshare", "--mount", sys.executable, "-c", COVER + program, str(folder), options]
        environ = {**os.environ, "PYTHONPATH": str(TESTS)}
        done = subprocess.run(
            inside, check=False, capture_output=True, text=True, timeout=60, env=environ
        )
    assert done.stderr == ""
    return done.stdout.strip()
