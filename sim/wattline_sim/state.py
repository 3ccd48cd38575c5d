"""The memory layout shared by the simulated driver library, its clients and the physics process.

Theory of operation. One file per node is mapped by everyone. The C library is a stateless view
on it; this module is the only place where the layout is declared (the C header is generated from
it, see ``driver.headers``). Each field has one kind of writer, so no locks cross processes:

* identity: written once, when the file is made;
* setpoints: written only by NVML clients through setters (atomic stores);
* faults, health and MIG partitions: written only by ``control`` (an operator or a test), but for a
  GPU that the physics shuts down for heat, which it marks as lost;
* telemetry and processes: written only by the physics process, under a sequence lock;
* events: a ring that control and physics push to, with tickets taken atomically in C.

A live file is never truncated or rewritten in place by a new simulator: a new file is made beside
it and renamed over it, so that old mappings stay valid.
"""

from ctypes import Structure, c_char, c_int32, c_uint32, c_uint64
from enum import IntEnum
from typing import ClassVar

MAGIC = int.from_bytes(b"WATTSIM\x01", "little")
ABI_VERSION = 2

GPUS_MAX = 16  # the largest single-host systems in use hold 16
PROCESSES_MAX = 32  # per GPU; more would not fit a screen and are dropped, busiest first
EVENTS_MAX = 256  # ring length; a slower reader loses the oldest, as with the real driver
MIG_MAX = 7  # instances of one GPU, as the hardware has slices
FORCED_MAX = 16  # forced return codes in force at once


class CallClass(IntEnum):
    """Groups of NVML calls that cost the driver about the same; latency is set per group."""

    IDENTITY = 0
    SENSOR = 1
    FIELDS = 2
    PROCESSES = 3
    PCIE = 4
    SETTER = 5


CALL_CLASSES = len(CallClass)
ANY_GPU = 0xFFFFFFFF
ANY_CLASS = 0xFFFFFFFF
NO_INSTANCE = 0xFFFFFFFF
"""``Process.gpu_instance`` of one that uses the whole GPU."""


class Identity(Structure):
    """What never changes about a GPU; limits in milliwatts, clocks in MHz, temperatures in °C."""

    _fields_: ClassVar = [
        ("name", c_char * 96),
        ("uuid", c_char * 80),
        ("serial", c_char * 32),
        ("vbios", c_char * 32),
        ("bus_id", c_char * 32),
        ("pci_bus", c_uint32),
        ("pci_device_id", c_uint32),
        ("pci_subsystem_id", c_uint32),
        ("pcie_generation", c_uint32),
        ("pcie_width", c_uint32),
        ("minor_number", c_uint32),
        ("architecture", c_uint32),
        ("brand", c_uint32),
        ("compute_major", c_uint32),
        ("compute_minor", c_uint32),
        ("limit_min_mw", c_uint32),
        ("limit_default_mw", c_uint32),
        ("limit_max_mw", c_uint32),
        ("sm_min_mhz", c_uint32),
        ("sm_max_mhz", c_uint32),
        ("sm_step_mhz", c_uint32),
        ("mem_max_mhz", c_uint32),
        ("shutdown_c", c_uint32),
        ("slowdown_c", c_uint32),
        ("gpu_max_c", c_uint32),
        ("mem_max_c", c_uint32),
        ("has_memory_sensor", c_uint32),
        ("has_margin", c_uint32),
        ("has_mig", c_uint32),
        ("usage_is_instant", c_uint32),
        ("reserved", c_uint32),
        ("memory_bytes", c_uint64),
        ("reserved_bytes", c_uint64),
        ("bar1_bytes", c_uint64),
    ]


class Setpoints(Structure):
    """What NVML clients set. ``locked_max_mhz`` 0 means that no clocks are locked."""

    _fields_: ClassVar = [
        ("limit_mw", c_uint32),
        ("locked_min_mhz", c_uint32),
        ("locked_max_mhz", c_uint32),
        ("persistence", c_uint32),
        ("compute_mode", c_uint32),
        ("generation", c_uint32),
    ]


class Faults(Structure):
    """Knobs of one GPU. 0 means healthy in every field; ``oob_limit_mw`` 0 means no BMC cap.
    ``last_writer_wins``: the host's next limit undoes the BMC's."""

    _fields_: ClassVar = [
        ("lost_return", c_uint32),
        ("hang", c_uint32),
        ("oob_limit_mw", c_uint32),
        ("power_brake", c_uint32),
        ("latency_us", c_uint32 * CALL_CLASSES),
        ("recovery_action", c_uint32),
        ("last_writer_wins", c_uint32),
    ]


class Health(Structure):
    """Error counters, raised by ``control``; the physics never touches them."""

    _fields_: ClassVar = [
        ("corrected_volatile", c_uint64),
        ("uncorrected_volatile", c_uint64),
        ("corrected_aggregate", c_uint64),
        ("uncorrected_aggregate", c_uint64),
        ("rows_corrected", c_uint32),
        ("rows_uncorrected", c_uint32),
        ("rows_pending", c_uint32),
        ("rows_failed", c_uint32),
        ("pcie_replays", c_uint32),
        ("reserved", c_uint32),
    ]


class MigInstance(Structure):
    """One MIG device: a compute instance that has a GPU instance to itself."""

    _fields_: ClassVar = [
        ("uuid", c_char * 80),
        ("profile", c_char * 32),
        ("memory_bytes", c_uint64),
        ("gpu_instance", c_uint32),
        ("slices", c_uint32),
    ]


class Mig(Structure):
    """How an operator partitioned the GPU; ``count`` is written last."""

    _fields_: ClassVar = [
        ("enabled", c_uint32),
        ("count", c_uint32),
        ("instances", MigInstance * MIG_MAX),
    ]


class Telemetry(Structure):
    """One consistent sample of a GPU; power in mW, energy in mJ, counters of throttling in ns."""

    _fields_: ClassVar = [
        ("sample_ns", c_uint64),
        ("energy_mj", c_uint64),
        ("reasons", c_uint64),
        ("power_capped_ns", c_uint64),
        ("software_thermal_ns", c_uint64),
        ("hardware_thermal_ns", c_uint64),
        ("power_brake_ns", c_uint64),
        ("memory_used_bytes", c_uint64),
        ("power_instant_mw", c_uint32),
        ("power_average_mw", c_uint32),
        ("gpu_c", c_int32),
        ("memory_c", c_int32),
        ("sm_mhz", c_uint32),
        ("mem_mhz", c_uint32),
        ("gpu_percent", c_uint32),
        ("memory_percent", c_uint32),
        ("pstate", c_uint32),
        ("pcie_tx_kib_s", c_uint32),
        ("pcie_rx_kib_s", c_uint32),
        ("reserved", c_uint32),
    ]


class Process(Structure):
    """One compute process of a GPU, or of the GPU instance with that number."""

    _fields_: ClassVar = [
        ("memory_bytes", c_uint64),
        ("pid", c_uint32),
        ("sm_percent", c_uint32),
        ("gpu_instance", c_uint32),
        ("reserved", c_uint32),
    ]


class ProcessList(Structure):
    """The compute processes of a GPU, busiest first."""

    _fields_: ClassVar = [
        ("sample_ns", c_uint64),
        ("count", c_uint32),
        ("reserved", c_uint32),
        ("entries", Process * PROCESSES_MAX),
    ]


class Gpu(Structure):
    """Everything about one GPU; the ``*_seq`` fields are the sequence locks of what follows."""

    _fields_: ClassVar = [
        ("identity", Identity),
        ("setpoints", Setpoints),
        ("faults", Faults),
        ("health", Health),
        ("mig", Mig),
        ("telemetry_seq", c_uint32),
        ("processes_seq", c_uint32),
        ("telemetry", Telemetry),
        ("processes", ProcessList),
    ]


class Event(Structure):
    """One pushed event. ``ticket`` is written last: slot n of the ring holds ticket t when
    ``t - 1`` is congruent to n, so a reader can tell a finished slot from an older one."""

    _fields_: ClassVar = [
        ("ticket", c_uint64),
        ("kind", c_uint64),
        ("data", c_uint64),
        ("gpu", c_uint32),
        ("reserved", c_uint32),
    ]


class Forced(Structure):
    """A return code forced on a symbol or a class of calls, of one GPU or of all."""

    _fields_: ClassVar = [
        ("symbol", c_char * 64),
        ("call_class", c_uint32),
        ("gpu", c_uint32),
        ("code", c_uint32),
        ("reserved", c_uint32),
    ]


class Header(Structure):
    """What clients check before they trust the rest, and the knobs of the whole node."""

    _fields_: ClassVar = [
        ("magic", c_uint64),
        ("abi_version", c_uint32),
        ("size_bytes", c_uint32),
        ("heartbeat_ns", c_uint64),
        ("driver_instance", c_uint64),
        ("event_head", c_uint64),
        ("gpu_count", c_uint32),
        ("driver_loaded", c_uint32),
        ("event_futex", c_uint32),
        ("no_permission", c_uint32),
        ("inlet_mc", c_int32),
        ("cuda_version", c_int32),
        ("forced_count", c_uint32),
        ("reserved", c_uint32),
        ("node_name", c_char * 64),
        ("driver_version", c_char * 80),
        ("nvml_version", c_char * 80),
        ("forced", Forced * FORCED_MAX),
        ("events", Event * EVENTS_MAX),
    ]


class State(Structure):
    """The whole file."""

    _fields_: ClassVar = [("header", Header), ("gpus", Gpu * GPUS_MAX)]


# Innermost first: the order in which the C header must define them.
STRUCTS: tuple[type[Structure], ...] = (
    Identity,
    Setpoints,
    Faults,
    Health,
    MigInstance,
    Mig,
    Telemetry,
    Process,
    ProcessList,
    Gpu,
    Event,
    Forced,
    Header,
    State,
)


def enforced_limit_mw(gpu: Gpu) -> int:
    """The limit that binds: the lowest of the card's own maximum, the host's and the BMC's."""
    limit: int = min(gpu.identity.limit_max_mw, gpu.setpoints.limit_mw)
    oob: int = gpu.faults.oob_limit_mw
    return min(limit, oob) if oob else limit
