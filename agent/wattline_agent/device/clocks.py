"""Locked SM clocks through pynvml: the second actuator.

NVML has no getter for a lock, so nothing is read back here: a lock saves energy, and no guarantee
depends on it (I2). A reloaded driver has no locks.
"""

from collections.abc import Callable
from typing import Any

import pynvml

_IMPOSSIBLE_MHZ = (1, 0)
"""An invalid range: its minimum exceeds its maximum."""


def probe(handle: Any, read: Callable[..., Any], *, may_set: bool) -> tuple[int, bool]:
    """Highest SM clock in MHz (0 = unknown), and whether this process may lock clocks.

    Probes with an invalid range, refused without a change; the error shows whether a valid one
    would be permitted. `read` returns None where the driver lacks the value. Raises NVMLError.
    """
    highest_mhz = read(pynvml.nvmlDeviceGetMaxClockInfo, handle, pynvml.NVML_CLOCK_SM)
    if not highest_mhz or not may_set:
        return int(highest_mhz or 0), False
    try:
        pynvml.nvmlDeviceSetGpuLockedClocks(handle, *_IMPOSSIBLE_MHZ)
    except pynvml.NVMLError as error:
        return int(highest_mhz), bool(error.value == pynvml.NVML_ERROR_INVALID_ARGUMENT)
    # This driver accepts any range: undo the lock.
    pynvml.nvmlDeviceResetGpuLockedClocks(handle)
    return int(highest_mhz), True


def lock(handle: Any, ceiling_mhz: int) -> None:
    """Lock the SM clock at or below this; 0 = unlock. Raises NVMLError."""
    if ceiling_mhz:
        pynvml.nvmlDeviceSetGpuLockedClocks(handle, 0, ceiling_mhz)
    else:
        pynvml.nvmlDeviceResetGpuLockedClocks(handle)
