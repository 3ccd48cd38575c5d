"""Energy counters of a worker's GPUs, read from NVIDIA's driver on a thread of their own.

A call of the driver may take arbitrarily long, and must delay neither beats nor the model.
"""

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

import structlog

log = structlog.get_logger()

PERIOD_S = 0.1
"""Counters of GPUs grow about as often."""
REOPEN_S = 5.0
"""After a failure, as of a driver that was reloaded."""
WHOLE_PERMILLE = 1_000


class GpuReading(NamedTuple):
    """The sum of the counters."""

    counter_uj: int
    mono_s: float


class GpuShare(NamedTuple):
    """The GPUs of a task, as its environment names them."""

    uuids: tuple[str, ...]
    permille: int = WHOLE_PERMILLE
    """Its share of each."""


def gpus_of(environ: Mapping[str, str]) -> GpuShare:
    """Those that the agent allocated; none outside of a task."""
    named = environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    uuids = tuple(one for one in named if one.startswith(("GPU-", "MIG-")))
    try:
        permille = round(float(environ.get("WATTLINE_GPU_SHARE", "")) * WHOLE_PERMILLE)
    except (ValueError, OverflowError):
        permille = WHOLE_PERMILLE
    return GpuShare(uuids, min(WHOLE_PERMILLE, max(0, permille)))


class GpuCounters:
    """Reads the counters of GPUs; silent where there are none."""

    def __init__(self, gpus: GpuShare) -> None:
        self._gpus = gpus
        self._readings: SimpleQueue[GpuReading] = SimpleQueue()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="energy", daemon=True)

    @property
    def has_gpus(self) -> bool:
        """Whether there is anything to read."""
        return bool(self._gpus.uuids and self._gpus.permille)

    def start(self) -> None:
        """Begin; returns at once."""
        if self.has_gpus:
            self._thread.start()

    def stop(self) -> None:
        """Read no more; does not wait for a call of the driver."""
        self._stopped.set()

    def take(self) -> list[GpuReading]:
        """All readings since the last call."""
        found: list[GpuReading] = []
        with suppress(Empty):
            while True:
                found.append(self._readings.get_nowait())
        return found

    def _run(self) -> None:
        try:
            import pynvml
        except ImportError as error:
            log.info("energy_not_measured", reason=str(error))
            return
        complaint = ""
        while not self._stopped.is_set():
            try:
                self._read(pynvml)
            except pynvml.NVMLError as error:
                if str(error) != complaint:
                    complaint = str(error)
                    log.info("energy_not_measured", reason=complaint)
            self._stopped.wait(REOPEN_S)

    def _read(self, nvml: Any) -> None:
        """Until it is stopped. Raises NVMLError."""
        nvml.nvmlInit()
        try:
            handles = [_handle(nvml, uuid) for uuid in self._gpus.uuids]
            while not self._stopped.is_set():
                sum_mj = sum(nvml.nvmlDeviceGetTotalEnergyConsumption(one) for one in handles)
                # Thousandths of millijoules are microjoules.
                reading = GpuReading(sum_mj * self._gpus.permille, time.monotonic())
                self._readings.put(reading)
                self._stopped.wait(PERIOD_S)
        finally:
            with suppress(nvml.NVMLError):
                nvml.nvmlShutdown()


def _handle(nvml: Any, uuid: str) -> Any:
    """A MIG device has no counter; its share of its GPU's is what the agent books to it."""
    handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
    if uuid.startswith("MIG-"):
        return nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)
    return handle
