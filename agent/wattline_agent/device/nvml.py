"""NVIDIA's driver through the unmodified pynvml.

Theory of operation. Each call concerns one GPU and may take arbitrarily long; the collector calls
from one thread per GPU. A fast reading is one field batch and five getters: six driver calls, and
one more for each field that an older GPU lacks and a getter replaces. A value the driver reports as
unsupported is None. "Lost" is a value as well, not an exception.

Caps are set with the first version of the setter (pynvml drops the return code of the second) and
read back: the limit set by the host, and the limit in force, which a BMC can make lower.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pynvml

from wattline_agent.core.ports import (
    CapResult,
    ClockResult,
    ComputeProcess,
    DeviceEvent,
    DeviceInfo,
    FastReading,
    Reading,
    SlowReading,
    Stale,
    held_below,
)
from wattline_agent.device import clocks, mig
from wattline_agent.device.events import EventReader
from wattline_agent.device.fields import FAST_FIELDS, LIMIT_FIELDS, read_fields
from wattline_agent.device.library import NvmlLibrary
from wattline_agent.device.temperature import slowdown_c
from wattline_protocol.ids import GpuIndex

SIMULATION_MARK = "nvmlsim_info"
"""Symbol that only the simulated library exports."""

T = TypeVar("T")

_ABSENT = frozenset(
    {
        pynvml.NVML_ERROR_NOT_SUPPORTED,
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        pynvml.NVML_ERROR_NO_DATA,
        pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
    }
)
_LOST = frozenset({pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED})
_UNLOADED = frozenset({pynvml.NVML_ERROR_DRIVER_NOT_LOADED, pynvml.NVML_ERROR_UNINITIALIZED})
_NO_PERMISSION_HELP = "no permission: the agent must be root to set caps"


def boottime_s() -> float:
    """Current CLOCK_BOOTTIME."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def optional(read: Callable[..., T], *arguments: Any) -> T | None:
    """Result of `read`, or None where this driver or GPU has no such value. Raises NVMLError for
    everything else (lost, hung, unloaded)."""
    try:
        return read(*arguments)
    except pynvml.NVMLError as error:
        if error.value in _ABSENT:
            return None
        raise


class NvmlDriver:
    """See `ports.Driver`."""

    def __init__(
        self,
        library: Path | None = None,
        sysfs_root: Path = Path("/sys"),
        *,
        may_set: bool = True,
    ) -> None:
        """Raises DriverAbsent, naming what was tried and the driver's answer."""
        self._library = NvmlLibrary(library)
        self._may_set = may_set
        self._module = sysfs_root / "module" / "nvidia"
        self._module_is_sysfs = _same_device(self._module, Path("/sys"))
        self._began_s = boottime_s()
        self._last_good_s: dict[int, float] = {}
        self._use_seen_us: dict[int, int] = {}
        """Time of the newest sample of `process_use` by GPU, on the driver's clock."""
        self._slowdown_c: dict[str, int | None] = {}
        """By UUID, read once: computed from a temperature it would differ by a degree each time."""
        self._loaded = self._module_identity()
        self._events = EventReader(self._library)

    @property
    def is_simulated(self) -> bool:
        """Whether the library is the simulated one, as it declares itself."""
        return hasattr(pynvml.nvmlLib, SIMULATION_MARK)

    def driver_instance(self) -> str:
        """Version and identity of the loaded kernel module: changes with a reload."""
        loaded = self._module_identity()
        if loaded is None:  # no sysfs here: a reload shows in limits back at their defaults
            return self._library.version
        if loaded != self._loaded:
            self._loaded = loaded
            self._library.outdate()
        return f"{self._library.version}/{loaded[0]}/{loaded[1]}"

    def _module_identity(self) -> tuple[int, int] | None:
        try:
            status = self._module.stat()
        except OSError:
            return None
        return status.st_ino, 0 if self._module_is_sysfs else status.st_ctime_ns

    def count(self) -> int:
        """Number of GPUs that the driver lists, lost ones included; may change with a reload."""
        return self._library.count

    # --- Identity -----------------------------------------------------------------------

    def info(self, index: GpuIndex) -> DeviceInfo | Stale:
        """Identity and limits; enables persistence mode, without which caps would not last."""
        try:
            return self._info(index)
        except pynvml.NVMLError as error:
            return self._stale(index, error)
        except UnicodeDecodeError:  # pynvml decodes whatever a damaged InfoROM has
            since_s = self._last_good_s.get(index, self._began_s)
            return Stale(index, since_s, "its name or UUID is no UTF-8 text")

    def _info(self, index: GpuIndex) -> DeviceInfo:
        handle = self._handle(index)
        limits = optional(pynvml.nvmlDeviceGetPowerManagementLimitConstraints, handle)
        default = optional(pynvml.nvmlDeviceGetPowerManagementDefaultLimit, handle)
        memory = _memory(handle)
        low, high = (int(limits[0]), int(limits[1])) if limits is not None else (0, 0)
        if not high:
            high = low = int(
                default or optional(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle) or 0
            )
        why_not = self._why_no_cap(handle) if limits is not None else "the GPU has no power limit"
        mode = optional(pynvml.nvmlDeviceGetComputeMode, handle)
        clock_max_mhz, can_lock = clocks.probe(handle, optional, may_set=self._may_set)
        uuid = str(pynvml.nvmlDeviceGetUUID(handle))
        if uuid not in self._slowdown_c:
            self._slowdown_c[uuid] = slowdown_c(handle)
        return DeviceInfo(
            index=index,
            uuid=uuid,
            name=str(pynvml.nvmlDeviceGetName(handle)),
            memory_bytes=int(memory.total) if memory is not None else 0,
            cap_min_mw=low,
            cap_default_mw=int(default or high),
            cap_max_mw=high,
            can_cap=not why_not,
            why_not=why_not,
            clock_max_mhz=clock_max_mhz,
            can_lock_clocks=can_lock,
            can_share=mode in (None, pynvml.NVML_COMPUTEMODE_DEFAULT),
            mig=mig.instances(handle, optional),
            temp_limit_c=self._slowdown_c[uuid],
        )

    def _why_no_cap(self, handle: Any) -> str:
        """Empty when caps can be set and will outlive this process. Tested by setting the limit in
        force again, which changes nothing; where a BMC enforces one below the host's, a write
        could lift it, so only persistence mode is set, which needs the same rights."""
        if not self._may_set:
            return ""
        try:
            limit = pynvml.nvmlDeviceGetPowerManagementLimit(handle)
            enforced = optional(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle)
            if held_below(enforced, limit) is None:
                pynvml.nvmlDeviceSetPowerManagementLimit(handle, limit)
            pynvml.nvmlDeviceSetPersistenceMode(handle, pynvml.NVML_FEATURE_ENABLED)
            if pynvml.nvmlDeviceGetPersistenceMode(handle) != pynvml.NVML_FEATURE_ENABLED:
                return "persistence mode does not stay on, so a cap would end with its last client"
        except pynvml.NVMLError as error:
            if error.value in _LOST:
                raise
            return _cap_error(error)
        return ""

    # --- Telemetry ----------------------------------------------------------------------

    def read(self, index: GpuIndex) -> Reading:
        """Fast telemetry; Stale when the driver returns none."""
        try:
            reading = self._read(index)
        except pynvml.NVMLError as error:
            return self._stale(index, error)
        self._last_good_s[index] = reading.mono_s
        return reading

    def _read(self, index: GpuIndex) -> FastReading:
        handle = self._handle(index)
        now_s = boottime_s()
        values = optional(read_fields, handle, FAST_FIELDS) or {}
        temperature = optional(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU)
        use = optional(pynvml.nvmlDeviceGetUtilizationRates, handle)
        memory = _memory(handle)
        average_mw = values.get(pynvml.NVML_FI_DEV_POWER_AVERAGE)
        return FastReading(
            index=index,
            mono_s=now_s,
            power_mw=_or_else(average_mw, pynvml.nvmlDeviceGetPowerUsage, handle),
            enforced_mw=_enforced(values, handle),
            host_limit_mw=_host_limit(values, handle),
            temp_c=temperature,
            memory_temp_c=values.get(pynvml.NVML_FI_DEV_MEMORY_TEMP),
            util_pct=int(use.gpu) if use is not None else None,
            sm_clock_mhz=optional(pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM),
            memory_used_bytes=int(memory.used) if memory is not None else None,
            reasons=_reasons(handle),
            energy_mj=_or_else(
                values.get(pynvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION),
                pynvml.nvmlDeviceGetTotalEnergyConsumption,
                handle,
            ),
            power_throttle_ns=values.get(pynvml.NVML_FI_DEV_PERF_POLICY_POWER),
            is_average=average_mw is not None,
        )

    def read_slow(self, index: GpuIndex) -> SlowReading | Stale:
        """State that changes rarely, in two driver calls and a few for each MIG device; re-enables
        persistence mode."""
        try:
            return self._read_slow(index)
        except pynvml.NVMLError as error:
            return self._stale(index, error)

    def _read_slow(self, index: GpuIndex) -> SlowReading:
        handle = self._handle(index)
        state = optional(pynvml.nvmlDeviceGetPersistenceMode, handle)
        if state == pynvml.NVML_FEATURE_DISABLED and self._may_set:
            self._why_no_cap(handle)  # re-enables it
            state = optional(pynvml.nvmlDeviceGetPersistenceMode, handle)
        lasts = None if state is None else bool(state == pynvml.NVML_FEATURE_ENABLED)
        divided = mig.instances(handle, optional)
        return SlowReading(index, boottime_s(), persistence=lasts, mig=divided)

    def process_use(self, index: GpuIndex) -> dict[int, int]:
        """By process, in one driver call; the mean where there are several samples of one."""
        since_us = self._use_seen_us.get(index, 0)
        try:
            samples = pynvml.nvmlDeviceGetProcessUtilization(self._handle(index), since_us)
        except pynvml.NVMLError:  # mostly "not found": unused since
            return {}
        seen: dict[int, list[int]] = {}
        for sample in samples:
            seen.setdefault(int(sample.pid), []).append(int(sample.smUtil))
            since_us = max(since_us, int(sample.timeStamp))
        self._use_seen_us[index] = since_us
        return {pid: sum(used) // len(used) for pid, used in seen.items()}

    def processes(self, index: GpuIndex) -> tuple[ComputeProcess, ...] | None:
        """In one driver call, or two where there are any; includes clients of MPS, but no graphics:
        a display server computes nothing, and its draw shows in the GPU's draw."""
        try:
            listed = optional(pynvml.nvmlDeviceGetComputeRunningProcesses, self._handle(index))
        except pynvml.NVMLError:  # lost, or not permitted for this account: see its readings
            return None
        if listed is None:
            return None
        found = {int(one.pid): one.usedGpuMemory for one in listed}
        return tuple(
            ComputeProcess(pid, None if used is None else int(used)) for pid, used in found.items()
        )

    # --- Caps ---------------------------------------------------------------------------

    def set_cap(self, index: GpuIndex, cap_mw: int) -> CapResult:
        """Set the limit and read it back; an error is in the result."""
        problem, is_taken = "", False
        try:
            pynvml.nvmlDeviceSetPowerManagementLimit(self._handle(index), cap_mw)
            is_taken = True
        except pynvml.NVMLError as error:
            problem = _cap_error(error)
            if error.value == pynvml.NVML_ERROR_INVALID_ARGUMENT:
                problem = f"{cap_mw} mW is outside the limits of this GPU"
        result = self.read_cap(index)
        if not problem and not result.error:
            problem = _not_as_asked(result, cap_mw)
        return replace(result, error=problem or result.error, is_taken=is_taken)

    def read_cap(self, index: GpuIndex) -> CapResult:
        """The limits in force."""
        try:
            handle = self._handle(index)
            values = optional(read_fields, handle, LIMIT_FIELDS) or {}
            return CapResult(index, _enforced(values, handle), _host_limit(values, handle))
        except pynvml.NVMLError as error:
            return CapResult(index, None, None, _cap_error(error))

    def lock_clocks(self, index: GpuIndex, ceiling_mhz: int) -> ClockResult:
        """Lock the SM clock at or below a ceiling, or unlock it."""
        try:
            clocks.lock(self._handle(index), ceiling_mhz)
        except pynvml.NVMLError as error:
            return ClockResult(index, ceiling_mhz, _words(error))
        return ClockResult(index, ceiling_mhz)

    # --- Events and the rest ------------------------------------------------------------

    def events(self, timeout_s: float) -> tuple[DeviceEvent, ...]:
        """Wait for events pushed by the driver."""
        return self._events.wait(timeout_s)

    def close(self) -> None:
        """Shut NVML down; caps stay."""
        self._events.close()
        self._library.close()

    def _handle(self, index: int) -> Any:
        return self._library.handle(index)

    def _stale(self, index: GpuIndex, error: Any) -> Stale:
        if error.value in _UNLOADED:
            self._library.renew()
        if error.value in _LOST:
            self._library.drop(index)
        return Stale(
            index,
            self._last_good_s.get(index, self._began_s),
            _words(error),
            is_lost=error.value in _LOST,
        )


def _same_device(path: Path, other: Path) -> bool:
    """Real sysfs never reuses inode numbers, but change times are new whenever the kernel has
    dropped an inode; in other file systems it is the other way round."""
    try:
        return os.stat(path).st_dev == os.stat(other).st_dev  # noqa: PTH116 - as the name says
    except OSError:
        return False


def _or_else(value: int | None, read: Callable[[Any], int], handle: Any) -> int | None:
    """The field's value, or the getter's where this GPU has no such field."""
    return value if value is not None else optional(read, handle)


def _enforced(values: dict[int, int | None], handle: Any) -> int | None:
    field = values.get(pynvml.NVML_FI_DEV_POWER_CURRENT_LIMIT)
    return _or_else(field, pynvml.nvmlDeviceGetEnforcedPowerLimit, handle)


def _host_limit(values: dict[int, int | None], handle: Any) -> int | None:
    field = values.get(pynvml.NVML_FI_DEV_POWER_REQUESTED_LIMIT)
    return _or_else(field, pynvml.nvmlDeviceGetPowerManagementLimit, handle)


def _memory(handle: Any) -> Any:
    """None also where it is not readable for all: that of a whole GPU in MIG mode."""
    try:
        newer = optional(pynvml.nvmlDeviceGetMemoryInfo, handle, pynvml.nvmlMemory_v2)
        return newer or optional(pynvml.nvmlDeviceGetMemoryInfo, handle)
    except pynvml.NVMLError as error:
        if error.value == pynvml.NVML_ERROR_NO_PERMISSION:
            return None
        raise


def _reasons(handle: Any) -> int:
    newer = optional(pynvml.nvmlDeviceGetCurrentClocksEventReasons, handle)
    if newer is not None:
        return int(newer)
    return int(optional(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle) or 0)


def _not_as_asked(result: CapResult, cap_mw: int) -> str:
    limits: Sequence[tuple[str, int | None]] = (
        ("asked for", result.host_limit_mw),
        ("enforced", result.enforced_mw),
    )
    for word, limit_mw in limits:
        if limit_mw is not None and limit_mw > cap_mw:
            return f"set to {cap_mw} mW, but the limit {word} is {limit_mw} mW"
    return ""


def _words(error: Any) -> str:
    return str(error).lower()


def _cap_error(error: Any) -> str:
    if error.value == pynvml.NVML_ERROR_NO_PERMISSION:
        return _NO_PERMISSION_HELP
    return _words(error)
