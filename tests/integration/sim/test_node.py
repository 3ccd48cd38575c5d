"""The physics process: load from real processes, truth, sysfs, lifetime."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.node.simnode import client, holding, make_node, serving, wait_until
from wattline_sim import control, truth
from wattline_sim.node import NodeDir, NodeDirError, prepare
from wattline_sim.statefile import open_state

READ_POWER = "answer([N.nvmlDeviceGetPowerUsage(gpu(i)) for i in range(N.nvmlDeviceGetCount())])"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeDir]:
    made = make_node(tmp_path / "n", gpus=3)
    with serving(made):
        yield made


def power_mw(node: NodeDir, gpu: int) -> int:
    """The published 1 s average, without a client process."""
    return int(open_state(node.state_file).gpus[gpu].telemetry.power_average_mw)


def listed_pids(node: NodeDir, gpu: int) -> list[int]:
    processes = open_state(node.state_file).gpus[gpu].processes
    return [processes.entries[slot].pid for slot in range(processes.count)]


def test_load_follows_a_busy_process_and_ends_when_it_is_stopped_or_gone(node: NodeDir) -> None:
    uuid = open_state(node.state_file).gpus[2].identity.uuid.decode()
    with holding(node, f"0,{uuid}") as process:
        wait_until(lambda: power_mw(node, 0) > 500_000, "GPU 0 at load")
        wait_until(lambda: power_mw(node, 2) > 500_000, "GPU 2 at load")
        assert power_mw(node, 1) < 120_000
        assert listed_pids(node, 0) == listed_pids(node, 2) == [process.pid]
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: power_mw(node, 0) < 120_000, "idle while stopped")
        assert listed_pids(node, 0) == [process.pid]  # it still holds its memory
        process.send_signal(signal.SIGCONT)
        wait_until(lambda: power_mw(node, 0) > 500_000, "load again after SIGCONT")
    wait_until(lambda: power_mw(node, 0) < 120_000, "idle after the end")
    wait_until(lambda: listed_pids(node, 0) == [], "no process listed")


def holds_without_load(node: NodeDir, gpu: int) -> bool:
    seen = open_state(node.state_file).gpus[gpu].telemetry
    return bool(seen.memory_used_bytes > 60 << 30 and seen.gpu_percent == 0)


def test_a_process_that_sleeps_holds_memory_and_draws_nothing(node: NodeDir) -> None:
    with holding(node, "1", profile="decode", code="import signal; signal.pause()") as process:
        wait_until(lambda: listed_pids(node, 1) == [process.pid], "the holder listed")
        wait_until(lambda: holds_without_load(node, 1), "its memory, and no load")


def test_a_launcher_and_its_worker_count_once_and_the_worker_is_listed(node: NodeDir) -> None:
    busy = "while True: pass"
    launch = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}])"
    with holding(node, "0", code=launch) as launcher:
        wait_until(
            lambda: len(pids := listed_pids(node, 0)) == 1 and pids != [launcher.pid],
            "only the worker listed",
        )
        (worker,) = listed_pids(node, 0)
        parent = Path(f"/proc/{worker}/stat").read_text().rsplit(")", 1)[1].split()[1]
        assert int(parent) == launcher.pid
        os.kill(worker, signal.SIGKILL)


def test_a_process_holds_the_node_that_comes_first_on_its_library_path(tmp_path: Path) -> None:
    first, second = (make_node(tmp_path / name, gpus=1, name=name) for name in "ab")
    both = f"{second.path}:{first.path}"
    env = {**os.environ, "LD_LIBRARY_PATH": both, "CUDA_VISIBLE_DEVICES": "0"}
    with serving(first, second), subprocess.Popen(["sleep", "600"], env=env) as process:
        wait_until(lambda: listed_pids(second, 0) == [process.pid], "the second node held")
        assert listed_pids(first, 0) == []
        process.kill()


def test_a_client_without_devices_is_no_holder(node: NodeDir) -> None:
    env = {**os.environ, **node.env()}
    env.pop("CUDA_VISIBLE_DEVICES", None)
    began_ns = control.heartbeat_ns(node.path)
    with subprocess.Popen([sys.executable, "-c", "while True: pass"], env=env) as watcher:
        wait_until(
            lambda: control.heartbeat_ns(node.path) - began_ns > 2_000_000_000, "2 s of physics"
        )
        assert [listed_pids(node, gpu) for gpu in range(3)] == [[], [], []]
        assert power_mw(node, 0) < 120_000
        watcher.kill()


def test_truth_stays_below_the_caps_and_lines_up_between_nodes(tmp_path: Path) -> None:
    nodes = [make_node(tmp_path / name, gpus=2, seed=i, name=name) for i, name in enumerate("ab")]
    with serving(*nodes), holding(nodes[0], "0,1"):
        wait_until(lambda: power_mw(nodes[0], 0) > 500_000, "load")
        client(nodes[0], "N.nvmlDeviceSetPowerManagementLimit(gpu(0), 300000)")
        limited_s = time.monotonic()
        wait_until(
            lambda: all(
                any(s.monotonic_s > limited_s + 3 for s in truth.read(n.path)) for n in nodes
            ),
            "three seconds of truth under the cap",
        )
    first, second = (list(truth.read(n.path)) for n in nodes)
    for sample in first + second:
        assert sample.monotonic_s == int(sample.monotonic_s)
        assert sample.wall_w > sum(sample.gpu_w)
        for watts, cap_mw in zip(sample.gpu_w, sample.cap_mw, strict=True):
            assert watts * 1000 <= cap_mw + 1
    late = [s for s in first if s.monotonic_s > limited_s + 1.1]
    assert late
    assert all(s.cap_mw == (300_000, 700_000) and s.gpu_w[0] <= 300.0 for s in late)
    assert any(s.reasons[0] & 0x4 for s in late)
    times = [{s.monotonic_s for s in samples} for samples in (first, second)]
    assert len(times[0] & times[1]) >= 3
    assert abs(late[-1].monotonic_s - time.monotonic()) < 30


def test_the_sysfs_tree_follows_the_node(node: NodeDir) -> None:
    meter = node.sysfs / "class/hwmon/hwmon0/power1_average"
    energy = node.sysfs / "class/powercap/intel-rapl:0/energy_uj"
    wait_until(lambda: int(meter.read_text()) > 500_000_000, "the meter's first reading")
    before_uj = int(energy.read_text())
    wait_until(lambda: int(energy.read_text()) > before_uj, "RAPL counting")
    control.set_inlet(node.path, 31.5)
    inlet = node.sysfs / "class/hwmon/hwmon1/temp1_input"
    wait_until(lambda: int(inlet.read_text()) == 31_500, "the new inlet temperature")
    with pytest.raises(control.ControlError, match="-20"):
        control.set_inlet(node.path, 200.0)


def test_a_restarted_physics_process_goes_on_with_limits_and_counters(tmp_path: Path) -> None:
    node = make_node(tmp_path / "n", gpus=1)
    read = "answer([N.nvmlDeviceGetPowerManagementLimit(gpu(0)), fields(0, [83])[0][1]])"
    with serving(node):
        client(node, "N.nvmlDeviceSetPowerManagementLimit(gpu(0), 444000)")
        wait_until(lambda: client(node, read)[0][1] > 50_000, "some energy counted")
        (before,) = client(node, read)
    with serving(node):
        (after,) = client(node, read)
    assert after[0] == 444_000
    assert after[1] >= before[1]


def test_one_folder_has_one_simulator(node: NodeDir) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wattline_sim.node", "--dir", str(node.path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "already being simulated" in done.stderr
    assert done.stderr.count("\n") == 1
    with pytest.raises(NodeDirError, match="already being simulated"):
        prepare(node.path, model="h100", gpus=1, seed=1, name="again")


def test_a_folder_that_is_no_node_is_refused_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wattline_sim.node", "--dir", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "not a prepared simulated node" in done.stderr
    with pytest.raises(NodeDirError, match="letters"):
        prepare(tmp_path / "x", model="h100", gpus=1, seed=1, name="../x")


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    node = make_node(tmp_path / "n", gpus=1)
    start = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-m', 'wattline_sim.node', '--dir',"
        " sys.argv[1], '--exit-with-parent'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)"
    )
    command = [sys.executable, "-c", start, str(node.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        wait_until(lambda: control.heartbeat_ns(node.path) > 0, "first step")
        parent.kill()
    wait_until(lambda: _is_gone(pid), "the simulator to end")


def _is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_node_started_by_hand_prints_lines_that_work(tmp_path: Path) -> None:
    start = (
        "import sys; from wattline_sim.node import run_node;"
        "sys.exit(run_node(model='a100', gpus=2, name='bench'))"
    )
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", start]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(7)]
        (line,) = [text.strip() for text in lines if text.endswith("gpustat --json\n")]
        shown = subprocess.run(
            f"{line}", shell=True, check=True, capture_output=True, text=True, env=_with_scripts()
        )
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert "A100-SXM4-80GB" in shown.stdout
    assert list(tmp_path.iterdir()) == []


def _with_scripts() -> dict[str, str]:
    """The environment of a shell in which the tools beside this interpreter are found."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def test_an_impossible_node_is_refused_by_the_verb(capsys: pytest.CaptureFixture[str]) -> None:
    from wattline_sim.node import run_node

    assert run_node(model="h200", gpus=8) == 2
    assert "known: h100, a100, l40s, b200" in capsys.readouterr().err
    assert run_node(model="h100", gpus=99) == 2
    assert "1 to 16 GPUs" in capsys.readouterr().err
