"""The launchers of Ray on two nodes of one host: order, addresses, statuses, and what stays.

Ray itself is a stand-in that notes how it is started; `make examples-heavy` has the real one.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from wattline_runtime.train import ray_cluster
from wattline_runtime.train.ray_cluster import free_port, node_flags

NOTES = """
import json, os, sys

def main():
    with open(os.environ["NOTES"], "a") as file:
        file.write(json.dumps(sys.argv[1:]) + "\\n")
    sys.exit(int(os.environ.get("RAY_STATUS", "0")))
"""
ABSENT = 'import os; assert "NO_RAY" not in os.environ'
DRIVER = "import os, sys; print(os.environ['RAY_ADDRESS']); sys.exit(3)"


class Gang:
    """Launchers of one gang on this host."""

    def __init__(self, folder: Path, nodes: int) -> None:
        self.folder, self.nodes, self.port = folder, nodes, free_port()
        package = folder / "lib" / "ray" / "scripts"
        package.mkdir(parents=True)
        (package / "scripts.py").write_text(NOTES)
        (package.parent / "__init__.py").write_text(ABSENT)
        self.env = os.environ | {"PYTHONPATH": str(folder / "lib"), "NOTES": str(folder / "notes")}

    def start(self, rank: int, *command: str, **env: str) -> "subprocess.Popen[str]":
        task_dir = self.folder / f"task-{rank}"
        task_dir.mkdir()
        plan = {"host": "127.0.0.1", "port": self.port, "node_rank": rank, "nodes": self.nodes}
        plan |= {"gpus": 1, "cpus": 2, "memory_bytes": 0}
        return subprocess.Popen(
            [sys.executable, ray_cluster.__file__, json.dumps(plan), *command],
            env={**self.env, **env, "WATTLINE_TASK_DIR": str(task_dir)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def notes(self) -> list[list[str]]:
        lines = (self.folder / "notes").read_text().splitlines()
        return [json.loads(line) for line in lines]


def link_of(head: list[str]) -> Path:
    return Path(next(flag for flag in head if flag.startswith("--temp-dir=")).partition("=")[2])


def test_the_command_runs_once_ray_is_on_all_nodes_and_its_end_is_that_of_the_gang(
    tmp_path: Path,
) -> None:
    gang = Gang(tmp_path, nodes=2)
    follower = gang.start(1)  # the first node comes later
    leader = gang.start(0, sys.executable, "-c", DRIVER)
    out, _ = leader.communicate(timeout=60)
    follower.communicate(timeout=60)
    assert (leader.returncode, follower.returncode) == (3, 0)
    head, worker = gang.notes()
    address = next(flag for flag in worker if flag.startswith("--address=")).partition("=")[2]
    assert out.strip() == address
    assert f"--port={address.rpartition(':')[2]}" in head
    assert "--node-ip-address=127.0.0.1" in head
    assert "--node-ip-address=127.0.0.1" in worker
    assert not link_of(head).is_symlink()


def test_a_gang_without_its_first_node_ends_and_says_so(tmp_path: Path) -> None:
    gang = Gang(tmp_path, nodes=2)
    leader = gang.start(0, "cat")
    follower = gang.start(1)
    while not (tmp_path / "notes").exists() or len(gang.notes()) < 2:
        assert leader.poll() is None
    leader.kill()
    _, said = follower.communicate(timeout=60)
    assert (follower.returncode, said.strip()) == (1, "ray: the first node of the gang has gone")
    link_of(gang.notes()[0]).unlink(missing_ok=True)
    leader.communicate(timeout=60)


@pytest.mark.parametrize(
    ("env", "said"),
    [({"RAY_STATUS": "7"}, "ray start has failed with 7"), ({"NO_RAY": "1"}, "has no Ray")],
)
def test_a_node_where_ray_does_not_start_says_why(
    tmp_path: Path, env: dict[str, str], said: str
) -> None:
    leader = Gang(tmp_path, nodes=1).start(0, sys.executable, "-c", "", **env)
    _, errors = leader.communicate(timeout=60)
    assert leader.returncode == 1
    assert said in errors


def test_ray_gets_what_the_job_was_given() -> None:
    plan = {"gpus": 4, "cpus": 0, "memory_bytes": 1000}
    flags = set(node_flags(plan, "10.0.0.2"))
    assert {"--node-ip-address=10.0.0.2", "--num-gpus=4", "--memory=700"} <= flags
    assert "--object-store-memory=300" in flags
    assert not any(flag.startswith("--num-cpus") for flag in flags)
