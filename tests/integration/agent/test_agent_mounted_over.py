"""What an account owns it may cover with a file system of its own (FUSE): the agent lives on."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from support.name_service import may_mount

TESTS = Path(__file__).parents[2]
DEVICE = Path("/dev/fuse")
AGENT = """
import ctypes, os, sys
from pathlib import Path
from support.keepers import CONTEXT, connect, keeper, ref, shell
from wattline_agent.executor import runner
from wattline_agent.ports import TaskSeen

folder, options = Path(sys.argv[1]), sys.argv[2]
runner.KEPT_ATTEMPTS = 0


def cover(path: Path) -> None:
    device = os.open("/dev/fuse", os.O_RDWR)
    mode = "40000" if path.is_dir() else "100000"
    how = f"fd={device},rootmode={mode},user_id=65534,group_id=65534{options}"
    assert ctypes.CDLL(None).mount(b"theirs", bytes(path), b"fuse", 0, how.encode()) == 0, path


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
"""

pytestmark = pytest.mark.skipif(
    not DEVICE.exists() or not may_mount(), reason="no file system may be mounted here"
)


@pytest.mark.parametrize("options", ["", ",allow_other"], ids=["closed to root", "hangs"])
def test_the_agent_neither_ends_nor_hangs(options: str) -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o711)
        (folder / "state").mkdir(0o711)
        inside = ["unshare", "--mount", sys.executable, "-c", AGENT, str(folder), options]
        environ = {**os.environ, "PYTHONPATH": str(TESTS)}
        done = subprocess.run(
            inside, check=False, capture_output=True, text=True, timeout=60, env=environ
        )
    assert (done.stdout, done.stderr) == ("not_startable\n", "")
