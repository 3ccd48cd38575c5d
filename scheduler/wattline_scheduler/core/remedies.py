"""What would have to change for a job to start now: asked of the planner, not guessed."""

from collections.abc import Callable, Iterator
from contextlib import suppress

import msgspec

from wattline_protocol.ids import NodeId, UserName
from wattline_protocol.job import WHOLE_GPU, JobSpec
from wattline_protocol.views import Remedy
from wattline_scheduler.core.asif import AsIf, TooManyLooks
from wattline_scheduler.core.control import name_of
from wattline_scheduler.core.devices import free_devices
from wattline_scheduler.core.jobs import Gang, Running, Starting
from wattline_scheduler.core.learning import shape_for
from wattline_scheduler.core.state import State
from wattline_scheduler.plan.asks import suits
from wattline_scheduler.plan.snapshot import Shape

MAX_TRIED = 64
"""Gangs of lower priority among which the fewest are looked for."""

MAX_NAMED = 5


def remedies(state: State, look: AsIf, owner: UserName, spec: JobSpec) -> tuple[Remedy, ...]:
    """Each of them alone would do. Those for which the site is too large are left out."""
    found: list[Remedy] = []
    with suppress(TooManyLooks):  # each is a hint; fewer of them are right too
        for remedy in _each(state, look, owner, spec):
            found.append(remedy)  # noqa: PERF402 - keeps those before the one that was too much
    return tuple(found)


def _each(state: State, look: AsIf, owner: UserName, spec: JobSpec) -> Iterator[Remedy]:
    shape = shape_for(state, owner, spec)
    if look.fits(shape):
        return
    yield from _preempt(state, look, shape)
    yield from _fewer_gpus(state, look, owner, spec)
    yield from _fewer_nodes(state, look, owner, spec)


def _fewer_gpus(state: State, look: AsIf, owner: UserName, spec: JobSpec) -> Iterator[Remedy]:
    wanted = spec.resources.gpus_per_node
    least = 1 if spec.resources.gpu_share_permille == WHOLE_GPU else wanted

    def fits(gpus: int) -> bool:
        return look.fits(_with(state, owner, spec, "gpus_per_node", gpus))

    most = _most(fits, least, wanted)
    if most is not None:
        gpus = f"{most} GPU{'' if most == 1 else 's'}"
        text = f"with {gpus} on each node instead of {wanted} it would start now"
        yield Remedy("gpus", text)


def _fewer_nodes(state: State, look: AsIf, owner: UserName, spec: JobSpec) -> Iterator[Remedy]:
    wanted = spec.resources.nodes
    most = _most(lambda n: look.fits(_with(state, owner, spec, "nodes", n)), 1, wanted)
    if most is not None:
        text = f"with {most} node{'' if most == 1 else 's'} instead of {wanted} it would start now"
        yield Remedy("nodes", text)


def _with(state: State, owner: UserName, spec: JobSpec, key: str, value: int) -> Shape:
    resources = msgspec.structs.replace(spec.resources, **{key: value})
    return shape_for(state, owner, msgspec.structs.replace(spec, resources=resources))


def _most(fits: Callable[[int], bool], least: int, wanted: int) -> int | None:
    """The largest number below `wanted` that fits, where a smaller one fits the better."""
    if least >= wanted or not fits(least):
        return None
    low, high = least, wanted
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


# --- preemption ---------------------------------------------------------------------------


def _preempt(state: State, look: AsIf, shape: Shape) -> Iterator[Remedy]:
    """The fewest gangs of lower priority whose going would be enough; none of them is spare."""
    lower = [g for g in state.work.gangs_in(Starting, Running) if _is_below(g, shape)]
    gangs = _likely_first(state, lower, shape)[:MAX_TRIED]
    if not gangs or not look.fits(shape, gangs, is_first=True):
        return
    enough = _prefix(lambda count: look.fits(shape, gangs[:count], is_first=True), len(gangs))
    needed = gangs[:enough]
    for gang in list(needed[:-1]):
        others = [one for one in needed if one is not gang]
        if look.fits(shape, others, is_first=True):
            needed = others
    yield Remedy("preempt", _made_way(needed))


def _is_below(gang: Gang, shape: Shape) -> bool:
    return gang.job.spec.priority < shape.priority


def _prefix(fits: Callable[[int], bool], count: int) -> int:
    """The shortest start of a list that is enough; all of it is."""
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


def _likely_first(state: State, gangs: list[Gang], shape: Shape) -> list[Gang]:
    """Those on the nodes on which the fewest would have to go; of a node the largest first."""
    on_node: dict[NodeId, list[Gang]] = {}
    for gang in sorted(gangs, key=lambda g: (-g.job.shape.gpus, g.job.spec.priority, g.key)):
        for attempt in gang.live:
            on_node.setdefault(attempt.node, []).append(gang)
    ranked = sorted((_needed_on(state, node, on_node[node], shape), node) for node in on_node)
    return list({g.key: g for _, node in ranked for g in on_node[node]}.values())


def _needed_on(state: State, name: NodeId, gangs: list[Gang], shape: Shape) -> int:
    """How many of them, in their order, free the GPUs that a task of the shape wants there."""
    node = state.nodes[name]
    if not shape.labels <= node.site.labels.items():
        return len(gangs) + MAX_TRIED
    managed = [gpu for gpu in node.gpus.values() if gpu.managed]
    free = sum(suits(device, shape) for device in free_devices(node, managed))
    for count, gang in enumerate(gangs):
        if free >= shape.gpus:
            return count
        free += gang.job.shape.gpus * (gang.job.shape.mig == shape.mig)
    return len(gangs) if free >= shape.gpus else len(gangs) + MAX_TRIED


def _made_way(gangs: list[Gang]) -> str:
    by_job: dict[int, list[Gang]] = {}
    for gang in sorted(gangs, key=lambda g: g.key):
        by_job.setdefault(gang.job.id, []).append(gang)
    jobs = [
        f"{name_of(some[0].job, some if len(some[0].job.gangs) > 1 else None)} "
        f"(priority {some[0].job.spec.priority})"
        for some in by_job.values()
    ]
    more = f" and {len(jobs) - MAX_NAMED} more" if len(jobs) > MAX_NAMED else ""
    who = ", ".join(jobs[:MAX_NAMED])
    return f"if {who}{more} of lower priority made way it would start now"
