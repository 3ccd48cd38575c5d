"""The driver library through unmodified pynvml, in virtual time."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pynvml as nvml
import pytest

from support.node.simnode import VirtualNode, client, make_node, virtual
from wattline_sim import control
from wattline_sim.driver import build
from wattline_sim.state import CallClass

GPUS = 4


@pytest.fixture
def node(tmp_path: Path) -> Iterator[VirtualNode]:
    with virtual(make_node(tmp_path / "n", gpus=GPUS)) as stepped:
        yield stepped


def test_it_compiles_without_a_warning(tmp_path: Path) -> None:
    strict = ("-Wall", "-Wextra", "-Wshadow", "-Werror")
    built = build.library(tmp_path, extra_flags=strict)
    again = build.library(tmp_path, extra_flags=strict)
    assert built == again
    assert built.name == "libnvidia-ml.so.1"


def test_exported_versions_are_all_implemented_and_nothing_else_leaks(node: VirtualNode) -> None:
    listing = subprocess.run(
        ["nm", "-D", "--defined-only", node.node.library],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    names = {line.split()[-1] for line in listing.splitlines()}
    assert all(name.startswith(("nvml", "nvmlsim_")) for name in names)
    assert {"nvmlsim_info", "nvmlInitWithFlags", "nvmlDeviceGetMemoryInfo_v2"} <= names
    # Clients choose versions by symbol: these are not implemented, so they must be missing.
    assert not {"nvmlDeviceGetTemperatureV2", "nvmlDeviceSetPowerManagementLimit_v2"} & names


def test_identity(node: VirtualNode) -> None:
    code = """
h = gpu(1)
answer([N.nvmlDeviceGetCount(), N.nvmlDeviceGetName(h), N.nvmlSystemGetDriverVersion(),
        N.nvmlSystemGetNVMLVersion(), N.nvmlSystemGetCudaDriverVersion()])
uuid, serial = N.nvmlDeviceGetUUID(h), N.nvmlDeviceGetSerial(h)
pci = N.nvmlDeviceGetPciInfo(h)
answer([N.nvmlDeviceGetIndex(N.nvmlDeviceGetHandleByUUID(uuid)),
        N.nvmlDeviceGetIndex(N.nvmlDeviceGetHandleBySerial(serial)),
        N.nvmlDeviceGetIndex(N.nvmlDeviceGetHandleByPciBusId(pci.busId)),
        N.nvmlDeviceGetIndex(N.nvmlDeviceGetHandleByPciBusId(pci.busIdLegacy)),
        N.nvmlDeviceGetMinorNumber(h)])
answer([uuid, serial, N.nvmlDeviceGetVbiosVersion(h), N.nvmlDeviceGetMigMode(h),
        N.nvmlDeviceGetCudaComputeCapability(h), pci.bus])
answer([code(N.nvmlDeviceGetFanSpeed, h), code(N.nvmlDeviceGetDriverModel, h),
        code(N.nvmlDeviceGetHandleByIndex, 4), N.nvmlErrorString(15)])
"""
    system, indexes, card, odd = client(node.node, code)
    assert system[:2] == [GPUS, "NVIDIA H100 80GB HBM3"]
    assert system[3] == f"13.{system[2]}"
    assert indexes == [1, 1, 1, 1, 1]
    assert card[0].startswith("GPU-")
    assert card[1].startswith("SIM")
    assert card[3:] == [[0, 0], [9, 0], 0x20]
    assert odd == [3, 3, nvml.NVML_ERROR_INVALID_ARGUMENT, "GPU is lost"]
    assert node.served.uuids[1] == card[0]


def test_a_limit_set_by_one_process_is_seen_by_another_and_bounds_the_draw(
    node: VirtualNode,
) -> None:
    node.load(0, "training-hot")
    node.advance(5)
    read = """
h = gpu(0)
answer([N.nvmlDeviceGetPowerManagementLimit(h), N.nvmlDeviceGetEnforcedPowerLimit(h),
        N.nvmlDeviceGetPowerUsage(h), N.nvmlDeviceGetClockInfo(h, N.NVML_CLOCK_SM),
        N.nvmlDeviceGetCurrentClocksEventReasons(h), N.nvmlDeviceGetTotalEnergyConsumption(h)])
"""
    (before,) = client(node.node, read)
    client(node.node, "N.nvmlDeviceSetPowerManagementLimit(gpu(0), 350000)")
    node.advance(2)
    (after,) = client(node.node, read)
    assert before[:2] == [700_000, 700_000]
    assert before[2] > 550_000
    assert after[:2] == [350_000, 350_000]
    assert 320_000 < after[2] <= 350_000
    assert after[3] < before[3]
    assert after[4] & nvml.nvmlClocksEventReasonSwPowerCap
    assert after[5] > before[5]


def test_limits_outside_the_constraints_are_refused_and_change_nothing(node: VirtualNode) -> None:
    code = """
h = gpu(0)
answer([N.nvmlDeviceGetPowerManagementLimitConstraints(h),
        N.nvmlDeviceGetPowerManagementDefaultLimit(h)])
answer([code(N.nvmlDeviceSetPowerManagementLimit, h, mw) for mw in (199999, 700001, 0)])
answer(N.nvmlDeviceGetPowerManagementLimit(h))
"""
    constraints, codes, limit = client(node.node, code)
    assert constraints == [[200_000, 700_000], 700_000]
    assert codes == [nvml.NVML_ERROR_INVALID_ARGUMENT] * 3
    assert limit == 700_000


def test_a_bmc_cap_makes_enforced_lower_than_requested(node: VirtualNode) -> None:
    node.load(2, "training-hot")
    control.oob_cap(node.node.path, 2, 300.0)
    node.advance(2)
    read = """
h = gpu(2)
answer([N.nvmlDeviceGetPowerManagementLimit(h), N.nvmlDeviceGetEnforcedPowerLimit(h),
        N.nvmlDeviceGetPowerUsage(h)])
answer(fields(2, [N.NVML_FI_DEV_POWER_CURRENT_LIMIT, N.NVML_FI_DEV_POWER_REQUESTED_LIMIT]))
"""
    (requested, enforced, power), in_fields = client(node.node, read)
    assert (requested, enforced) == (700_000, 300_000)
    assert power <= 300_000
    assert in_fields == [[0, 300_000], [0, 700_000]]
    control.oob_cap(node.node.path, 2, None)
    assert client(node.node, read)[0][1] == 700_000
    with pytest.raises(control.ControlError, match="200-700 W"):
        control.oob_cap(node.node.path, 2, 100.0)


def test_locked_clocks_bind_until_reset(node: VirtualNode) -> None:
    node.load(0, "training-light")
    client(node.node, "N.nvmlDeviceSetGpuLockedClocks(gpu(0), 210, 1200)")
    node.advance(1)
    read = """
h = gpu(0)
answer([N.nvmlDeviceGetClockInfo(h, N.NVML_CLOCK_SM),
        N.nvmlDeviceGetMaxClockInfo(h, N.NVML_CLOCK_SM),
        N.nvmlDeviceGetCurrentClocksThrottleReasons(h)])
"""
    assert client(node.node, read) == [[1200, 1980, nvml.nvmlClocksEventReasonUserDefinedClocks]]
    client(node.node, "N.nvmlDeviceResetGpuLockedClocks(gpu(0))")
    node.advance(1)
    assert client(node.node, read) == [[1980, 1980, 0]]


def test_field_values_agree_with_the_getters_and_unknown_ones_say_so(node: VirtualNode) -> None:
    node.load(0, "prefill")
    node.advance(3)
    control.ecc(node.node.path, 0, corrected=3, uncorrected=2)
    control.remap_rows(node.node.path, 0, corrected=1, uncorrected=2, pending=True)
    control.pcie_replays(node.node.path, 0, 9)
    code = """
h = gpu(0)
answer([N.nvmlDeviceGetPowerUsage(h), N.nvmlDeviceGetTotalEnergyConsumption(h)])
answer(fields(0, [185, 83, 191, 187, 188, 189]))
answer(fields(0, [3, 4, 5, 6, 142, 143, 144, 145, 94, 230]))
answer([r for r, v in fields(0, [186, 190, 192, 82, 74, 75, 269, 270, 271, 193, 194, 196])])
answer(fields(0, [138, 9999]))
answer([N.nvmlDeviceGetTotalEccErrors(h, 1, 0), N.nvmlDeviceGetRemappedRows(h)])
values = N.nvmlDeviceGetFieldValues(h, [185])
answer(abs(values[0].timestamp / 1e6 - time.time()) < 60)
"""
    getters, same, health, codes, unknown, errors, is_now = client(node.node, code)
    assert same == [
        [0, getters[0]],
        [0, getters[1]],
        [0, getters[1]],
        [0, 200_000],
        [0, 700_000],
        [0, 700_000],
    ]
    assert [value for _, value in health] == [3, 2, 3, 2, 1, 2, 1, 0, 9, 0]
    assert codes == [0] * 12
    assert unknown == [[nvml.NVML_ERROR_NOT_SUPPORTED, 0]] * 2
    assert errors == [2, [1, 2, 1, 0]]
    assert is_now


def test_a_card_without_a_sensor_says_not_supported(tmp_path: Path) -> None:
    with virtual(make_node(tmp_path / "n", model="l40s", gpus=1)) as node:
        code = """
answer(fields(0, [82]))
answer([code(N.nvmlDeviceGetMigMode, gpu(0)),
        code(N.nvmlDeviceGetTemperatureThreshold, gpu(0), N.NVML_TEMPERATURE_THRESHOLD_MEM_MAX),
        N.nvmlDeviceGetTemperatureThreshold(gpu(0), N.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN),
        N.nvmlDeviceGetMarginTemperature(gpu(0)) > 0])
"""
        assert client(node.node, code) == [[[3, 0]], [3, 3, 93, True]]


def test_a_lost_gpu_leaves_the_others(node: VirtualNode) -> None:
    control.lose_gpu(node.node.path, 1)
    code = """
answer([code(gpu, i) for i in range(4)])
answer([code(N.nvmlDeviceGetPowerUsage, gpu(i)) for i in (0, 2, 3)])
"""
    lookups, others = client(node.node, code)
    assert lookups == [0, nvml.NVML_ERROR_GPU_IS_LOST, 0, 0]
    assert others == [0, 0, 0]
    control.release(node.node.path)
    assert client(node.node, code)[0] == [0, 0, 0, 0]


def test_a_hang_holds_only_its_gpu_and_ends_on_release(node: VirtualNode) -> None:
    code = f"""
from wattline_sim import control
h, done = gpu(1), []
control.hang({str(node.node.path)!r}, 1)
stuck = threading.Thread(target=lambda: done.append(code(N.nvmlDeviceGetPowerUsage, h)))
stuck.start()
answer([code(N.nvmlDeviceGetPowerUsage, gpu(i)) for i in (0, 2, 3)])
stuck.join(0.3)
answer(stuck.is_alive())
control.release({str(node.node.path)!r}, 1)
stuck.join(10)
answer([stuck.is_alive(), done])
"""
    assert client(node.node, code) == [[0, 0, 0], True, [False, [0]]]


def test_latency_is_paid_per_call_of_its_class(node: VirtualNode) -> None:
    control.latency(node.node.path, CallClass.PCIE, 100_000)
    control.latency(node.node.path, CallClass.SENSOR, 20_000, gpu=2)
    code = """
def cost(function, *arguments):
    begin = time.monotonic()
    function(*arguments)
    return time.monotonic() - begin
slow, quick = gpu(2), gpu(0)
answer([cost(N.nvmlDeviceGetPcieThroughput, quick, 0), cost(N.nvmlDeviceGetPowerUsage, slow),
        min(cost(N.nvmlDeviceGetPowerUsage, quick) for _ in range(20))])
"""
    ((pcie_s, slow_s, quick_s),) = client(node.node, code)
    assert pcie_s >= 0.1
    assert slow_s >= 0.02
    assert quick_s < 0.01
    with pytest.raises(control.ControlError, match="use 0 to"):
        control.latency(node.node.path, CallClass.PCIE, -1)


def test_a_forced_code_hits_its_function_or_class_and_nothing_else(node: VirtualNode) -> None:
    control.force_return(node.node.path, "nvmlDeviceGetUtilizationRates", 999, gpu=0)
    control.force_return(node.node.path, CallClass.PROCESSES, nvml.NVML_ERROR_TIMEOUT)
    code = """
answer([code(N.nvmlDeviceGetUtilizationRates, gpu(0)),
        code(N.nvmlDeviceGetUtilizationRates, gpu(1)),
        code(N.nvmlDeviceGetComputeRunningProcesses, gpu(1)),
        code(N.nvmlDeviceGetPowerUsage, gpu(0))])
"""
    assert client(node.node, code) == [[999, 0, nvml.NVML_ERROR_TIMEOUT, 0]]
    control.release(node.node.path)
    assert client(node.node, code) == [[0, 0, 0, 0]]


SETTERS = """
h = gpu(0)
answer([code(N.nvmlDeviceSetPowerManagementLimit, h, 400000),
        code(N.nvmlDeviceSetGpuLockedClocks, h, 300, 900),
        code(N.nvmlDeviceSetPersistenceMode, h, 1), code(N.nvmlDeviceGetPowerUsage, h)])
answer(N.nvmlDeviceGetPowerManagementLimit(h))
"""


def test_setters_without_permission_fail_and_getters_do_not(node: VirtualNode) -> None:
    control.no_permission(node.node.path)
    assert client(node.node, SETTERS) == [[nvml.NVML_ERROR_NO_PERMISSION] * 3 + [0], 700_000]
    control.no_permission(node.node.path, denied=False)
    assert client(node.node, SETTERS) == [[0, 0, 0, 0], 400_000]


def test_a_client_that_may_only_read_the_state_may_not_set(node: VirtualNode) -> None:
    node.node.state_file.chmod(0o444)
    drop_root = ""
    if os.getuid() == 0:  # whom a file's mode does not stop: the client becomes nobody
        for folder in (node.node.path, *node.node.path.parents):
            folder.chmod(folder.stat().st_mode | 0o011)
        drop_root = "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
    code = drop_root + "N.nvmlInit()\n" + SETTERS
    denied = nvml.NVML_ERROR_NO_PERMISSION
    assert client(node.node, code, init=False) == [[denied, denied, denied, 0], 700_000]


def test_memory_counts_reserved_bytes_in_version_one_only(node: VirtualNode) -> None:
    code = """
h = gpu(0)
one, two = N.nvmlDeviceGetMemoryInfo(h), N.nvmlDeviceGetMemoryInfo(h, N.nvmlMemory_v2)
answer([one.total, one.used + one.free, one.used - two.used, two.reserved, two.total])
answer(code(N.nvmlDeviceGetMemoryInfo, h, 2))
"""
    (total, sum_of_both, difference, reserved, total_two), code_of_bad_version = client(
        node.node, code
    )
    assert total == sum_of_both == total_two == 81559 << 20
    assert difference == reserved > 0
    assert code_of_bad_version == nvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH


def test_an_xid_wakes_a_waiter_and_only_what_was_asked_for_arrives(node: VirtualNode) -> None:
    control.push_xid(node.node.path, 0, 13)  # before the set exists: never reported
    code = f"""
from wattline_sim import control
where = {str(node.node.path)!r}
events = N.nvmlEventSetCreate()
N.nvmlDeviceRegisterEvents(gpu(0), N.nvmlEventTypeXidCriticalError, events)
answer(code(N.nvmlEventSetWait_v2, events, 0))
got = []
def wait():
    data = N.nvmlEventSetWait_v2(events, 20000)
    got.append([N.nvmlDeviceGetIndex(data.device), data.eventType, data.eventData])
waiter = threading.Thread(target=wait)
waiter.start()
control.push_xid(where, 1, 31)           # another GPU
control.ecc(where, 0, uncorrected=1)     # another kind, then XID 48
begin = time.monotonic()
waiter.join(10)
answer(got)
answer(code(N.nvmlEventSetWait_v2, events, 0))
control.lose_gpu(where, 0)
data = N.nvmlEventSetWait_v2(events, 10000)
answer([data.eventType, data.eventData])
N.nvmlEventSetFree(events)
"""
    empty, got, then, lost = client(node.node, code)
    assert empty == then == nvml.NVML_ERROR_TIMEOUT
    assert got == [[0, nvml.nvmlEventTypeXidCriticalError, 48]]
    assert lost == [nvml.nvmlEventTypeXidCriticalError, 79]


def test_a_slow_reader_loses_the_oldest_events_and_goes_on(node: VirtualNode) -> None:
    code = f"""
from wattline_sim import control
events = N.nvmlEventSetCreate()
N.nvmlDeviceRegisterEvents(gpu(0), N.nvmlEventTypeXidCriticalError, events)
for xid in range(300):
    control.push_xid({str(node.node.path)!r}, 0, xid)
got = []
while code(lambda: got.append(N.nvmlEventSetWait_v2(events, 0).eventData)) == 0:
    pass
answer(got)
"""
    (got,) = client(node.node, code)
    assert got == list(range(300 - 256, 300))


def test_a_driver_reload_resets_limits_counters_and_module(node: VirtualNode) -> None:
    node.load(0, "prefill")
    client(
        node.node,
        "N.nvmlDeviceSetPowerManagementLimit(gpu(0), 300000)\n"
        "N.nvmlDeviceSetPersistenceMode(gpu(0), 1)",
    )
    node.advance(5)
    read = """
import ctypes
info = N.nvmlLib.nvmlsim_info
info.restype = ctypes.c_char_p
h = gpu(0)
answer([N.nvmlDeviceGetEnforcedPowerLimit(h), N.nvmlDeviceGetPersistenceMode(h),
        json.loads(info())["driver_instance"], N.nvmlDeviceGetTotalEnergyConsumption(h)])
"""
    module = node.node.sysfs / "module" / "nvidia"
    inode = module.stat().st_ino
    (before,) = client(node.node, read)
    control.reload_driver(node.node.path)
    node.advance(0.05)
    (after,) = client(node.node, read)
    assert before[:3] == [300_000, 1, 1]
    assert after[:3] == [700_000, 0, 2]
    assert after[3] < 100_000 < before[3]
    assert module.stat().st_ino != inode


def test_the_marker_tells_simulated_from_real(node: VirtualNode) -> None:
    code = """
import ctypes
answer(hasattr(N.nvmlLib, "nvmlsim_info"))
info = N.nvmlLib.nvmlsim_info
info.restype = ctypes.c_char_p
answer(json.loads(info()))
"""
    has_marker, info = client(node.node, code)
    assert has_marker
    assert info["simulator"] == "wattline"
    assert info["node"] == "sim0"
    assert info["heartbeat_age_ms"] < 60_000


def test_a_dead_physics_process_leaves_frozen_values(tmp_path: Path) -> None:
    made = make_node(tmp_path / "n", gpus=1)
    with virtual(made) as node:
        node.load(0, "training-hot")
        node.advance(10)
        read = "answer([N.nvmlDeviceGetPowerUsage(gpu(0)), N.nvmlDeviceGetTemperature(gpu(0), 0)])"
        while_alive = client(made, read)
    assert client(made, read) == while_alive
    client(made, "N.nvmlDeviceSetPowerManagementLimit(gpu(0), 300000)")


def test_a_state_file_named_in_the_environment_wins(tmp_path: Path, node: VirtualNode) -> None:
    other = make_node(tmp_path / "other", gpus=2)
    code = f"""
os.environ["WATTLINE_SIM_STATE"] = {str(other.state_file)!r}
N.nvmlInit()
answer(N.nvmlDeviceGetCount())
"""
    assert client(node.node, code, init=False) == [2]


def test_no_state_an_old_state_and_an_unloaded_driver_each_have_their_code(
    tmp_path: Path, node: VirtualNode
) -> None:
    init = "answer(code(N.nvmlInit))"
    control.driver_loaded(node.node.path, loaded=False)
    assert client(node.node, init, init=False) == [nvml.NVML_ERROR_DRIVER_NOT_LOADED]
    other = make_node(tmp_path / "other", gpus=1)
    other.state_file.write_bytes(b"\0" * other.state_file.stat().st_size)
    assert client(other, init, init=False) == [nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH]
    other.state_file.write_bytes(b"short")
    assert client(other, init, init=False) == [nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH]
    other.state_file.unlink()
    assert client(other, init, init=False) == [nvml.NVML_ERROR_DRIVER_NOT_LOADED]


def test_calls_before_init_and_on_false_handles_are_refused(node: VirtualNode) -> None:
    code = """
import ctypes
lib = ctypes.CDLL("libnvidia-ml.so.1")
answer(lib.nvmlDeviceGetCount_v2(ctypes.byref(ctypes.c_uint())))
N.nvmlInit()
out = ctypes.byref(ctypes.c_uint())
answer([lib.nvmlDeviceGetPowerUsage(ctypes.c_void_p(p), out) for p in (0, 1, 2**40)])
lib.nvmlDeviceGetPowerUsage.argtypes = None
answer(lib.nvmlDeviceGetPowerUsage(gpu(0), None))
N.nvmlShutdown()
answer(code(N.nvmlDeviceGetCount))
answer(code(N.nvmlShutdown))
"""
    before, false_handles, no_output, after, twice = client(node.node, code, init=False)
    assert before == after == twice == nvml.NVML_ERROR_UNINITIALIZED
    assert false_handles == [nvml.NVML_ERROR_INVALID_ARGUMENT] * 3
    assert no_output == nvml.NVML_ERROR_INVALID_ARGUMENT


def test_readers_never_see_a_torn_sample(node: VirtualNode) -> None:
    """Average power is at most a limit that alternates with the energy's parity: any mixture of
    two samples would show."""
    code = f"""
import ctypes
from pathlib import Path
from wattline_sim import state, statefile
mapped = statefile.open_state(Path({str(node.node.state_file)!r}))
writer = statefile.DriverWriter(Path({str(node.node.library)!r}))
stop = threading.Event()
started = threading.Event()
def write():
    sample, turn = state.Telemetry(), 0
    while not stop.is_set():
        turn += 1
        sample.energy_mj = sample.power_capped_ns = sample.sample_ns = turn
        sample.power_average_mw = sample.power_instant_mw = turn
        writer.publish_telemetry(mapped.gpus[0], sample)
        started.set()  # what stood there before was no such sample
thread = threading.Thread(target=write)
thread.start()
started.wait()
torn, reads, distinct, h = 0, 0, set(), gpu(0)
while reads < 5_000 or len(distinct) < 50:
    values = [v for r, v in fields(0, [83, 74, 185, 186])]
    torn += len(set(values)) != 1
    distinct.add(values[0])
    reads += 1
stop.set()
thread.join()
answer(torn)
"""
    assert client(node.node, code) == [0]
