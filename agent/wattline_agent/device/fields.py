"""NVML's field batch: many values of one GPU in one driver call, each with its own return code."""

import math
from collections.abc import Sequence
from typing import Any

import pynvml

FAST_FIELDS: tuple[int, ...] = (
    pynvml.NVML_FI_DEV_POWER_AVERAGE,
    pynvml.NVML_FI_DEV_POWER_CURRENT_LIMIT,
    pynvml.NVML_FI_DEV_POWER_REQUESTED_LIMIT,
    pynvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION,
    pynvml.NVML_FI_DEV_MEMORY_TEMP,
    pynvml.NVML_FI_DEV_PERF_POLICY_POWER,
)
LIMIT_FIELDS: tuple[int, ...] = (
    pynvml.NVML_FI_DEV_POWER_CURRENT_LIMIT,
    pynvml.NVML_FI_DEV_POWER_REQUESTED_LIMIT,
)

_MEMBERS = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
"""Member of the value union by NVML value type."""


_NOT_AVAILABLE = (
    pynvml.NVML_VALUE_NOT_AVAILABLE_uint.value,
    pynvml.NVML_VALUE_NOT_AVAILABLE_ulonglong.value,
)


def value_of(entry: Any) -> int | float | None:
    """Value of one entry of a batch; None when its return code is not success, or when it is no
    number or NVML's mark of a value that is not available."""
    if entry.nvmlReturn != pynvml.NVML_SUCCESS or entry.valueType >= len(_MEMBERS):
        return None
    value: int | float = getattr(entry.value, _MEMBERS[entry.valueType])
    return value if math.isfinite(value) and value not in _NOT_AVAILABLE else None


def read_fields(handle: Any, ids: Sequence[int]) -> dict[int, int | None]:
    """Values by field id; None = this GPU has no such field. Raises NVMLError for the whole."""
    entries = pynvml.nvmlDeviceGetFieldValues(handle, ids)
    values = (value_of(entry) for entry in entries)
    return {
        number: None if value is None else int(value)
        for number, value in zip(ids, values, strict=True)
    }
