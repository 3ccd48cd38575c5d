"""The collector over the simulated driver library: conformance, faults, deadlines, cost."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.node.drivers import agent_process, check_driver
from support.node.replay_driver import ReplayDriver
from support.node.simnode import make_node, serving
from wattline_agent.core.ports import DriverAbsent
from wattline_agent.device.collector import DriverCollector
from wattline_sim.node import NodeDir


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeDir]:
    """A served node of four H100s."""
    made = make_node(tmp_path / "node", gpus=4)
    with serving(made):
        yield made


def test_nvml_conforms_and_says_that_it_is_simulated(node: NodeDir) -> None:
    code = """
driver = NvmlDriver(LIBRARY, SYSFS)
check_driver(driver, may_set=True)
answer(driver.is_simulated)
answer(driver.read_slow(0).persistence)
driver.close()
"""
    assert agent_process(code, node) == [True, True]


def test_a_recording_of_it_conforms_when_replayed(node: NodeDir, tmp_path: Path) -> None:
    out = tmp_path / "recording.json"
    code = f"""
import contextlib
from wattline_agent.device import record
sys.argv = ["record", {str(out)!r}, "--seconds", "2", "--nvml-lib", str(LIBRARY)]
with contextlib.redirect_stdout(sys.stderr):
    status = record.main()
answer(status)
"""
    assert agent_process(code, node) == [0]
    replay = ReplayDriver(out)
    check_driver(replay, may_set=True)
    assert replay.count() == 4
    collector = DriverCollector(replay)
    assert len(collector.sample(5.0)) == 4
    collector.close()


def test_no_driver_is_said_in_words(tmp_path: Path) -> None:
    missing = tmp_path / "libnvidia-ml.so.1"
    code = f"""
from wattline_agent.core.ports import DriverAbsent
try:
    open_collector(Path({str(missing)!r}))
except DriverAbsent as error:
    answer(str(error))
"""
    (words,) = agent_process(code)
    assert str(missing) in words


def test_a_hung_gpu_is_stale_and_delays_nobody(node: NodeDir) -> None:
    code = """
collector = open_collector(LIBRARY, SYSFS)
collector.sample(5.0)
control.hang(node, 2)
begun = time.monotonic()
first = collector.sample(1.0)
middle = time.monotonic()
second = collector.sample(1.0)
end = time.monotonic()
answer([type(r).__name__ for r in first])
answer([type(r).__name__ for r in second])
answer([middle - begun, end - middle])
answer(first[2].reason)
caps = collector.apply_caps({1: 300_000, 2: 300_000}, 1.0)
answer([[c.enforced_mw, bool(c.error)] for c in caps])
control.release(node)
wait_until(lambda: isinstance(collector.sample(1.0)[2], FastReading), "it answers again")
answer(collector.apply_caps({2: 300_000}, 1.0)[0].enforced_mw)
collector.close()
"""
    first, second, times, reason, caps, after = agent_process(code, node)
    assert first == second == ["FastReading", "FastReading", "Stale", "FastReading"]
    assert 1.0 <= times[0] < 10.0
    assert times[1] < 1.0  # the busy worker is skipped, its neighbours answer at once
    assert "has not answered" in reason
    assert caps == [[300_000, False], [None, True]]
    assert after == 300_000


def test_a_hung_gpu_at_start_counts_at_its_neighbours_highest(node: NodeDir) -> None:
    code = """
import wattline_agent.device.collector as c
c.INFO_TIMEOUT_S = 1.5
control.hang(node, 1)
collector = open_collector(LIBRARY, SYSFS)
info = collector.gpus()[1]
answer([info.can_cap, info.cap_min_mw, info.cap_max_mw, info.why_not])
answer(collector.gpus()[0].can_cap)
control.release(node)
collector.close()
"""
    hung, neighbour = agent_process(code, node)
    assert hung[:3] == [False, 700_000, 700_000]
    assert "has not answered" in hung[3]
    assert neighbour is True


def test_a_lost_gpu_is_a_value_and_pushes_an_event(node: NodeDir) -> None:
    code = """
collector = open_collector(LIBRARY, SYSFS)
collector.sample(5.0)
wait_until(lambda: control.push_xid(node, 0, 31) or bool(collector.events()), "events flow")
control.lose_gpu(node, 3)
found = []
wait_until(lambda: found.extend(collector.events()) or any(e.code == 79 for e in found), "XID 79")
event = next(e for e in found if e.code == 79)
answer([event.index, event.kind, event.text])
reading = collector.sample(1.0)[3]
answer([type(reading).__name__, reading.is_lost])
answer(collector.apply_caps({3: 300_000}, 1.0)[0].error)
answer(collector.gpus()[3].uuid.startswith("GPU-"))
control.release(node)
wait_until(lambda: isinstance(collector.sample(1.0)[3], FastReading), "it is back")
collector.close()
"""
    event, reading, error, known = agent_process(code, node)
    assert event == [3, "xid", "XID 79: GPU has fallen off the bus"]
    assert reading == ["Stale", True]
    assert "lost" in error
    assert known


def test_without_permission_it_says_so_and_what_would_help(node: NodeDir) -> None:
    code = """
control.no_permission(node)
collector = open_collector(LIBRARY, SYSFS)
info = collector.gpus()[0]
answer([info.can_cap, info.why_not])
result = collector.apply_caps({0: 300_000}, 1.0)[0]
answer([result.error, result.enforced_mw])
collector.close()
"""
    info, result = agent_process(code, node)
    assert info == [False, "no permission: the agent must be root to set caps"]
    assert result == ["no permission: the agent must be root to set caps", 700_000]


def test_without_leave_to_set_nothing_is_set(node: NodeDir) -> None:
    code = """
control.reload_driver(node)  # persistence is off now
collector = open_collector(LIBRARY, SYSFS, may_set=False)
wait_until(lambda: collector.sample(1.0) and all(collector.slow()), "slow readings")
wait_until(lambda: all(info.can_cap for info in collector.gpus()), "the driver answers again")
answer([s.persistence for s in collector.slow()])
answer([info.can_cap for info in collector.gpus()])
collector.close()
"""
    assert agent_process(code, node) == [[False] * 4, [True] * 4]


def test_the_slowdown_is_read_as_a_temperature_or_as_a_distance(node: NodeDir) -> None:
    code = """
import pynvml
def limits():
    driver = NvmlDriver(LIBRARY, SYSFS)
    first, again = driver.info(0), driver.info(0)
    driver.close()
    return [first.temp_limit_c, first == again and first.can_cap]

def missing(handle, kind=None):
    raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

answer(limits())
pynvml.nvmlDeviceGetTemperatureThreshold = missing
answer(limits())
pynvml.nvmlDeviceGetMarginTemperature = missing
answer(limits())
del pynvml.nvmlDeviceGetMarginTemperature
answer(limits())
"""
    absolute, from_distance, unknown, without = agent_process(code, node)
    assert absolute == [87, True]
    assert from_distance[0] in (86, 87, 88), "the temperature may change between two calls"
    assert from_distance[1], "read once, so that an identity does not differ from itself"
    assert unknown == without == [None, True]


def test_a_gpu_in_exclusive_mode_is_not_for_sharing_and_the_check_says_so(
    node: NodeDir, tmp_path: Path
) -> None:
    code = f"""
import pynvml
from wattline_agent.check import run_checks
from wattline_agent.config import AgentConfig
driver = NvmlDriver(LIBRARY, SYSFS)
handle = pynvml.nvmlDeviceGetHandleByIndex(1)
pynvml.nvmlDeviceSetComputeMode(handle, pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS)
answer([driver.info(index).can_share for index in range(4)])
driver.close()
config = AgentConfig(None, Path({str(tmp_path / "state")!r}), SYSFS, LIBRARY)
answer([(c.verdict, c.found) for c in run_checks(config) if c.name == "GPU sharing"])
"""
    can_share, said = agent_process(code, node)
    assert can_share == [True, False, True, True]
    assert said == [["warning", "1 of 4 GPUs admit one process only (compute mode)"]]


def test_mig_devices_are_found_and_the_check_names_them(node: NodeDir, tmp_path: Path) -> None:
    code = f"""
from wattline_agent.check import run_checks
from wattline_agent.config import AgentConfig
from wattline_agent.device import collector as collecting
collecting.REREAD_PERIOD_S = collecting.SLOW_PERIOD_S = 0.0
control.partition(node, 1, ["3g.40gb", "1g.10gb"])
control.partition(node, 2, [])
collector = open_collector(LIBRARY, SYSFS)
infos = collector.gpus()
answer([infos[0].mig, infos[2].mig])
answer([[one.uuid[:4], one.profile, one.memory_bytes >> 20, one.share_permille]
        for one in infos[1].mig])
readings = collector.sample(5.0)
answer([r.util_pct is None for r in readings])
answer([r.power_mw > 0 and r.enforced_mw == 700_000 for r in readings])
answer([collector.apply_caps({{1: 400_000}}, 5.0)[0].enforced_mw,
        collector.process_use([1], 5.0)])
control.partition(node, 1, None)
while collector.gpus()[1].mig is not None:
    collector.sample(5.0)
collector.close()
config = AgentConfig(None, Path({str(tmp_path / "state")!r}), SYSFS, LIBRARY)
answer([(c.verdict, c.found) for c in run_checks(config) if c.name == "MIG"])
control.partition(node, 2, ["7g.80gb"])
answer([(c.verdict, c.found) for c in run_checks(config) if c.name == "MIG"])
"""
    modes, made, are_unknown, are_held, parent, empty, whole = agent_process(code, node)
    assert modes == [None, []]
    assert made == [["MIG-", "3g.40gb", 40_779, 428], ["MIG-", "1g.10gb", 10_194, 142]]
    assert are_unknown == [False, True, True, False]
    assert are_held == [True] * 4, "power and limits are the whole GPU's"
    assert parent == [400_000, {}]
    assert empty == [["warning", "GPU 2: none"]]
    assert whole == [["ok", "GPU 2: 7g.80gb"]]


def test_memory_that_is_not_for_everybody_is_not_known_and_no_more(node: NodeDir) -> None:
    code = """
import pynvml
for name in ("nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetMemoryInfo"):
    control.force_return(node, name, pynvml.NVML_ERROR_NO_PERMISSION, gpu=1)
driver = NvmlDriver(LIBRARY, SYSFS)
readings = [driver.read(index) for index in (0, 1)]
answer([[r.power_mw > 0, r.memory_used_bytes is None] for r in readings])
driver.close()
"""
    assert agent_process(code, node) == [[[True, False], [True, True]]]


def test_what_the_bmc_enforces_is_told_from_what_was_asked(node: NodeDir) -> None:
    code = """
collector = open_collector(LIBRARY, SYSFS)
collector.apply_caps({1: 600_000}, 1.0)
control.oob_cap(node, 1, 350)
result = collector.read_caps(1.0)[1]
answer([result.enforced_mw, result.host_limit_mw, result.error])
reading = collector.sample(1.0)[1]
answer([reading.enforced_mw, reading.host_limit_mw])
collector.close()
"""
    assert agent_process(code, node) == [[350_000, 600_000, ""], [350_000, 600_000]]


def test_a_driver_reload_is_noticed_and_persistence_comes_back(node: NodeDir) -> None:
    code = """
collector = open_collector(LIBRARY, SYSFS)
collector.apply_caps({0: 300_000}, 1.0)
before = collector.driver_instance()
collector.sample(1.0)
answer(collector.driver_instance() == before)
control.reload_driver(node)
wait_until(lambda: collector.sample(1.0) and collector.driver_instance() != before, "noticed")
answer(collector.read_caps(1.0)[0].host_limit_mw)
collector.gpus()
collector.close()
driver = NvmlDriver(LIBRARY, SYSFS)
answer(driver.read_slow(0).persistence)
"""
    assert agent_process(code, node) == [True, 700_000, True]


def test_an_unloaded_driver_is_stale_until_it_is_back(node: NodeDir) -> None:
    code = """
import wattline_agent.device.library as n
n.REOPEN_PERIOD_S = 0.1
collector = open_collector(LIBRARY, SYSFS)
control.driver_loaded(node, loaded=False)
reading = collector.sample(1.0)[0]
answer([type(reading).__name__, reading.is_lost])
control.driver_loaded(node, loaded=True)
wait_until(lambda: isinstance(collector.sample(1.0)[0], FastReading), "back")
collector.close()
"""
    assert agent_process(code, node) == [["Stale", False]]


def test_no_write_lifts_a_limit_of_a_bmc_where_the_last_writer_wins(node: NodeDir) -> None:
    """Neither the probe, nor persistence that is put back on, nor a cap above it."""
    code = """
from wattline_sim.statefile import open_state
gpu = open_state(node / "nvml.state").gpus[1]
control.oob_cap(node, 1, 350.0, last_writer_wins=True)
collector = open_collector(LIBRARY, SYSFS)
info = collector.gpus()[1]
answer([info.can_cap, gpu.faults.oob_limit_mw, gpu.setpoints.limit_mw])
gpu.setpoints.persistence = 0
driver = NvmlDriver(LIBRARY, SYSFS)
answer([driver.read_slow(1).persistence, gpu.faults.oob_limit_mw])
result = collector.apply_caps({1: 600_000}, 1.0)[0]
answer([result.enforced_mw, result.held_mw])
control.no_permission(node)
control.oob_cap(node, 2, 350.0, last_writer_wins=True)
answer(driver.info(2).why_not)
collector.close()
"""
    assert agent_process(code, node) == [
        [True, 350_000, 700_000],
        [True, 350_000],
        [350_000, 350_000],
        "no permission: the agent must be root to set caps",
    ]


def test_after_a_reload_events_come_again_and_of_every_gpu_there_is(node: NodeDir) -> None:
    """The event set, the handles and the number of GPUs are those of the driver that is loaded."""
    code = """
control.reload_driver(node, gpus=3)
collector = open_collector(LIBRARY, SYSFS)
answer(len(collector.gpus()))
collector.sample(1.0)
before = collector.driver_instance()
control.reload_driver(node, gpus=4)
wait_until(lambda: len(collector.sample(1.0)) == 4, "the fourth GPU is read")
answer([type(r).__name__ for r in collector.sample(1.0)])
answer([g.uuid.startswith("GPU-") and g.can_cap for g in collector.gpus()])
found = []
def reported(gpu):
    control.push_xid(node, gpu, 94)
    found.extend(event.index for event in collector.events())
    return gpu in found
wait_until(lambda: reported(0) and reported(3), "XIDs of an old and a new GPU")
collector.close()
"""
    assert agent_process(code, node) == [3, ["FastReading"] * 4, [True] * 4]


def test_a_gpu_that_the_driver_lists_no_more_is_lost_and_counts(node: NodeDir) -> None:
    code = """
collector = open_collector(LIBRARY, SYSFS)
collector.sample(1.0)
last = collector.gpus()[3].uuid
control.reload_driver(node, gpus=3)
def gone():
    reading = collector.sample(1.0)[3]
    return isinstance(reading, Stale) and reading.is_lost
wait_until(gone, "the fourth GPU is gone")
info = collector.gpus()[3]
answer([info.uuid == last, info.can_cap, info.cap_max_mw, info.why_not])
answer(bool(collector.apply_caps({3: 300_000}, 1.0)[0].error))
collector.close()
"""
    why = "the reloaded driver no longer lists this GPU"
    assert agent_process(code, node) == [[True, False, 700_000, why], True]


def test_a_lost_gpu_that_is_back_tells_of_its_errors_again(node: NodeDir) -> None:
    code = """
control.lose_gpu(node, 1)
collector = open_collector(LIBRARY, SYSFS)
collector.sample(1.0)
control.release(node, 1)
wait_until(lambda: isinstance(collector.sample(1.0)[1], FastReading), "it is back")
found = []
def reported():
    control.push_xid(node, 1, 94)
    found.extend(event.code for event in collector.events())
    return 94 in found
wait_until(reported, "its XID")
collector.close()
"""
    assert agent_process(code, node) == []


def test_an_a100_tells_its_power_of_one_moment(tmp_path: Path) -> None:
    code = """
readings = [NvmlDriver(LIBRARY, SYSFS).read(0)]
answer([[r.is_average, r.power_mw > 0, r.energy_mj is not None] for r in readings])
"""
    for model, is_average in (("a100", False), ("h100", True)):
        made = make_node(tmp_path / model, model=model, gpus=1)
        with serving(made):
            assert agent_process(code, made) == [[[is_average, True, True]]]


def test_what_a_gpu_does_not_have_is_none_and_getters_step_in(node: NodeDir) -> None:
    code = """
import pynvml
control.force_return(node, "nvmlDeviceGetFieldValues", pynvml.NVML_ERROR_NOT_SUPPORTED, gpu=0)
control.force_return(node, "nvmlDeviceGetUtilizationRates", pynvml.NVML_ERROR_NOT_SUPPORTED, gpu=0)
driver = NvmlDriver(LIBRARY, SYSFS)
r = driver.read(0)
answer([r.util_pct, r.memory_temp_c, r.power_throttle_ns])
answer([r.power_mw > 0, r.enforced_mw, r.host_limit_mw, r.energy_mj >= 0])
"""
    absent, present = agent_process(code, node)
    assert absent == [None, None, None]
    assert present == [True, 700_000, 700_000, True]


def test_the_collector_takes_the_slow_set_by_itself(node: NodeDir) -> None:
    code = """
import wattline_agent.device.collector as c
c.SLOW_PERIOD_S = 0.01
collector = open_collector(LIBRARY, SYSFS)
wait_until(lambda: collector.sample(1.0) and all(collector.slow()), "all have been read")
answer(sorted(s.index for s in collector.slow()))
collector.close()
"""
    assert agent_process(code, node) == [[0, 1, 2, 3]]


def test_a_sample_costs_few_calls_and_little_time(node: NodeDir) -> None:
    """At most 9 driver calls per GPU; with 1 ms per call eight calls would show as 8 ms."""
    code = """
import pynvml
calls = []
real = pynvml._nvmlGetFunctionPointer
def counting(name):
    calls.append(name)
    return real(name)
pynvml._nvmlGetFunctionPointer = counting
driver = NvmlDriver(LIBRARY, SYSFS)
driver.info(0)
driver.read(0)
calls.clear()
driver.read(0)
answer(calls)
pynvml._nvmlGetFunctionPointer = real
best = 1e9
for _ in range(7):
    begun = time.thread_time()
    for _ in range(200):
        driver.read(0)
    best = min(best, (time.thread_time() - begun) / 200)
answer(best * 1e6)
"""
    calls, cost_us = agent_process(code, node)
    assert len(calls) <= 7
    assert cost_us < 200  # 20 µs on an idle machine; this is shared


def test_latency_of_the_driver_is_paid_once_not_per_gpu(node: NodeDir) -> None:
    code = """
for kind in (CallClass.SENSOR, CallClass.FIELDS):
    control.latency(node, kind, 100_000)
collector = open_collector(LIBRARY, SYSFS)
begun = time.monotonic()
readings = collector.sample(20.0)
answer(time.monotonic() - begun)
answer(all(isinstance(r, FastReading) for r in readings))
collector.close()
"""
    took_s, complete = agent_process(code, node)
    assert complete
    assert took_s < 4 * 6 * 0.100  # one after the other would take this long at least


def test_a_broken_recording_is_refused_in_words(tmp_path: Path) -> None:
    for content, words in {
        b"{}": "is no recording",
        b"not json": "is no recording",
        b'{"version": 9, "driver_version": "1", "is_simulated": true, "gpus": [], "samples": [],'
        b' "slow": []}': "has version 9",
    }.items():
        path = tmp_path / "recording.json"
        path.write_bytes(content)
        with pytest.raises(DriverAbsent, match=words):
            ReplayDriver(path)
    with pytest.raises(DriverAbsent):
        ReplayDriver(tmp_path / "missing.json")
