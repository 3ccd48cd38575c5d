"""`python -m wattline_agent.device.record OUT.json`: write down what this host's GPUs answer.

Tries every call that the collector uses and every field id, on every GPU: return code, value, type
and time taken. Then takes samples for replay. Sets nothing but persistence mode, as the agent does.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pynvml

from wattline_agent.core.ports import DeviceInfo, DriverAbsent, FastReading, SlowReading
from wattline_agent.device.fields import FAST_FIELDS, read_fields, value_of
from wattline_agent.device.nvml import NvmlDriver
from wattline_agent.device.recording import RECORDING_VERSION, GpuProbes, Probe, Recording
from wattline_agent.device.temperature import SLOWDOWN_KIND, margin_c
from wattline_protocol.ids import GpuIndex
from wattline_protocol.text.wording import counted

TRIES = 20
MAX_VALUE_CHARS = 200
SAMPLE_PERIOD_S = 1.0

CALLS: dict[str, Callable[[Any], Any]] = {
    "GetFieldValues(fast)": lambda handle: read_fields(handle, FAST_FIELDS),
    "GetTemperature": lambda h: pynvml.nvmlDeviceGetTemperature(h, pynvml.NVML_TEMPERATURE_GPU),
    "GetTemperatureThreshold(slowdown)": lambda h: pynvml.nvmlDeviceGetTemperatureThreshold(
        h, SLOWDOWN_KIND
    ),
    "GetMarginTemperature": margin_c,
    "GetUtilizationRates": pynvml.nvmlDeviceGetUtilizationRates,
    "GetMemoryInfo_v2": lambda h: pynvml.nvmlDeviceGetMemoryInfo(h, pynvml.nvmlMemory_v2),
    "GetMemoryInfo": pynvml.nvmlDeviceGetMemoryInfo,
    "GetClockInfo(SM)": lambda h: pynvml.nvmlDeviceGetClockInfo(h, pynvml.NVML_CLOCK_SM),
    "GetCurrentClocksEventReasons": pynvml.nvmlDeviceGetCurrentClocksEventReasons,
    "GetPowerUsage": pynvml.nvmlDeviceGetPowerUsage,
    "GetEnforcedPowerLimit": pynvml.nvmlDeviceGetEnforcedPowerLimit,
    "GetPowerManagementLimit": pynvml.nvmlDeviceGetPowerManagementLimit,
    "GetPowerManagementDefaultLimit": pynvml.nvmlDeviceGetPowerManagementDefaultLimit,
    "GetPowerManagementLimitConstraints": pynvml.nvmlDeviceGetPowerManagementLimitConstraints,
    "GetTotalEnergyConsumption": pynvml.nvmlDeviceGetTotalEnergyConsumption,
    "GetPersistenceMode": pynvml.nvmlDeviceGetPersistenceMode,
    "GetSupportedEventTypes": pynvml.nvmlDeviceGetSupportedEventTypes,
    "GetUUID": pynvml.nvmlDeviceGetUUID,
    "GetName": pynvml.nvmlDeviceGetName,
}
_TYPES = ("double", "uint", "ulong", "ulonglong", "slonglong", "int", "ushort")


def probe_call(name: str, call: Callable[[Any], Any], handle: Any) -> Probe:
    """Call one function several times; returns the last answer."""
    took_us: list[float] = []
    code, answer = 0, None
    for _ in range(TRIES):
        begun = time.perf_counter()
        try:
            code, answer = 0, call(handle)
        except pynvml.NVMLError as error:
            code = error.value
        took_us.append((time.perf_counter() - begun) * 1e6)
    p50, p95 = percentiles(took_us)
    return Probe(name, code, text_of(answer), type(answer).__name__, p50, p95)


def probe_field(number: int, handle: Any) -> Probe:
    """Read one field id several times."""
    took_us: list[float] = []
    entry: Any = None
    for _ in range(TRIES):
        begun = time.perf_counter()
        try:
            entry = pynvml.nvmlDeviceGetFieldValues(handle, [number])[0]
        except pynvml.NVMLError as error:
            return Probe(str(number), error.value)
        took_us.append((time.perf_counter() - begun) * 1e6)
    p50, p95 = percentiles(took_us)
    kind = _TYPES[entry.valueType] if entry.valueType < len(_TYPES) else str(entry.valueType)
    return Probe(str(number), entry.nvmlReturn, str(value_of(entry)), kind, p50, p95)


def percentiles(took_us: list[float]) -> tuple[float, float]:
    """p50 and p95."""
    cuts = statistics.quantiles(took_us, n=20)
    return round(cuts[9], 2), round(cuts[18], 2)


def text_of(answer: Any) -> str:
    """Short text of any answer, structures field by field."""
    if hasattr(answer, "_fields_"):
        answer = {name: getattr(answer, name) for name, *_ in answer._fields_}
    return str(answer)[:MAX_VALUE_CHARS]


def probe_gpu(index: int) -> GpuProbes:
    """All probes of one GPU."""
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    calls = tuple(probe_call(name, call, handle) for name, call in CALLS.items())
    fields = tuple(probe_field(number, handle) for number in range(1, pynvml.NVML_FI_MAX))
    return GpuProbes(index, calls, fields)


def take_samples(driver: NvmlDriver, count: int) -> tuple[tuple[FastReading, ...], ...]:
    """`count` readings of all GPUs, a second apart. Raises DriverAbsent when a GPU returns none."""
    samples: list[tuple[FastReading, ...]] = []
    for number in range(count):
        if number:
            time.sleep(SAMPLE_PERIOD_S)
        readings = [driver.read(GpuIndex(index)) for index in range(driver.count())]
        good = tuple(reading for reading in readings if isinstance(reading, FastReading))
        if len(good) < len(readings):
            raise DriverAbsent("a GPU gave no reading; nothing was recorded")
        samples.append(good)
    return tuple(samples)


def record(driver: NvmlDriver, seconds: int) -> Recording:
    """The whole recording. Raises DriverAbsent when a GPU returns no reading."""
    indexes = [GpuIndex(index) for index in range(driver.count())]
    infos = [driver.info(index) for index in indexes]
    slow = [driver.read_slow(index) for index in indexes]
    return Recording(
        version=RECORDING_VERSION,
        driver_version=str(pynvml.nvmlSystemGetDriverVersion()),
        is_simulated=driver.is_simulated,
        probes=tuple(probe_gpu(index) for index in indexes),
        samples=take_samples(driver, seconds),
        gpus=tuple(info for info in infos if isinstance(info, DeviceInfo)),
        slow=tuple(reading for reading in slow if isinstance(reading, SlowReading)),
    )


def main() -> int:
    """Returns exit status 0, or 1 where there is no usable driver."""
    parser = argparse.ArgumentParser(prog="wattline_agent.device.record", description=__doc__)
    parser.add_argument("out", type=Path, help="file to write")
    parser.add_argument("--seconds", type=int, default=10, help="samples to take (default 10)")
    parser.add_argument("--nvml-lib", type=Path, help="driver library in place of the system's")
    arguments = parser.parse_args()
    try:
        driver = NvmlDriver(arguments.nvml_lib)
        recording = record(driver, max(1, arguments.seconds))
    except DriverAbsent as error:
        print(error, file=sys.stderr)
        return 1
    arguments.out.write_bytes(msgspec.json.format(msgspec.json.encode(recording), indent=1))
    driver.close()
    gpus, samples = counted(len(recording.gpus), "GPU"), counted(len(recording.samples), "sample")
    print(f"{gpus}, {samples} in {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
