"""`wattline agent --floors` as a process over the simulated driver: what the boot unit runs."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from support.node.agent_process import agent_on
from support.node.simnode import DEADLINE_S, wait_until
from support.programs.fake_scheduler import NON_GPU_WORST_MW, PSU_PERMILLE, FakeScheduler
from wattline_agent.core.durable import AgentState, LeaseOnFile, TermsOnFile
from wattline_protocol.ids import Epoch, Incarnation, Sequence
from wattline_protocol.site.wall_power import wall_mw
from wattline_sim import control, truth
from wattline_sim.node import NodeDir

GPUS = 4
W = 1000
FLOOR_MW, DEFAULT_MW = 200 * W, 700 * W
UNCAPPED, STATE_UNUSABLE, NO_DRIVER = 71, 74, 69


@pytest.fixture
def node(served: NodeDir) -> Iterator[NodeDir]:
    """A node as it comes up: default limits, no faults."""
    control.reload_driver(served.path)
    wait_until(lambda: true_caps(served) == (DEFAULT_MW,) * GPUS, "default limits")
    yield served
    control.release(served.path)


def true_caps(node: NodeDir) -> tuple[int, ...]:
    """Limits that the simulated GPUs enforced in the last second; () before the first."""
    seconds = list(truth.read(node.path))
    return seconds[-1].cap_mw if seconds else ()


def floors(node: NodeDir, state: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The command as the unit runs it."""
    command = [sys.executable, "-m", "wattline", "agent", "--floors", "--json"]
    command += ["--state-dir", str(state), "--nvml-lib", str(node.library)]
    return subprocess.run(
        [*command, "--sysfs-root", str(node.sysfs), *options],
        env={**os.environ, **node.env()},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def on_file(state: Path) -> AgentState:
    return msgspec.json.decode((state / "agent.state").read_bytes(), type=AgentState)


def put_on_file(state: Path, content: AgentState) -> None:
    (state / "agent.state").write_bytes(msgspec.json.encode(content))


def test_every_gpu_is_at_its_lowest_cap(node: NodeDir, tmp_path: Path) -> None:
    done = floors(node, tmp_path / "state")
    assert done.returncode == 0, done.stderr
    assert '"floors_set"' in done.stderr
    wait_until(lambda: true_caps(node) == (FLOOR_MW,) * GPUS, "floors")


def test_only_managed_gpus_are_touched(node: NodeDir, tmp_path: Path) -> None:
    assert floors(node, tmp_path / "state", "--gpus", "1-2").returncode == 0
    expected = (DEFAULT_MW, FLOOR_MW, FLOOR_MW, DEFAULT_MW)
    wait_until(lambda: true_caps(node) == expected, "floors of GPUs 1 and 2")


def test_a_second_run_forgets_nothing_that_the_first_found(node: NodeDir, tmp_path: Path) -> None:
    for _ in range(2):
        assert floors(node, tmp_path / "state").returncode == 0
    assert set(on_file(tmp_path / "state").found_mw.values()) == {DEFAULT_MW}


def test_an_agent_that_leaves_restores_what_the_boot_unit_found(
    node: NodeDir, tmp_path: Path
) -> None:
    assert floors(node, tmp_path / "state").returncode == 0
    scheduler = FakeScheduler(tmp_path / "n1.toml")
    with agent_on(node, tmp_path / "n1.toml", tmp_path / "state") as agent:
        scheduler.adopted()
        wait_until(lambda: true_caps(node) == (FLOOR_MW,) * GPUS, "floors")
        assert agent.stop() == 0
    scheduler.close()
    wait_until(lambda: true_caps(node) == (DEFAULT_MW,) * GPUS, "limits as before the boot unit")


@pytest.mark.parametrize("trouble", ["lost", "denied"])
def test_gpus_that_cannot_be_capped_are_named(node: NodeDir, tmp_path: Path, trouble: str) -> None:
    if trouble == "lost":
        control.lose_gpu(node.path, 2)
    else:
        control.no_permission(node.path)
    done = floors(node, tmp_path / "state")
    assert done.returncode == UNCAPPED
    named = [line for line in done.stderr.splitlines() if "gpu_not_capped" in line]
    assert len(named) == (1 if trouble == "lost" else GPUS)
    assert '"gpu": 2' in named[0 if trouble == "lost" else 2]
    assert ("lost" if trouble == "lost" else "permission") in named[0]
    if trouble == "lost":
        wait_until(lambda: true_caps(node)[0] == FLOOR_MW, "floors of its neighbours")


@pytest.mark.parametrize("changed", ["nothing", "boot", "driver", "caps"])
def test_a_lease_in_force_is_left_alone(node: NodeDir, tmp_path: Path, changed: str) -> None:
    state = tmp_path / "state"
    assert floors(node, state).returncode == 0
    found = on_file(state)
    lease_w = 700 * GPUS if changed != "caps" else 699 * GPUS
    lease_mw = wall_mw(lease_w * W + NON_GPU_WORST_MW, PSU_PERMILLE)
    wanted_mw = (DEFAULT_MW,) * GPUS
    lease = LeaseOnFile(Epoch(1), Incarnation(1), Sequence(1), lease_mw, wanted_mw)
    terms = TermsOnFile(1.0, 15.0, "keep", 300.0, NON_GPU_WORST_MW, PSU_PERMILLE)
    driver = "another" if changed == "driver" else found.driver_instance
    boot = "another" if changed == "boot" else found.boot_id
    put_on_file(state, AgentState(boot, driver, lease=lease, terms=terms))
    restored = floors_lifted(node)
    assert restored == (DEFAULT_MW,) * GPUS
    done = floors(node, state)
    assert done.returncode == 0, done.stderr
    assert ("lease_in_force" in done.stderr) == (changed == "nothing")
    expected = DEFAULT_MW if changed == "nothing" else FLOOR_MW
    wait_until(lambda: true_caps(node) == (expected,) * GPUS, "limits as they should be")


def floors_lifted(node: NodeDir) -> tuple[int, ...]:
    """Put the default limits back, as an agent with a large lease would; what is then in force."""
    code = (
        "import pynvml as N\nN.nvmlInit()\n"
        f"for index in range({GPUS}):\n"
        "    gpu = N.nvmlDeviceGetHandleByIndex(index)\n"
        f"    N.nvmlDeviceSetPowerManagementLimit(gpu, {DEFAULT_MW})\n"
    )
    environ = {**os.environ, **node.env()}
    subprocess.run([sys.executable, "-c", code], env=environ, check=True, timeout=DEADLINE_S)
    wait_until(lambda: true_caps(node) == (DEFAULT_MW,) * GPUS, "limits lifted")
    return true_caps(node)


def test_beside_a_running_agent_nothing_is_done(node: NodeDir, tmp_path: Path) -> None:
    scheduler = FakeScheduler(tmp_path / "n1.toml")
    with agent_on(node, tmp_path / "n1.toml", tmp_path / "state"):
        scheduler.adopted()
        before = (tmp_path / "state" / "agent.state").read_bytes()
        done = floors(node, tmp_path / "state")
        assert done.returncode == 0
        assert "another agent uses" in done.stderr
        assert (tmp_path / "state" / "agent.state").read_bytes() == before
    scheduler.close()


def test_a_damaged_state_file_keeps_no_gpu_uncapped(node: NodeDir, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "agent.state").write_text("{")
    done = floors(node, tmp_path / "state")
    assert done.returncode == STATE_UNUSABLE
    assert "agent.state is damaged" in done.stderr
    wait_until(lambda: true_caps(node) == (FLOOR_MW,) * GPUS, "floors")


def test_without_a_driver_it_says_so(node: NodeDir, tmp_path: Path) -> None:
    no_library = tmp_path / "libnvidia-ml.so.1"
    no_library.write_text("")
    done = floors(node, tmp_path / "state", "--nvml-lib", str(no_library))
    assert done.returncode == NO_DRIVER
    assert "no_driver" in done.stderr
    assert done.stderr.count("\n") == 1


def test_observing_and_capping_exclude_each_other(node: NodeDir, tmp_path: Path) -> None:
    done = floors(node, tmp_path / "state", "--observe")
    assert done.returncode == 2
    assert "--observe" in done.stderr
