"""Makes, opens and validates state files, and binds the C functions that write into them."""

import ctypes
import mmap
import os
import uuid
from pathlib import Path

from wattline_sim import state
from wattline_sim.physics import DEFAULT_INLET_C
from wattline_sim.profiles import SM_STEP_MHZ, GpuModel

STATE_NAME = "nvml.state"
DRIVER_VERSION = "580.00.00"
NVML_VERSION = f"13.{DRIVER_VERSION}"
CUDA_VERSION = 13000
_ID_SPACE = uuid.UUID("8c1f2f0e-6d0c-4a1e-9a1b-5b1a6c9d7e21")
_BRAND_NVIDIA = 14
_PCIE_LANES = 16


class StateFileError(RuntimeError):
    """The state file is missing, of another layout, or not ours."""


def new_state(model: GpuModel, gpus: int, seed: int, name: str) -> state.State:
    """A fresh state: every GPU healthy, idle and at its default limit."""
    if not 1 <= gpus <= state.GPUS_MAX:
        raise StateFileError(f"a simulated node has 1 to {state.GPUS_MAX} GPUs, not {gpus}")
    fresh = state.State()
    header = fresh.header
    header.magic, header.abi_version = state.MAGIC, state.ABI_VERSION
    header.size_bytes = ctypes.sizeof(state.State)
    header.gpu_count, header.driver_loaded, header.driver_instance = gpus, 1, 1
    header.inlet_mc = round(DEFAULT_INLET_C * 1000)
    header.cuda_version = CUDA_VERSION
    header.node_name = name.encode()
    header.driver_version = DRIVER_VERSION.encode()
    header.nvml_version = NVML_VERSION.encode()
    for index in range(gpus):
        _fill_gpu(fresh.gpus[index], model, index, f"{name}/{seed}/{index}")
    return fresh


def _fill_gpu(gpu: state.Gpu, model: GpuModel, index: int, key: str) -> None:
    unique = uuid.uuid5(_ID_SPACE, key)
    bus = 0x10 + 0x10 * index if index < 15 else 0x08
    card = gpu.identity
    card.name = model.display_name.encode()
    card.uuid = f"GPU-{unique}".encode()
    card.serial = f"SIM{unique.int % 10**10:010d}".encode()
    card.vbios = f"SIM.{model.architecture:02d}.00.00.01".encode()
    card.bus_id = f"00000000:{bus:02X}:00.0".encode()
    card.pci_bus, card.pci_device_id, card.pci_subsystem_id = bus, model.pci_device_id, 0x10DE
    card.pcie_generation, card.pcie_width = model.pcie_generation, _PCIE_LANES
    card.minor_number, card.architecture, card.brand = index, model.architecture, _BRAND_NVIDIA
    card.compute_major, card.compute_minor = model.compute_capability
    card.limit_min_mw = model.limit_min_w * 1000
    card.limit_default_mw = model.limit_default_w * 1000
    card.limit_max_mw = model.limit_max_w * 1000
    card.sm_min_mhz, card.sm_max_mhz = model.sm_min_mhz, model.sm_max_mhz
    card.sm_step_mhz, card.mem_max_mhz = SM_STEP_MHZ, model.mem_mhz
    card.shutdown_c, card.slowdown_c = model.shutdown_c, model.slowdown_c
    card.gpu_max_c, card.mem_max_c = model.gpu_max_c, model.mem_max_c
    card.has_memory_sensor, card.has_margin = model.has_memory_sensor, model.has_margin
    card.has_mig, card.usage_is_instant = model.has_mig, model.usage_is_instant
    card.memory_bytes, card.reserved_bytes = model.memory_bytes, model.reserved_bytes
    card.bar1_bytes = model.bar1_bytes
    gpu.setpoints.limit_mw = card.limit_default_mw
    now = gpu.telemetry
    now.power_instant_mw = now.power_average_mw = round(model.idle_w * 1000)
    now.gpu_c = now.memory_c = round(DEFAULT_INLET_C)
    now.sm_mhz, now.mem_mhz, now.reasons = model.sm_idle_mhz, model.mem_mhz, 1


def write_new(path: Path, fresh: state.State) -> None:
    """Put ``fresh`` at ``path`` as a new inode: mappings of an older file stay valid."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(bytes(fresh))
    temporary.replace(path)


def open_state(path: Path) -> state.State:
    """Map a state file for reading and writing; the mapping lives as long as the result.

    Raises StateFileError when there is none or when its layout is not this version's.
    """
    try:
        with path.open("r+b") as file:
            size = os.fstat(file.fileno()).st_size
            if size != ctypes.sizeof(state.State):
                raise StateFileError(f"{path} is not a state file of this version of wattline")
            mapped = state.State.from_buffer(mmap.mmap(file.fileno(), size))
    except FileNotFoundError:
        raise StateFileError(
            f"no simulated node at {path.parent}: {path.name} is missing"
        ) from None
    if mapped.header.magic != state.MAGIC or mapped.header.abi_version != state.ABI_VERSION:
        raise StateFileError(f"{path} is not a state file of this version of wattline")
    return mapped


class DriverWriter:
    """The writing half of the driver library: what needs memory ordering or futexes."""

    def __init__(self, library: Path) -> None:
        loaded = ctypes.CDLL(str(library))
        size, address, u32, u64 = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64
        self._publish = loaded.nvmlsim_publish
        self._publish.argtypes, self._publish.restype = (address, address, address, size), None
        self._push_event = loaded.nvmlsim_push_event
        self._push_event.argtypes, self._push_event.restype = (address, u32, u64, u64), None
        self._set_hang = loaded.nvmlsim_set_hang
        self._set_hang.argtypes, self._set_hang.restype = (address, u32), None

    def publish_telemetry(self, gpu: state.Gpu, sample: state.Telemetry) -> None:
        """Publish one sample to readers, all or nothing."""
        base = ctypes.addressof(gpu)
        self._publish(
            base + state.Gpu.telemetry_seq.offset,
            base + state.Gpu.telemetry.offset,
            ctypes.addressof(sample),
            ctypes.sizeof(sample),
        )

    def publish_processes(self, gpu: state.Gpu, processes: state.ProcessList) -> None:
        """Publish the process list to readers, all or nothing."""
        base = ctypes.addressof(gpu)
        self._publish(
            base + state.Gpu.processes_seq.offset,
            base + state.Gpu.processes.offset,
            ctypes.addressof(processes),
            ctypes.sizeof(processes),
        )

    def push_event(self, mapped: state.State, gpu: int, kind: int, data: int) -> None:
        """Append an event and wake every client that waits for one."""
        self._push_event(ctypes.addressof(mapped), gpu, kind, data)

    def set_hang(self, gpu: state.Gpu, *, hangs: bool) -> None:
        """Make calls on this GPU sleep, or release those that do."""
        self._set_hang(ctypes.addressof(gpu), int(hangs))
