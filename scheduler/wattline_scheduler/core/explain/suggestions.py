"""Changes that would let a job start now, each verified by a placement trial."""

import math
from collections.abc import Callable
from contextlib import suppress

import msgspec

from wattline_protocol.ids import UserName
from wattline_protocol.job.spec import WHOLE_GPU, JobSpec
from wattline_protocol.text.quantities import format_duration
from wattline_protocol.text.wording import counted, listed
from wattline_protocol.views.site_views import Remedy
from wattline_scheduler.core.admission.learned_demand import shape_for
from wattline_scheduler.core.explain.hypothetical import Case, TrialBudgetExceeded
from wattline_scheduler.core.model.jobs.job import Ending, Gang
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.cancel_requeue import name_of
from wattline_scheduler.plan.model.reserved_nodes import MARGIN_S, Stay
from wattline_scheduler.plan.model.shape import Shape
from wattline_scheduler.time_slices import Parts

MAX_BEGINNINGS = 8
"""Maximum number of reservation starts tried as the end of the job."""


def remedies(state: State, case: Case, owner: UserName, spec: JobSpec) -> Parts[tuple[Remedy, ...]]:
    """Remedies, each sufficient alone. Those beyond the trial budget are omitted."""
    found = list[Remedy | None]()
    with suppress(TrialBudgetExceeded):  # each is a hint; a subset of them is valid too
        shape = shape_for(state, owner, spec)
        if not (yield from case.fits(shape)):
            found.append((yield from _by_preemption(state, case, shape)))
            found.append((yield from _fewer_gpus(state, case, owner, spec)))
            found.append((yield from _fewer_nodes(state, case, owner, spec)))
            found.append((yield from _shorter(case, shape, spec)))
    return tuple(remedy for remedy in found if remedy is not None)


def _by_preemption(state: State, case: Case, shape: Shape) -> Parts[Remedy | None]:
    chosen = yield from case.to_preempt(shape)
    gangs = [gang for gang in chosen if not isinstance(state.work.phase_of(gang), Ending)]
    return Remedy("preempt", _preempted_text(gangs)) if gangs else None


def _fewer_gpus(state: State, case: Case, owner: UserName, spec: JobSpec) -> Parts[Remedy | None]:
    wanted = spec.resources.gpus_per_node
    least = 1 if spec.resources.gpu_share_permille == WHOLE_GPU else wanted

    def fits(gpus: int) -> Parts[bool]:
        return case.fits(_with(state, owner, spec, "gpus_per_node", gpus))

    most = yield from _most(fits, least, wanted)
    if most is None:
        return None
    return Remedy(
        "gpus", f"with {counted(most, 'GPU')} per node instead of {wanted} it would start now"
    )


def _fewer_nodes(state: State, case: Case, owner: UserName, spec: JobSpec) -> Parts[Remedy | None]:
    wanted = spec.resources.least_nodes
    most = yield from _most(lambda n: case.fits(_with(state, owner, spec, "nodes", n)), 1, wanted)
    if most is None:
        return None
    return Remedy("nodes", f"with {counted(most, 'node')} instead of {wanted} it would start now")


def _shorter(case: Case, shape: Shape, spec: JobSpec) -> Parts[Remedy | None]:
    """A shorter run time limit, with which it ends before a reservation begins."""
    if case.reservations is None or spec.reservation or spec.kind == "service":
        return None
    for begins_s in case.reservations.begins_s()[:MAX_BEGINNINGS]:
        runtime_s = math.floor(begins_s - MARGIN_S - spec.recovery.grace_s)
        if case.stay.needs_s <= begins_s or runtime_s <= 0:
            continue
        shorter = Stay(runs_s=runtime_s + spec.recovery.grace_s, data=case.stay.data)
        if (yield from case.fits(shape, stay=shorter)):
            limit = f"with a run time limit of {format_duration(float(runtime_s))} (--time)"
            return Remedy("time", f"{limit} it would start now, before its nodes are reserved")
    return None


def _with(state: State, owner: UserName, spec: JobSpec, key: str, value: int) -> Shape:
    resources = msgspec.structs.replace(spec.resources, **{key: value})
    return shape_for(state, owner, msgspec.structs.replace(spec, resources=resources))


def _most(fits: Callable[[int], Parts[bool]], least: int, wanted: int) -> Parts[int | None]:
    """The largest number below `wanted` that fits; fitting is monotonic."""
    if least >= wanted or not (yield from fits(least)):
        return None
    low, high = least, wanted
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if (yield from fits(middle)) else (low, middle)
    return low


def _preempted_text(gangs: list[Gang]) -> str:
    by_job: dict[int, list[Gang]] = {}
    for gang in sorted(gangs, key=lambda g: g.key):
        by_job.setdefault(gang.job.id, []).append(gang)
    jobs = [
        f"{name_of(some[0].job, some if len(some[0].job.gangs) > 1 else None)} "
        f"(priority {some[0].job.spec.priority})"
        for some in by_job.values()
    ]
    return f"if {listed(jobs)} of lower priority were preempted it would start now"
