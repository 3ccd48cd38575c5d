"""Rules of MIG devices, each removed: nothing but a GPU in MIG mode shows the harm."""

from collections.abc import Iterable

from msgspec.structs import replace

from wattline_agent.core.model import NodeState
from wattline_agent.core.power import held_watts
from wattline_agent.core.power.capper import GpuHold
from wattline_agent.core.power.gpus import Gpu
from wattline_agent.core.tasks import start_checks
from wattline_protocol.job.spec import WHOLE_GPU
from wattline_protocol.wire.agent_messages import GpuInfo
from wattline_scheduler.core import invariants
from wattline_scheduler.core.admission import planner_view
from wattline_scheduler.core.lifecycle import starting
from wattline_scheduler.core.model import devices
from wattline_scheduler.core.model.jobs.job import Attempt as Try
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.plan.model import task_request
from wattline_scheduler.plan.model.device_classes import devices as devices_of
from wattline_scheduler.plan.model.device_classes import profile_of
from wattline_scheduler.plan.model.shape import Shape
from wattline_scheduler.plan.search import quota_headroom as planned
from wattline_sim.fleet.mutants.mutant import Mutant, Swap
from wattline_sim.fleet.mutants.quotas import SOURCE, UNWATCHED

UNSEEN: Swap = (
    invariants,
    "CHECKS",
    tuple(check for check in invariants.CHECKS if check is not invariants._gpus),
)
"""The scheduler's own check of who has which GPU, removed."""


def _all_of(node: NodeNow, gpu: GpuInfo) -> Iterable[GpuInfo]:
    del node
    return devices_of(gpu)


def _hold_unseen(node: NodeNow, attempt: Try) -> None:
    """Whatever others have."""
    for gpu in attempt.record.gpus:
        node.holders[gpu] = (*node.holders.get(gpu, ()), attempt)


def _any_device(gpu: GpuInfo, shape: Shape) -> bool:
    is_called = not shape.gpu_type or task_request.is_called(gpu, shape.gpu_type)
    return bool(profile_of(gpu)) == bool(shape.mig) and is_called


def _itself(gpu: GpuInfo) -> tuple[GpuInfo, ...]:
    return (gpu,)


def _always_fit(state: NodeState, gpu: Gpu, uuid: str) -> str:
    del state, gpu, uuid
    return ""


def _by_slices(state: NodeState, *, planned: bool = True, presume: bool = False) -> list[GpuHold]:
    """Of a GPU in MIG mode what its devices in use are of it."""
    found = []
    for allocate in _holds(state, planned=planned, presume=presume):
        used = [one.share_permille for one in held_watts.users(state, allocate.index) if one.mig]
        part = allocate.overshoot_permille * sum(used) // WHOLE_GPU
        found.append(replace(allocate, overshoot_permille=part) if used else allocate)
    return found


_holds = held_watts.holds


def _nothing(gpu: GpuInfo) -> int:
    del gpu
    return 0


MUTANTS = (
    Mutant(
        "device-allocated-twice",
        "a MIG device is allocated to one attempt only",
        (UNSEEN, (devices, "_left_of", _all_of), (starting, "allocate", _hold_unseen)),
        SOURCE,
    ),
    Mutant(
        "whole-though-divided",
        "a GPU in MIG mode is allocated neither whole nor in shares",
        (
            (planner_view, "devices", _itself),
            (devices, "devices", _itself),
            (start_checks, "_unfit_mig", _always_fit),
        ),
        SOURCE,
        covered_by="an agent starts nothing on a GPU in MIG mode but on its devices",
    ),
    Mutant(
        "any-profile",
        "a MIG device is allocated only to tasks that request its profile",
        ((task_request, "is_of_type", _any_device),),
        SOURCE,
    ),
    Mutant(
        "watts-by-slices",
        "a GPU in MIG mode counts in full while any of its devices is in use",
        ((held_watts, "holds", _by_slices),),
        "I2",
    ),
    Mutant(
        "slices-uncounted",
        "a MIG device counts in quotas by its compute slices",
        (UNWATCHED, (planned, "size_milli", _nothing)),
        SOURCE,
    ),
)
