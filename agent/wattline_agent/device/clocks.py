"""Locked SM clocks through pynvml: the second actuator.

NVML has no getter for a lock, so nothing here is read back: a lock saves energy, and nothing that
is promised rests on it (I2). A driver that is loaded anew has no locks.
"""

from collections.abc import Callable
from typing import Any

import pynvml

_IMPOSSIBLE_MHZ = (1, 0)
"""A range that runs backwards."""


def probe(handle: Any, read: Callable[..., Any], *, may_set: bool) -> tuple[int, bool]:
    """Highest SM clock in MHz (0 = not known), and whether this process may lock clocks.

    Asked by an impossible range: it is refused without a change, and how says what a possible one
    would meet. `read` gives None where the driver has no such value. Raises NVMLError.
    """
    highest_mhz = read(pynvml.nvmlDeviceGetMaxClockInfo, handle, pynvml.NVML_CLOCK_SM)
    if not highest_mhz or not may_set:
        return int(highest_mhz or 0), False
    try:
        pynvml.nvmlDeviceSetGpuLockedClocks(handle, *_IMPOSSIBLE_MHZ)
    except pynvml.NVMLError as error:
        return int(highest_mhz), bool(error.value == pynvml.NVML_ERROR_INVALID_ARGUMENT)
    # A driver that takes anything: what it made of it is undone.
    pynvml.nvmlDeviceResetGpuLockedClocks(handle)
    return int(highest_mhz), True


def lock(handle: Any, ceiling_mhz: int) -> None:
    """Let the SM clock run no higher than this; 0 = as high as it goes. Raises NVMLError."""
    if ceiling_mhz:
        pynvml.nvmlDeviceSetGpuLockedClocks(handle, 0, ceiling_mhz)
    else:
        pynvml.nvmlDeviceResetGpuLockedClocks(handle)
