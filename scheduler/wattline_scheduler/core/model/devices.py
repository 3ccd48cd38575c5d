"""Devices of a node's GPUs in the planner's form: free ones, and those allocated to an attempt."""

from collections.abc import Iterable

from wattline_protocol.ids import GpuIndex
from wattline_protocol.job.spec import WHOLE_GPU
from wattline_protocol.text.wording import named
from wattline_protocol.wire.agent_messages import GpuInfo
from wattline_scheduler.core.model.foreign_processes import in_use
from wattline_scheduler.core.model.jobs.job import Attempt
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.plan.model.device_classes import devices
from wattline_scheduler.power.sensing.thermal import coolest_first


def free_devices(node: NodeNow, usable: Iterable[GpuInfo]) -> tuple[GpuInfo, ...]:
    """Devices not allocated to an attempt: on GPUs in use first, then on the coolest."""
    ready = (g for g in usable if g.mig is not None or g.index not in node.holders)
    cool = coolest_first(node.warmth, ready)
    if all(gpu.mig is None for gpu in cool):
        return cool
    in_use_first = sorted(cool, key=lambda gpu: gpu.index not in node.holders)
    return tuple(device for gpu in in_use_first for device in _left_of(node, gpu))


def withheld(node: NodeNow) -> dict[GpuIndex, str]:
    """GPUs withheld from placement because of their MIG layout or of foreign processes, each with
    the reason as text.

    A driver lets operators repartition a GPU under a task that has not touched its device. Its new
    devices and the ones still allocated could then exceed the GPU.
    """
    if not (node.foreign or _has_mig(node)):
        return {}
    found = ((gpu.index, _why_withheld(node, gpu)) for gpu in node.gpus.values())
    return {index: why for index, why in found if why}


def cordoned(node: NodeNow) -> frozenset[GpuIndex]:
    """GPUs that an operator has withheld from placement; tasks on them continue."""
    return frozenset(one.index for one in node.record.cordons if not one.is_absent)


def why_not_offered(node: NodeNow) -> tuple[str, ...]:
    """GPUs that are in use by others or cordoned, as text, by index."""
    why = dict.fromkeys(cordoned(node), "is cordoned")
    why |= {index: in_use(node, index) for index in node.foreign}
    return tuple(f"GPU {index} {why[index]}" for index in sorted(why))


def _has_mig(node: NodeNow) -> bool:
    """Whether a GPU is in MIG mode, or was when a task was placed on it."""
    return any(gpu.mig is not None for gpu in node.gpus.values()) or any(
        one.record.mig is not None for one in node.attempts.values()
    )


def _why_withheld(node: NodeNow, gpu: GpuInfo) -> str:
    if gpu.index in node.foreign:
        return in_use(node, gpu.index)
    holders = node.holders.get(gpu.index, ())
    if gpu.mig is None and (not holders or all(one.record.mig is None for one in holders)):
        return ""
    mig = gpu.mig or ()
    if sum(one.share_permille for one in mig) > WHOLE_GPU:
        return "has more MIG devices than it can hold, by its driver: it is not allocated"
    if len({one.uuid for one in mig}) < len(mig):
        return "has two MIG devices with one UUID, by its driver: it is not allocated"
    jobs = [one.gang.job.id for one in holders if _is_of_before(gpu, one)]
    if not jobs:
        return ""
    ended = "that has ended" if len(set(jobs)) == 1 else "they have ended"
    under = named("job", tuple(dict.fromkeys(jobs)))
    return f"was repartitioned under {under}: it is not allocated until {ended}"


def _is_of_before(gpu: GpuInfo, holder: Attempt) -> bool:
    mig = holder.record.mig
    return gpu.mig is not None if mig is None else mig not in (gpu.mig or ())


def _left_of(node: NodeNow, gpu: GpuInfo) -> Iterable[GpuInfo]:
    holders = node.holders.get(gpu.index, ())
    held = {one.record.mig.uuid for one in holders if one.record.mig is not None}
    return (device for device in devices(gpu) if device.uuid not in held)


def returned_devices(node: NodeNow, attempt: Attempt) -> tuple[GpuIndex, ...]:
    """Devices allocated to the attempt that are offered again after its end: the node still has
    them, and their GPUs are not cordoned."""
    withheld_now = cordoned(node)
    kept = [i for i in attempt.record.gpus if i in node.gpus and i not in withheld_now]
    if attempt.record.mig is None:
        return tuple(kept)
    return tuple([one.index for one in held_infos(node, attempt)]) if kept else ()


def held_infos(node: NodeNow, attempt: Attempt) -> tuple[GpuInfo, ...]:
    """Devices allocated to the attempt, as far as the node still has them."""
    known = [node.gpus[index] for index in attempt.record.gpus if index in node.gpus]
    mig = attempt.record.mig
    if mig is None:
        return tuple(known)
    return tuple(one for gpu in known for one in devices(gpu) if one.uuid == mig.uuid)
