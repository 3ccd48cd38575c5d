"""A driver that plays back readings which `record` took from real (or simulated) GPUs.

It caps and measures nothing: limits are stored and read back, power is as recorded.
"""

import dataclasses
import threading
from pathlib import Path

import msgspec

from wattline_agent.core.ports import (
    CapResult,
    ClockResult,
    DeviceEvent,
    DeviceInfo,
    DriverAbsent,
    Reading,
    SlowReading,
    Stale,
)
from wattline_agent.device.recording import RECORDING_VERSION, Recording
from wattline_protocol.ids import GpuIndex

MAX_RECORDING_BYTES = 64 * 1024 * 1024


class ReplayDriver:
    """See `ports.Driver`. After the last sample it begins again."""

    def __init__(self, path: Path) -> None:
        """Raises DriverAbsent when there is no complete recording at `path`."""
        self._recording = _load(path)
        self._path = path
        self._caps_mw: dict[int, int] = {}
        self._next = dict.fromkeys(range(len(self._recording.gpus)), 0)
        self._closed = threading.Event()

    @property
    def is_simulated(self) -> bool:
        """Always: a playback is not live."""
        return True

    def driver_instance(self) -> str:
        """The recording's driver; it is never reloaded."""
        return f"replay/{self._recording.driver_version}/{self._path.name}"

    def count(self) -> int:
        """GPUs in the recording."""
        return len(self._recording.gpus)

    def info(self, index: GpuIndex) -> DeviceInfo | Stale:
        """As recorded."""
        return self._recording.gpus[index]

    def read(self, index: GpuIndex) -> Reading:
        """The next sample of this GPU, under the limits set here."""
        samples = self._recording.samples
        reading = samples[self._next[index] % len(samples)][index]
        self._next[index] += 1
        cap_mw = self._caps_mw.get(index)
        if cap_mw is None:
            return reading
        return dataclasses.replace(reading, enforced_mw=cap_mw, host_limit_mw=cap_mw)

    def read_slow(self, index: GpuIndex) -> SlowReading | Stale:
        """As recorded."""
        return self._recording.slow[index]

    def process_use(self, index: GpuIndex) -> dict[int, int]:
        """Processes were not recorded."""
        del index
        return {}

    def processes(self, index: GpuIndex) -> None:
        """Processes were not recorded."""
        del index

    def set_cap(self, index: GpuIndex, cap_mw: int) -> CapResult:
        """Store the limit, if the recorded GPU would have accepted it."""
        info = self._recording.gpus[index]
        problem = "" if info.can_cap else info.why_not or "this GPU cannot be capped"
        if not problem and not info.cap_min_mw <= cap_mw <= info.cap_max_mw:
            problem = f"{cap_mw} mW is outside the limits of this GPU"
        if not problem:
            self._caps_mw[index] = cap_mw
        return dataclasses.replace(self.read_cap(index), error=problem)

    def read_cap(self, index: GpuIndex) -> CapResult:
        """The limit set here, or the recorded one."""
        cap_mw = self._caps_mw.get(index)
        if cap_mw is not None:
            return CapResult(index, cap_mw, cap_mw, is_taken=True)
        first = self._recording.samples[0][index]
        return CapResult(index, first.enforced_mw, first.host_limit_mw)

    def lock_clocks(self, index: GpuIndex, ceiling_mhz: int) -> ClockResult:
        """A recording runs at the clocks it was made at."""
        return ClockResult(index, ceiling_mhz, "clocks of a recording cannot be locked")

    def events(self, timeout_s: float) -> tuple[DeviceEvent, ...]:
        """None were recorded."""
        self._closed.wait(timeout_s)
        return ()

    def close(self) -> None:
        """Nothing to release."""
        self._closed.set()


def _load(path: Path) -> Recording:
    try:
        if path.stat().st_size > MAX_RECORDING_BYTES:
            raise DriverAbsent(f"{path} is larger than {MAX_RECORDING_BYTES} bytes")
        recording = msgspec.json.decode(path.read_bytes(), type=Recording)
    except (OSError, msgspec.DecodeError) as error:
        raise DriverAbsent(f"{path} is no recording of GPUs: {error}") from error
    if recording.version != RECORDING_VERSION:
        raise DriverAbsent(f"{path} has version {recording.version}, not {RECORDING_VERSION}")
    count = len(recording.gpus)
    if not count or not recording.samples or len(recording.slow) != count:
        raise DriverAbsent(f"{path} holds no GPUs or no samples")
    if any(len(sample) != count for sample in recording.samples):
        raise DriverAbsent(f"{path}: every sample should hold {count} readings")
    return recording
