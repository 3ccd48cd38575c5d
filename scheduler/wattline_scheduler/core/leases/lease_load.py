"""Loads of nodes for the power engine: minimum draw, and demand of the work on them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from wattline_protocol.ids import GpuIndex, NodeId, Now
from wattline_protocol.job.spec import PRIORITIES
from wattline_protocol.site.wall_power import cap_within_mw, wall_mw
from wattline_protocol.wire.agent_messages import GpuInfo
from wattline_scheduler.core.model.jobs.job import Attempt, Gang, Paused, Starting
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State
from wattline_scheduler.power.books.watt_admission import Booking
from wattline_scheduler.power.demand.energy_goal import is_measuring
from wattline_scheduler.power.demand.node_load import (
    GpuLoad,
    NodeLoad,
    busy_gpu,
    classify,
    gpu_admission_mw,
    gpu_floor_mw,
    least_mw,
    most_demanding,
)
from wattline_scheduler.power.demand.useful_cap import with_known

NO_TASK = -1
"""Priority of GPUs that draw without a task: served last."""

PROTECTED_PRIORITY = PRIORITIES["high"]
"""Minimum priority of protected work: a lull frees no watts, as the work would be slow after it."""


def demand_of(
    state: State, node: NodeNow, gpu: GpuInfo, holders: Sequence[Attempt], now: Now
) -> int:
    """Uncapped demand of a GPU for the tasks it is allocated to, GPU milliwatts."""
    hint_mw, is_protected = _declared(holders[0])
    for other in holders[1:]:
        other_mw, is_also = _declared(other)
        hint_mw = max(hint_mw, other_mw) if hint_mw and other_mw else 0
        is_protected = is_protected or is_also
    return state.demand.of(node.id, gpu, hint_mw, now.mono_s, is_protected=is_protected)


def _declared(attempt: Attempt) -> tuple[int, bool]:
    """The draw its user declares (0 = unknown), and whether the work is protected."""
    job = attempt.gang.job
    need = job.shape.need
    is_protected = job.spec.priority >= PROTECTED_PRIORITY or need.min_performance_permille > 0
    is_protected = is_protected or attempt.gang.wanted_cap_mw > 0
    return need.watts_hint_mw, is_protected


def load_of(state: State, node: NodeNow, now: Now, *, also: Gang | None = None) -> NodeLoad:
    """Load of the node with everything placed on it; `also` counts a paused gang too."""
    base_mw = node.non_gpu_worst_mw
    busy: list[GpuLoad] = []
    for gpu in node.gpus.values():
        holders = node.holders.get(gpu.index, ())
        counting = [one for one in holders if one.gang is also or counts(one)]
        kind = classify(gpu, has_task=bool(counting), is_idle=gpu.index in node.idle)
        if kind == "task":
            busy.append(_held(state, node, gpu, counting, now))
        elif kind == "idle":
            base_mw += gpu.idle_mw
        else:
            busy.append(_fixed(gpu, least_mw(gpu, kind)))
    is_low = now.mono_s < node.lowest_until
    return NodeLoad(
        node=node.id,
        base_mw=base_mw,
        psu_efficiency_permille=node.site.psu_efficiency_permille,
        gpus=tuple(busy),
        lowest_mw=node.lowest_mw if is_low else 0,
    )


def _held(
    state: State, node: NodeNow, gpu: GpuInfo, holders: Sequence[Attempt], now: Now
) -> GpuLoad:
    demand_mw = demand_of(state, node, gpu, holders, now)
    learned = state.demand.learned_of(node.id, gpu.index)
    steepness = learned.steepness_permille / 1000 if learned is not None else 1.0
    is_bound = state.demand.is_bound(node.id, gpu.index, now.mono_s)
    host_mw = node.non_gpu_worst_mw // len(node.gpus)
    load = most_demanding(
        [
            busy_gpu(
                gpu,
                demand_mw,
                attempt.gang.job.spec.priority,
                attempt.gang.job.shape.need,
                steepness,
                is_bound=is_bound,
                wanted_cap_mw=attempt.gang.wanted_cap_mw,
                host_mw=host_mw if saves_energy(attempt) else None,
            )
            for attempt in holders
        ]
    )
    weight = _weight(holders, node.id, gpu.index)
    return load if weight is None else replace(load, weight_permille=weight)


def _weight(holders: Sequence[Attempt], node: NodeId, index: GpuIndex) -> int | None:
    """Its weight inside a gang whose watts were moved; None = its share is even."""
    watch = holders[0].gang.ranks
    if watch is None or len(holders) > 1:
        return None
    return watch.weight_of(holders[0].record.attempt, (node, index))


def saves_energy(attempt: Attempt) -> bool:
    """Whether its GPUs get no more than the cap of the least energy per result."""
    is_efficient = attempt.gang.job.spec.power.goal == "efficiency"
    return is_efficient and not is_measuring(attempt.usage.run_s)


def load_now(state: State, node: NodeNow, now: Now) -> NodeLoad:
    """As `load_of`, cached until something about the node changes."""
    outdate_moved(state)
    load = node.load
    if load is None or (load.lowest_mw and now.mono_s >= node.lowest_until):
        load = node.load = load_of(state, node, now)
    return load


def update_load(state: State, node: NodeNow, now: Now) -> None:
    """Updates the allocator's load of the node after a heartbeat, ready for the next division."""
    if node.load is None and node.id in state.fleet.loads:
        state.fleet.put(load_now(state, node, now))


def outdate_moved(state: State) -> None:
    """Invalidates the loads of nodes with gangs that were paused, resumed or ended."""
    for node in state.work.take_moved():
        state.nodes[node].load = None


def _fixed(gpu: GpuInfo, mw: int) -> GpuLoad:
    """A busy GPU without a task: at its floor, or at its maximum if it cannot be capped."""
    return GpuLoad(gpu.index, mw, mw, mw, mw, mw, NO_TASK)


def counts(attempt: Attempt, only: Gang | None = None) -> bool:
    """Whether it draws power or waits for watts; with `only`, no other waiting gang counts."""
    phase = attempt.gang.phase
    if isinstance(phase, Paused) and not phase.is_resuming:
        return False
    is_to_come = isinstance(phase, Paused) or (isinstance(phase, Starting) and not phase.is_ordered)
    return not is_to_come or only is None or attempt.gang is only


def floor_of(node: NodeNow, *, only: Gang | None = None) -> int:
    """Minimum lease of the node with everything placed on it, at the wall.

    With `only`, no other gang that has yet to start or resume is counted: the watts that must be in
    force before its tasks are ordered. As `load_of`, without its demand.
    """
    load_mw = node.non_gpu_worst_mw
    for gpu in node.gpus.values():
        is_idle = gpu.index in node.idle  # otherwise it counts the same with a task and without
        has_task = is_idle and any(counts(one, only) for one in node.holders.get(gpu.index, ()))
        load_mw += least_mw(gpu, classify(gpu, has_task=has_task, is_idle=is_idle))
    return wall_mw(load_mw, node.site.psu_efficiency_permille)


def booking_of(state: State, node: NodeNow) -> Booking:
    """Booked power of the node with the work placed on it, paused work included."""
    base_mw = node.non_gpu_worst_mw
    held: list[tuple[GpuIndex, int]] = []
    yields: dict[int, int] = {}
    for gpu in node.gpus.values():
        holders = node.holders.get(gpu.index, ())
        kind = classify(gpu, has_task=bool(holders), is_idle=gpu.index not in node.foreign)
        if kind == "task":
            admission_mw = booked_mw(state, node, gpu)
            held.append((gpu.index, admission_mw))
            priority = max([one.gang.job.spec.priority for one in holders])
            yields[priority] = yields.get(priority, 0) + admission_mw - gpu.idle_mw
        else:
            base_mw += least_mw(gpu, kind)
    return Booking(
        node=node.id,
        base_mw=base_mw,
        busy_mw=sum(mw for _, mw in held),
        psu_efficiency_permille=node.site.psu_efficiency_permille,
        is_controlled=is_leased(state, node),
        yields=tuple(sorted(yields.items())),
        held=tuple(held),
    )


def idle_mw(node: NodeNow) -> int:
    """Wall milliwatts of the node if all its work were paused."""
    load_mw = node.non_gpu_worst_mw
    for gpu in node.gpus.values():
        could_idle = gpu.index in node.holders and gpu.index not in node.foreign
        is_idle = could_idle or gpu.index in node.idle
        load_mw += least_mw(gpu, classify(gpu, has_task=False, is_idle=is_idle))
    return wall_mw(load_mw, node.site.psu_efficiency_permille)


def booked_mw(state: State, node: NodeNow, gpu: GpuInfo) -> int:
    """Booked power of a GPU with tasks: the maximum over their needs."""
    learned = state.demand.learned_of(node.id, gpu.index)
    known_mw = learned.draw.top_mw if learned is not None and learned.draw.is_known else 0
    needs = [attempt.gang.job.shape.need for attempt in node.holders[gpu.index]]
    return max([gpu_admission_mw(gpu, with_known(need, known_mw)) for need in needs])


def is_leased(state: State, node: NodeNow) -> bool:
    """Whether the node is reachable, follows leases, and has reported its idle GPUs."""
    is_known = node.is_reachable and node.beat is not None
    return is_known and state.books.entry(node.id).standing == "leased"


def caps_for(node: NodeNow, share_mw: Mapping[GpuIndex, int]) -> tuple[int, ...]:
    """Cap of every GPU by index, for these shares of the busy GPUs (GPU milliwatts).

    Free GPUs get their minimum cap: a process that starts there without placement draws little.
    """
    caps = []
    for gpu in sorted(node.gpus.values(), key=lambda gpu: gpu.index):
        bound_mw = share_mw.get(gpu.index) or gpu_floor_mw(gpu)
        cap_mw = cap_within_mw(bound_mw, gpu.overshoot_permille)
        caps.append(min(max(cap_mw, gpu.cap_min_mw), gpu.cap_max_mw))
    return tuple(caps)


def is_covered(state: State, node: NodeNow, gang: Gang) -> bool:
    """Whether every lease that may be in force on the node covers it with the gang at its floor."""
    entry = state.books.entry(node.id)
    if entry.standing != "leased":
        return False
    least_mw = min((entry.acked_mw, *(sent.lease_mw for sent in entry.sent)))
    return least_mw >= floor_of(node, only=gang)
