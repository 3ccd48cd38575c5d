"""Recording written by `record`: one JSON file on the GPUs of one host. Tests play it back."""

import msgspec

from wattline_agent.core.ports import DeviceInfo, FastReading, SlowReading

RECORDING_VERSION = 1


class Probe(msgspec.Struct, frozen=True):
    """Answer of one NVML call that was tried several times."""

    name: str
    code: int
    """NVML return code; 0 = success."""
    value: str = ""
    """As text, shortened."""
    value_type: str = ""
    p50_us: float = 0.0
    p95_us: float = 0.0


class GpuProbes(msgspec.Struct, frozen=True):
    """All probes of one GPU."""

    index: int
    calls: tuple[Probe, ...]
    """The functions that the collector uses."""
    fields: tuple[Probe, ...]
    """Every field id, in one batch each; times are of a batch of that one field."""


class Recording(msgspec.Struct, frozen=True):
    """The whole file. Each sample has one reading per GPU, in index order."""

    version: int
    driver_version: str
    is_simulated: bool
    gpus: tuple[DeviceInfo, ...]
    samples: tuple[tuple[FastReading, ...], ...]
    slow: tuple[SlowReading, ...]
    probes: tuple[GpuProbes, ...] = ()
