"""The temperature at which a GPU's hardware slows its clocks down, through pynvml."""

from collections.abc import Callable
from typing import Any

import pynvml

from wattline_agent.device.fields import read_fields

SLOWDOWN_KIND = pynvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN
SLOWDOWN_FIELD = pynvml.NVML_FI_DEV_TEMPERATURE_SLOWDOWN_TLIMIT


def slowdown_c(handle: Any) -> int | None:
    """As an absolute temperature; None = not reported.

    Since Ada, NVML prefers distances to a reference: the margin of the temperature now, and the
    offset of the slowdown. They count where the driver has no absolute value.
    """
    absolute = _read(pynvml.nvmlDeviceGetTemperatureThreshold, handle, SLOWDOWN_KIND)
    if absolute is not None:
        return int(absolute)
    now_c = _read(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU)
    margin = _read(margin_c, handle)
    offset_c = (_read(read_fields, handle, (SLOWDOWN_FIELD,)) or {}).get(SLOWDOWN_FIELD)
    if now_c is None or margin is None or offset_c is None:
        return None
    return int(now_c) + int(margin) - int(offset_c)


def margin_c(handle: Any) -> int:
    """Distance to the reference. Raises NVMLError, also where pynvml is too old to have it."""
    read = getattr(pynvml, "nvmlDeviceGetMarginTemperature", None)
    if read is None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
    return int(read(handle))


def _read(call: Callable[..., Any], *arguments: Any) -> Any:
    """None on any error: the limit is for display, and must not cost the identity of the GPU."""
    try:
        return call(*arguments)
    except pynvml.NVMLError:
        return None
