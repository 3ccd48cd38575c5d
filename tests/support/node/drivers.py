"""What every GPU driver behind the agent's protocol must do, and a way to run it in a process of
its own (one process can load only one `libnvidia-ml.so.1`)."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from wattline_agent.core.ports import DeviceInfo, Driver, FastReading, SlowReading
from wattline_protocol.ids import GpuIndex
from wattline_sim.node import NodeDir

DEADLINE_S = 60.0
_PRELUDE = """
import json, os, sys, threading, time
from pathlib import Path
from support.node.drivers import check_driver
from support.node.simnode import wait_until
from wattline_agent.device import open_collector
from wattline_agent.device.nvml import NvmlDriver
from wattline_agent.core.ports import FastReading, SlowReading, Stale
from wattline_sim import control
from wattline_sim.state import CallClass
HERE = os.environ.get("SIM_NODE", "")
def answer(value):
    print(json.dumps(value), flush=True)
"""
_OPEN = """
node = Path(HERE)
LIBRARY, SYSFS = node / "libnvidia-ml.so.1", node / "sysfs"
"""


def agent_process(code: str, node: NodeDir | None = None) -> list[Any]:
    """Run `code` in a new process that may load a driver; returns what it answered."""
    tests = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": str(tests), "PYTHONWARNINGS": "error"}
    text = _PRELUDE
    if node is not None:
        env["SIM_NODE"] = str(node.path)
        text += _OPEN
    done = subprocess.run(
        [sys.executable, "-c", text + code],
        env=env,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def check_driver(driver: Driver, *, may_set: bool) -> None:
    """Assert that `driver` keeps the protocol on all of its GPUs. Sets caps only if `may_set`."""
    assert driver.count() > 0
    assert driver.driver_instance()
    assert driver.driver_instance() == driver.driver_instance()
    for index in map(GpuIndex, range(driver.count())):
        info = driver.info(index)
        assert isinstance(info, DeviceInfo)
        _check_info(info, index)
        _check_readings(driver, index)
        if may_set and info.can_cap:
            _check_caps(driver, info)
        elif not info.can_cap:
            assert info.why_not


def _check_info(info: DeviceInfo, index: GpuIndex) -> None:
    assert info.index == index
    assert info.uuid.startswith("GPU-")
    assert info.name
    assert info.memory_bytes > 0
    assert info.temp_limit_c is None or 40 < info.temp_limit_c < 150
    assert 0 < info.cap_min_mw <= info.cap_default_mw <= info.cap_max_mw


def _check_readings(driver: Driver, index: GpuIndex) -> None:
    first, second = driver.read(index), driver.read(index)
    assert isinstance(first, FastReading)
    assert isinstance(second, FastReading)
    assert first.index == index
    assert second.mono_s >= first.mono_s > 0
    assert first.power_mw is None or 0 < first.power_mw < 2_000_000
    assert first.enforced_mw is None or 0 < first.enforced_mw < 2_000_000
    assert first.temp_c is None or -20 < first.temp_c < 130
    assert first.util_pct is None or 0 <= first.util_pct <= 100
    used = driver.process_use(index)
    assert all(pid > 0 and 0 <= percent <= 100 for pid, percent in used.items())
    slow = driver.read_slow(index)
    assert isinstance(slow, SlowReading)
    assert slow.index == index


def _check_caps(driver: Driver, info: DeviceInfo) -> None:
    before = driver.read_cap(info.index)
    assert not before.error
    for cap_mw in (info.cap_min_mw, (info.cap_min_mw + info.cap_max_mw) // 2, info.cap_max_mw):
        result = driver.set_cap(info.index, cap_mw)
        assert not result.error
        assert result.host_limit_mw == cap_mw
        now = driver.read_cap(info.index)
        assert (result.enforced_mw, result.host_limit_mw) == (now.enforced_mw, now.host_limit_mw)
        reading = driver.read(info.index)
        assert isinstance(reading, FastReading)
        assert (reading.enforced_mw, reading.host_limit_mw) == (cap_mw, cap_mw)
    refused = driver.set_cap(info.index, info.cap_max_mw + 1000)
    assert "outside the limits" in refused.error
    assert refused.host_limit_mw == info.cap_max_mw
    assert before.host_limit_mw is not None
    assert not driver.set_cap(info.index, before.host_limit_mw).error
