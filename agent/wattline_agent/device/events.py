"""Events pushed by the NVIDIA driver: XIDs and double-bit ECC errors, awaited in a thread."""

import ctypes
import threading
from typing import Any

import pynvml

from wattline_agent.core.ports import DeviceEvent
from wattline_agent.device.library import NvmlLibrary
from wattline_protocol.ids import GpuIndex

MAX_EVENTS_PER_WAIT = 64
"""A storm is read in batches; the rest comes with the next wait."""
WANTED = pynvml.nvmlEventTypeXidCriticalError | pynvml.nvmlEventTypeDoubleBitEccError

XID_TEXTS = {
    13: "graphics engine exception, most often the program's own fault",
    31: "memory page fault, most often the program's own fault",
    43: "GPU stopped processing a program",
    45: "program's work was removed after an earlier error",
    48: "double-bit memory error",
    63: "a memory row was remapped or a page retired",
    64: "a memory row could not be remapped",
    74: "NVLink error",
    79: "GPU has fallen off the bus",
    92: "high rate of corrected memory errors",
    94: "memory error, contained to one program",
    95: "memory error, not contained: the GPU needs a reset",
    119: "GPU firmware does not answer",
    120: "GPU firmware error",
}


class EventReader:
    """One event set for all GPUs; created at the first wait, so that only its thread can block.

    It is created again whenever the library was renewed (a set of an unloaded driver stays silent),
    a lost GPU may be back, or a wait failed.
    """

    def __init__(self, library: NvmlLibrary) -> None:
        self._library = library
        self._set: Any = None
        self._generation = 0
        """Library generation for which the set was created."""
        self._index_of: dict[int | None, int] = {}
        self._idle = threading.Event()

    def wait(self, timeout_s: float) -> tuple[DeviceEvent, ...]:
        """Events within the timeout, without those from before the set was created."""
        try:
            if self._set is None or self._generation != self._library.generation:
                self._register()
            return self._take(round(timeout_s * 1000))
        except pynvml.NVMLError:
            self._free()
            self._idle.wait(timeout_s)  # unsupported or unloaded: retry at the same interval
            return ()

    def _register(self) -> None:
        self._free()
        generation = self._library.generation
        events = pynvml.nvmlEventSetCreate()
        self._set = events
        for index in range(self._library.count):
            try:
                handle = pynvml.nvmlDeviceGetHandleByIndex(index)
                kinds = pynvml.nvmlDeviceGetSupportedEventTypes(handle) & WANTED
                pynvml.nvmlDeviceRegisterEvents(handle, kinds, events)
            except pynvml.NVMLError:
                continue  # lost or without events; its readings report the error
            self._index_of[_address(handle)] = index
        self._generation = generation

    def _take(self, timeout_ms: int) -> tuple[DeviceEvent, ...]:
        found: list[DeviceEvent] = []
        while len(found) < MAX_EVENTS_PER_WAIT:
            try:
                data = pynvml.nvmlEventSetWait_v2(self._set, 0 if found else timeout_ms)
            except pynvml.NVMLError as error:
                if error.value == pynvml.NVML_ERROR_TIMEOUT:
                    break
                raise
            index = self._index_of.get(_address(data.device))
            if index is not None:
                found.append(describe(GpuIndex(index), int(data.eventType), int(data.eventData)))
        return tuple(found)

    def close(self) -> None:
        """Release the event set."""
        self._idle.set()
        self._free()

    def _free(self) -> None:
        self._index_of.clear()
        events, self._set = self._set, None
        if events is None:
            return
        try:
            pynvml.nvmlEventSetFree(events)
        except pynvml.NVMLError:
            return  # the driver was unloaded, and the set with it


def describe(index: GpuIndex, kind: int, code: int) -> DeviceEvent:
    """One pushed event with its description."""
    if kind == pynvml.nvmlEventTypeXidCriticalError:
        text = XID_TEXTS.get(code, "see the driver's list of XIDs")
        return DeviceEvent(index, "xid", code, f"XID {code}: {text}")
    if kind == pynvml.nvmlEventTypeDoubleBitEccError:
        return DeviceEvent(index, "ecc_double_bit", code, "double-bit ECC error")
    return DeviceEvent(index, "other", code, f"driver event {kind:#x}")


def _address(handle: Any) -> int | None:
    return ctypes.cast(handle, ctypes.c_void_p).value
