"""The collector on a real NVIDIA driver; skipped where there is none."""

import subprocess
import sys

import pytest

from support.node.drivers import agent_process

pytestmark = pytest.mark.gpu


ASK = """
import ctypes, sys
try:
    library = ctypes.CDLL("libnvidia-ml.so.1")
except OSError:
    sys.exit("no libnvidia-ml.so.1 on this host")
if library.nvmlInit_v2() != 0:
    sys.exit("the NVIDIA driver does not answer")
"""


@pytest.fixture(autouse=True)
def _driver() -> None:
    # In a process of its own: this one may have loaded the simulated library under the same name.
    asked = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        pytest.skip(asked.stderr.strip())


def test_the_real_driver_conforms() -> None:
    code = """
driver = NvmlDriver()
check_driver(driver, may_set=False)
answer(driver.is_simulated)
driver.close()
"""
    assert agent_process(code) == [False]


def test_the_collector_reads_every_real_gpu_in_time() -> None:
    code = """
collector = open_collector(None)
readings = [collector.sample(2.0) for _ in range(5)][-1]
answer([type(r).__name__ for r in readings])
answer([r.power_mw for r in readings])
answer([c.error for c in collector.read_caps(2.0)])
collector.close()
"""
    kinds, watts, errors = agent_process(code)
    assert set(kinds) == {"FastReading"}
    assert all(value is None or value > 0 for value in watts)
    assert set(errors) == {""}


def test_a_cap_is_set_and_restored_where_this_process_may() -> None:
    code = """
collector = open_collector(None)
info = collector.gpus()[0]
answer([info.can_cap, info.why_not])
if info.can_cap:
    before = collector.read_caps(2.0)[0].host_limit_mw
    result = collector.apply_caps({0: info.cap_min_mw}, 2.0)[0]
    collector.apply_caps({0: before}, 2.0)
    answer([result.error, result.host_limit_mw, info.cap_min_mw])
collector.close()
"""
    (can_cap, why_not), *result = agent_process(code)
    if not can_cap:
        assert why_not
        pytest.skip(f"caps cannot be set here: {why_not}")
    ((error, held_mw, wanted_mw),) = result
    assert error == ""
    assert held_mw == wanted_mw
