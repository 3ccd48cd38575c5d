"""MIG devices of a GPU as its operator created them: found and described, never changed.

A MIG device is a compute instance. Its name ends in its profile, as in "NVIDIA H100 80GB HBM3 MIG
3g.40gb"; one that shares its GPU instance with others is called "1c.3g.40gb". Power, energy, limits
and temperatures are those of the whole GPU, and the driver measures no utilisation in MIG mode.
"""

from collections.abc import Callable
from typing import Any

import pynvml

from wattline_protocol.job.spec import WHOLE_GPU
from wattline_protocol.wire.mig import MigInstance

Optional = Callable[..., Any]

MARK = " MIG "
MIB = 2**20


def instances(handle: Any, optional: Optional) -> tuple[MigInstance, ...] | None:
    """MIG devices of a GPU; None where it is not in MIG mode. `optional` returns None for what is
    not supported."""
    mode = optional(pynvml.nvmlDeviceGetMigMode, handle)
    if mode is None or mode[0] != pynvml.NVML_DEVICE_MIG_ENABLE:
        return None
    most = optional(pynvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0
    devices = (_device(handle, number) for number in range(most))
    return tuple(_described(device, most) for device in devices if device is not None)


def _device(handle: Any, number: int) -> Any:
    try:
        return pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
    except pynvml.NVMLError as error:
        if error.value == pynvml.NVML_ERROR_NOT_FOUND:  # numbers may have gaps
            return None
        raise


def _described(device: Any, slices: int) -> MigInstance:
    made = pynvml.nvmlDeviceGetAttributes(device)
    share_permille = int(made.computeInstanceSliceCount) * WHOLE_GPU // slices
    return MigInstance(
        uuid=str(pynvml.nvmlDeviceGetUUID(device)),
        profile=_profile(str(pynvml.nvmlDeviceGetName(device)), made),
        memory_bytes=int(made.memorySizeMB) * MIB,
        share_permille=max(1, min(share_permille, WHOLE_GPU)),
    )


def _profile(name: str, made: Any) -> str:
    """Profile from the name; drivers that omit it there report it in the attributes, to the GB."""
    profile = name.partition(MARK)[2].strip()
    if profile:
        return profile
    return f"{made.gpuInstanceSliceCount}g.{round(made.memorySizeMB / 1024)}gb"
