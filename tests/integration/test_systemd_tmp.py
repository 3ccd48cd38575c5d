"""The agent behind the mounts that its unit asks systemd for, beside a host's MPS daemon."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.node.name_service import may_mount
from support.node.simnode import make_node, serving
from wattline_agent.executor.mps import DAEMON, DEFAULT_PIPES, PID_FILE

CHECKOUT = Path(__file__).parents[2]
UNIT = CHECKOUT / "systemd" / "wattline-agent.service"
MOUNTS = """
set -e
mount --bind "$3" /media         # the checkout: it may lie below /tmp
mount --bind "$1" /mnt           # what the agent is given, from where its /tmp would hide it
mount --bind /mnt/tmp /tmp       # the host's, as its daemon left it
if [ "$2" = yes ]; then mount -t tmpfs private /tmp; fi
mkdir -p "$3"
mount --bind /media "$3"
mount -o remount,bind,ro /tmp    # ProtectSystem=strict: all but the state directory
mount -o remount,bind,ro /
if touch /tmp/probe; then exit 9; fi
shift 3
exec "$@"
"""
"""In a mount namespace: `$1` = folder of the test, `$2` = PrivateTmp, `$3` = checkout."""


pytestmark = pytest.mark.skipif(not may_mount(), reason="no mounts may be made here")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[int]:
    """A process that is named as NVIDIA's is, and its directory in a /tmp of its own."""
    program = tmp_path / "nvidia-cuda-mps-control"
    assert program.name.startswith(DAEMON)
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    with subprocess.Popen([str(program), "1000"]) as process:
        pipes = tmp_path / "tmp" / Path(DEFAULT_PIPES).name
        pipes.mkdir(parents=True)
        (pipes / PID_FILE).write_text(f"{process.pid}\n")
        yield process.pid
        process.kill()


def found_behind(folder: Path, private_tmp: str) -> str:
    """What `agent --check` says of the sharing of GPUs there."""
    node = make_node(folder / "node", gpus=1)
    check = [sys.executable, "-m", "wattline_agent", "--check", "--json"]
    check += ["--state-dir", "/mnt/state", "--sysfs-root", "/mnt/node/sysfs"]
    check += ["--nvml-lib", f"/mnt/node/{node.library.name}"]
    given = [str(folder), private_tmp, str(CHECKOUT)]
    inside = ["unshare", "--mount", "sh", "-c", MOUNTS, "sh", *given, *check]
    with serving(node):
        done = subprocess.run(inside, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert rows["state"]["verdict"] == "ok", rows["state"]
    return str(rows["GPU sharing"]["found"])


@pytest.mark.usefixtures("daemon")
def test_the_agent_sees_the_mps_daemon_that_tasks_use(tmp_path: Path) -> None:
    (private_tmp,) = (
        value
        for name, _, value in (line.partition("=") for line in UNIT.read_text().splitlines())
        if name == "PrivateTmp"
    )
    assert DEFAULT_PIPES in found_behind(tmp_path, private_tmp)


@pytest.mark.usefixtures("daemon")
def test_behind_a_tmp_of_its_own_it_would_see_none(tmp_path: Path) -> None:
    assert "no MPS daemon" in found_behind(tmp_path, "yes")
