"""Allocation of GPUs and parts of GPUs to attempts, and the groups of gangs that share GPUs.

A GPU is capped as a whole, so gangs that share one are evaluated together: it draws no less while
only one of them is frozen.
"""

from collections.abc import Collection, Iterable

from wattline_protocol.ids import GpuIndex
from wattline_protocol.job.spec import WHOLE_GPU
from wattline_scheduler.core.model.jobs.job import Attempt, Gang, Paused
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State
from wattline_scheduler.plan.model.shape import GangKey


def allocate(node: NodeNow, attempt: Attempt) -> None:
    """Allocates the GPUs of the attempt, or its part of them. Raises AssertionError if not free.

    They always are: placements are checked against the node's offer, which excludes a GPU whose
    devices, together with those allocated in an earlier MIG layout, exceed it (`devices.withheld`).
    """
    for gpu in attempt.record.gpus:
        if attempt.gpu_milli > node.free_milli(gpu):
            held = ", ".join(str(one.record.ref) for one in node.holders[gpu])
            raise AssertionError(
                f"GPU {gpu} of {node.id} is held by {held}, wanted for {attempt.record.ref}; "
                f"{attempt.gang.job.story()}"
            )
        node.holders[gpu] = (*node.holders.get(gpu, ()), attempt)


def release(node: NodeNow, attempt: Attempt) -> None:
    """Releases the GPUs of the attempt."""
    for gpu in attempt.record.gpus:
        left = tuple(one for one in node.holders[gpu] if one is not attempt)
        if left:
            node.holders[gpu] = left
        else:
            del node.holders[gpu]


def is_leaving(attempt: Attempt) -> bool:
    """Whether it will soon draw nothing: it is being paused or stopped."""
    phase = attempt.gang.phase
    if isinstance(phase, Paused):
        return not phase.is_resuming
    return attempt.gang.phase_name == "ending"


def is_freed(node: NodeNow, gpu: GpuIndex, gangs: Collection[GangKey] = ()) -> bool:
    """Whether the GPU will be idle once these gangs are paused, and leaving ones have left."""
    return all(is_leaving(one) or one.gang.key in gangs for one in node.holders.get(gpu, ()))


def tied(state: State, gangs: Iterable[Gang]) -> list[list[Gang]]:
    """Gangs in groups, in the order given: gangs that share GPUs are in one group."""
    group = {gang.key: [gang] for gang in gangs}
    for gang in [members[0] for members in group.values()]:
        if gang.job.shape.gpu_milli == WHOLE_GPU and not gang.job.shape.mig:
            continue
        for attempt in gang.live:
            holders = state.nodes[attempt.node].holders
            for other in (one for gpu in attempt.record.gpus for one in holders.get(gpu, ())):
                if other.gang.key in group and not is_leaving(other):
                    _join(group, gang.key, other.gang.key)
    return list({id(members): members for members in group.values()}.values())


def _join(group: dict[GangKey, list[Gang]], one: GangKey, other: GangKey) -> None:
    into, from_ = group[one], group[other]
    if into is from_:
        return
    into.extend(from_)
    for gang in from_:
        group[gang.key] = into
