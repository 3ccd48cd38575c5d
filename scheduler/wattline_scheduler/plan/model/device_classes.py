"""Allocatable devices of a GPU: the GPU itself, or in MIG mode each of its MIG devices.

To the planner a MIG device is a GPU of its own kind, allocated or free as a whole, so that filters,
rank, promises and preemption need not handle MIG. Two things link the devices of a GPU: its index,
from which theirs are derived, and its watts, which count once for all of them (`trial`).
"""

from functools import lru_cache

import msgspec

from wattline_protocol.ids import GpuIndex
from wattline_protocol.job.spec import WHOLE_GPU, Share
from wattline_protocol.wire.agent_messages import GpuInfo
from wattline_protocol.wire.bounds import MAX_GPUS
from wattline_protocol.wire.mig import MigInstance

MAX_DIVIDED = 4_096
"""Divided GPUs whose devices are kept."""


class MigDevice(GpuInfo, frozen=True):
    """One MIG device; watts and limits are those of its GPU."""

    index: GpuIndex = msgspec.field()
    """Derived from the GPU's own; above the bound of that."""
    profile: str = ""
    share_permille: Share = WHOLE_GPU
    """Its fraction of the GPU's compute slices."""


def devices(gpu: GpuInfo) -> tuple[GpuInfo, ...]:
    """The allocatable devices of the GPU, free or not."""
    return (gpu,) if gpu.mig is None else _devices(gpu, gpu.mig)


@lru_cache(maxsize=MAX_DIVIDED)
def _devices(gpu: GpuInfo, mig: tuple[MigInstance, ...]) -> tuple[GpuInfo, ...]:
    return tuple(_device(gpu, number, one) for number, one in enumerate(mig))


def _device(gpu: GpuInfo, number: int, one: MigInstance) -> MigDevice:
    own = {
        "index": GpuIndex(gpu.index + MAX_GPUS * (number + 1)),
        "uuid": one.uuid,
        "name": f"{gpu.name} MIG {one.profile}",
        "memory_bytes": one.memory_bytes,
        "can_share": False,
        "mig": None,
    }
    whole = {**msgspec.structs.asdict(gpu), **own}
    return MigDevice(**whole, profile=one.profile, share_permille=one.share_permille)


def gpu_of(index: int) -> GpuIndex:
    """The GPU of a device."""
    return GpuIndex(index % MAX_GPUS)


def instance_of(gpu: GpuInfo, index: int) -> MigInstance | None:
    """The MIG device of the GPU with this index; None = the GPU itself."""
    number = index // MAX_GPUS - 1
    return gpu.mig[number] if gpu.mig is not None and number >= 0 else None


def profile_of(gpu: GpuInfo) -> str:
    """The profile of a MIG device; empty for a GPU."""
    return gpu.profile if isinstance(gpu, MigDevice) else ""


def size_milli(gpu: GpuInfo) -> int:
    """Thousandths of a GPU that it counts as: for a MIG device, its compute slices."""
    return gpu.share_permille if isinstance(gpu, MigDevice) else WHOLE_GPU
