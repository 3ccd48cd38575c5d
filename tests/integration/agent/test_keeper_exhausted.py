"""Starts on a host that has no process left: by a fork bomb of somebody, say."""

import os
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from support.node.keepers import CONTEXT, keeper, ref, shell

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
