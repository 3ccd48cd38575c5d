"""Generates the two C headers that the library is compiled with.

Nothing is copied from a vendor's header: the state layout comes from ``wattline_sim.state``, the
NVML structures and numbers from the ctypes classes and constants of the installed pynvml. Sizes
and offsets are asserted in C, so that an nvidia-ml-py release that moves a field breaks the build
and not a run.
"""

import ctypes
from collections.abc import Iterable
from typing import Any

import pynvml

from wattline_sim import state

_C_TYPES: dict[Any, str] = {
    ctypes.c_int8: "int8_t",
    ctypes.c_uint8: "uint8_t",
    ctypes.c_int16: "int16_t",
    ctypes.c_uint16: "uint16_t",
    ctypes.c_int32: "int32_t",
    ctypes.c_uint32: "uint32_t",
    ctypes.c_int64: "int64_t",
    ctypes.c_uint64: "uint64_t",
    ctypes.c_char: "char",
    ctypes.c_ulong: "unsigned long",
    ctypes.c_double: "double",
}

# C name -> pynvml class: the structures that cross the ABI in the functions we implement.
NVML_STRUCTS: dict[str, Any] = {
    "nvmlMemory_t": pynvml.c_nvmlMemory_t,
    "nvmlMemory_v2_t": pynvml.c_nvmlMemory_v2_t,
    "nvmlBAR1Memory_t": pynvml.c_nvmlBAR1Memory_t,
    "nvmlPciInfo_t": pynvml.nvmlPciInfo_t,
    "nvmlUtilization_t": pynvml.c_nvmlUtilization_t,
    "nvmlProcessInfo_t": pynvml.c_nvmlProcessInfo_v3_t,
    "nvmlProcessUtilizationSample_t": pynvml.c_nvmlProcessUtilizationSample_t,
    "nvmlTemperature_v1_t": pynvml.c_nvmlTemperature_v1_t,
    "nvmlMarginTemperature_v1_t": pynvml.c_nvmlMarginTemperature_v1_t,
    "nvmlRowRemapperHistogramValues_t": pynvml.c_nvmlRowRemapperHistogramValues,
    "nvmlValue_t": pynvml.c_nvmlValue_t,
    "nvmlFieldValue_t": pynvml.c_nvmlFieldValue_t,
    "nvmlEventData_t": pynvml.c_nvmlEventData_t,
    "nvmlGpmSupport_t": pynvml.c_nvmlGpmSupport_t,
    "nvmlDeviceAttributes_t": pynvml.c_nvmlDeviceAttributes,
}

_CONSTANT_PREFIXES = (
    "NVML_SUCCESS",
    "NVML_ERROR_",
    "NVML_FI_",
    "NVML_VALUE_TYPE_",
    "NVML_TEMPERATURE_",
    "NVML_CLOCK_",
    "NVML_MEMORY_",
    "NVML_BRAND_",
    "NVML_FEATURE_",
    "NVML_PCIE_UTIL_",
    "NVML_COMPUTEMODE_",
    "NVML_DEVICE_MIG_",
    "nvmlEventType",
    "nvmlClocksEventReason",
    "nvmlMemory_v2",
    "nvmlTemperature_v1",
    "nvmlMarginTemperature_v1",
)


def _declaration(ctype: Any, name: str, nvml_names: dict[Any, str]) -> str:
    """One C member declaration of a ctypes field."""
    if issubclass(ctype, ctypes.Array):
        return _declaration(ctype._type_, f"{name}[{ctype._length_}]", nvml_names)
    if ctype in nvml_names:
        return f"{nvml_names[ctype]} {name}"
    if hasattr(ctype, "contents"):  # a pointer; ABI handles are opaque here
        return f"void *{name}"
    return f"{_C_TYPES[ctype]} {name}"


def _definition(name: str, cls: Any, names: dict[Any, str]) -> list[str]:
    """A C struct or union with assertions of its size and of every offset."""
    kind = "union" if issubclass(cls, ctypes.Union) else "struct"
    members = [f"    {_declaration(ctype, field, names)};" for field, ctype, *_ in cls._fields_]
    checks = [
        f"_Static_assert(offsetof({name}, {field}) == {getattr(cls, field).offset},"
        f' "{name}.{field} moved");'
        for field, *_ in cls._fields_
    ]
    size = f'_Static_assert(sizeof({name}) == {ctypes.sizeof(cls)}, "{name} changed size");'
    return [f"typedef {kind} {{", *members, f"}} {name};", size, *checks, ""]


def _constants(names: Iterable[str], values: dict[str, Any]) -> list[str]:
    return [f"#define {name} {values[name]:#x}" for name in names]


def _guarded(guard: str, body: list[str]) -> str:
    head = [f"#ifndef {guard}", f"#define {guard}", "/* Generated; do not edit. */"]
    return "\n".join([*head, "#include <stddef.h>", "#include <stdint.h>", "", *body, "#endif", ""])


def state_header() -> str:
    """``state_layout.h``: the structures of ``wattline_sim.state`` as C."""
    names = {cls: f"wl_{_snake(cls.__name__)}" for cls in state.STRUCTS}
    body = [
        f"#define WL_MAGIC UINT64_C({state.MAGIC:#x})",
        *(
            f"#define WL_{name} {getattr(state, name):#x}u"
            for name in (
                *(
                    "ABI_VERSION",
                    "GPUS_MAX",
                    "PROCESSES_MAX",
                    "EVENTS_MAX",
                    "FORCED_MAX",
                    "MIG_MAX",
                ),
                "NO_INSTANCE",
            )
        ),
        f"#define WL_ANY {state.ANY_GPU:#x}u",
        *(f"#define WL_CALL_{call.name} {call.value}" for call in state.CallClass),
        "",
    ]
    for cls in state.STRUCTS:
        body += _definition(names[cls], cls, names)
    return _guarded("WL_STATE_LAYOUT_H", body)


def nvml_header() -> str:
    """``nvml_types.h``: the NVML structures and constants as pynvml declares them."""
    values = {
        name: value
        for name, value in vars(pynvml).items()
        if name.startswith(_CONSTANT_PREFIXES) and type(value) is int
    }
    names = {cls: name for name, cls in NVML_STRUCTS.items()}
    body = [*_constants(sorted(values), values), ""]
    for name, cls in NVML_STRUCTS.items():
        body += _definition(name, cls, names)
    return _guarded("WL_NVML_TYPES_H", body)


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
