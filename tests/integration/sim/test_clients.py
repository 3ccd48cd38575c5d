"""Third-party NVML clients, unmodified, agree with pynvml on the same simulated GPUs."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.node.simnode import VirtualNode, client, make_node, virtual
from wattline_sim import control
from wattline_sim.holders import Hold
from wattline_sim.profiles import LOAD_PROFILES

GPUS = 4


@pytest.fixture
def node(tmp_path: Path) -> Iterator[VirtualNode]:
    """Two of four GPUs at load, held by this very process, one of them capped."""
    with virtual(make_node(tmp_path / "n", gpus=GPUS)) as stepped:
        client(stepped.node, "N.nvmlDeviceSetPowerManagementLimit(gpu(1), 450000)")
        hold = Hold(
            LOAD_PROFILES["training-hot"],
            is_active=True,
            pids=(os.getpid(),),
            working=frozenset({os.getpid()}),
        )
        stepped.advance(1)
        stepped.served.set_holds({0: hold, 1: hold}, 1_000_000)
        stepped.advance(60)
        yield stepped


def run_tool(node: VirtualNode, *command: str) -> str:
    tool = Path(sys.executable).parent / command[0]
    done = subprocess.run(
        [str(tool), *command[1:]],
        env={**os.environ, **node.node.env(), "COLUMNS": "140"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    return done.stdout


def numbers(node: VirtualNode, gpus: list[int]) -> list[list[float]]:
    """Per GPU: watts, enforced limit, temperature, memory used (v2) and total in MiB."""
    code = f"""
for i in {gpus}:
    h, m = gpu(i), N.nvmlDeviceGetMemoryInfo(gpu(i), N.nvmlMemory_v2)
    answer([N.nvmlDeviceGetPowerUsage(h) / 1000, N.nvmlDeviceGetEnforcedPowerLimit(h) / 1000,
            N.nvmlDeviceGetTemperature(h, 0), m.used / 2**20, m.total / 2**20])
"""
    return client(node.node, code)


def test_gpustat_agrees_with_pynvml(node: VirtualNode) -> None:
    shown = json.loads(run_tool(node, "gpustat", "--json"))["gpus"]
    assert len(shown) == GPUS
    for gpu, (watts, limit_w, celsius, used, total) in zip(
        shown, numbers(node, list(range(GPUS))), strict=True
    ):
        assert gpu["power.draw"] == pytest.approx(watts, abs=1)
        assert gpu["enforced.power.limit"] == pytest.approx(limit_w, abs=1)
        assert gpu["temperature.gpu"] == celsius
        assert gpu["memory.used"] == pytest.approx(used, abs=1)
        assert gpu["memory.total"] == pytest.approx(total, abs=1)
    assert shown[0]["power.draw"] > 500
    assert shown[1]["power.draw"] <= 450
    assert [p["pid"] for p in shown[0]["processes"]] == [os.getpid()]
    assert shown[2]["processes"] == []


def test_nvitop_agrees_with_pynvml(node: VirtualNode) -> None:
    screen = run_tool(node, "nvitop", "--once", "--no-unicode")
    rows = re.findall(r"(\d+)C\s+P\d\s+(\d+)W / (\d+)W \|\s+([\d.]+)([GM]?i?B) / ", screen)
    assert len(rows) == GPUS
    for row, (watts, limit_w, celsius, used, _) in zip(
        rows, numbers(node, list(range(GPUS))), strict=True
    ):
        assert int(row[0]) == celsius
        assert int(row[1]) == pytest.approx(watts, abs=1)
        assert int(row[2]) == limit_w
        mib = float(row[3]) * {"GiB": 1024, "MiB": 1, "B": 0}[row[4]]
        assert mib == pytest.approx(used, rel=0.01)
    assert str(os.getpid()) in screen


def test_both_show_the_others_when_one_gpu_is_lost(node: VirtualNode) -> None:
    control.lose_gpu(node.node.path, 3)
    shown = json.loads(run_tool(node, "gpustat", "--json"))["gpus"]
    assert all(gpu["power.draw"] > 50 for gpu in shown if gpu["index"] != 3)
    assert [gpu["index"] for gpu in shown if "power.draw" in gpu] == [0, 1, 2]
    screen = run_tool(node, "nvitop", "--once", "--no-unicode", "--only", "0", "1", "2")
    assert len(re.findall(r"\d+W / \d+W", screen)) == 3


def test_the_other_models_show_their_names_and_limits(tmp_path: Path) -> None:
    for model, text in (("a100", "400"), ("l40s", "350"), ("b200", "1000")):
        with virtual(make_node(tmp_path / model, model=model, gpus=1)) as stepped:
            (gpu,) = json.loads(run_tool(stepped, "gpustat", "--json"))["gpus"]
            assert model.upper() in gpu["name"]
            assert str(gpu["enforced.power.limit"]) == text
