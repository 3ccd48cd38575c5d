"""NVML as initialised by this process: version, number of GPUs, handles; renewed as a whole.

Everything the library returns (handles, the count, event sets) belongs to the driver loaded at that
time. A driver that was reloaded answers to none of it, without an error: an old event set stays
silent forever. So everything is queried again whenever the kernel module has changed, or a call
reports that the driver is not loaded.
"""

import ctypes
import threading
import time
from pathlib import Path
from typing import Any

import pynvml

from wattline_agent.core.ports import DriverAbsent

LIBRARY_NAME = "libnvidia-ml.so.1"
REOPEN_PERIOD_S = 5.0
"""Retry interval of a driver that was unloaded while in use."""


class NvmlLibrary:
    """Called from the thread of any GPU."""

    def __init__(self, library: Path | None) -> None:
        """Raises DriverAbsent, naming what was tried and the driver's answer."""
        self.count = 0
        self.version = ""
        self.generation = 0
        """Increases when handles change: with each renewal, and when a lost GPU is back."""
        self._inits = 0
        """Calls of nvmlInit without a matching nvmlShutdown."""
        self._handles: dict[int, Any] = {}
        self._lost: set[int] = set()
        self._lock = threading.Lock()
        self._is_outdated = False
        self._tried_s = time.monotonic()
        try:
            if library is not None:
                # Later loads by SONAME find this object: pynvml's own path is unchanged.
                ctypes.CDLL(str(library.resolve()), mode=ctypes.RTLD_GLOBAL)
            self._initialise()
        except (OSError, pynvml.NVMLError) as error:
            raise DriverAbsent(f"{library or LIBRARY_NAME}: {error}") from error

    def handle(self, index: int) -> Any:
        """Raises NVMLError; "GPU is lost" for one that the driver no longer lists."""
        if self._is_outdated:
            self.renew(at_once=True)
        if index >= self.count:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        handle = self._handles.get(index)
        if handle is None:
            handle = self._handles[index] = pynvml.nvmlDeviceGetHandleByIndex(index)
            if index in self._lost:
                self._lost.discard(index)
                self.generation += 1
        return handle

    def drop(self, index: int) -> None:
        """The GPU was lost: if it comes back, it has another handle."""
        self._lost.add(index)
        self._handles.pop(index, None)

    def outdate(self) -> None:
        """The kernel module has changed: renew everything with the next call."""
        self._is_outdated = True

    def renew(self, *, at_once: bool = False) -> None:
        """Release everything of the old driver and query it again; rate-limited, from one thread.
        While the driver is still unloaded, calls keep reporting that."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            is_due = time.monotonic() - self._tried_s >= REOPEN_PERIOD_S
            if is_due or (at_once and self._is_outdated):
                self._is_outdated, self._tried_s = False, time.monotonic()
                self._release()
                self._initialise()
        except pynvml.NVMLError:
            return  # the reading is Stale and reports why
        finally:
            self._lock.release()

    def close(self) -> None:
        """Shut NVML down."""
        self._release()

    def _initialise(self) -> None:
        pynvml.nvmlInit()
        self._inits += 1
        self.count = int(pynvml.nvmlDeviceGetCount())
        self.version = str(pynvml.nvmlSystemGetDriverVersion())
        self._handles.clear()
        self._lost.clear()
        self.generation += 1

    def _release(self) -> None:
        """The library counts its users, and searches for the driver only for the first one."""
        while self._inits:
            self._inits -= 1
            try:
                pynvml.nvmlShutdown()
            except pynvml.NVMLError:
                continue  # it was shut down with the driver
