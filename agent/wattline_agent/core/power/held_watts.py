"""Power held by the node (I2): every GPU's limit and use, combined with the site's figures."""

from collections import Counter
from collections.abc import Collection

from msgspec.structs import replace

from wattline_agent.core.model import NodeState
from wattline_agent.core.power import capper
from wattline_agent.core.power.capper import GpuHold, Plan, Use
from wattline_agent.core.power.gpus import Gpu
from wattline_agent.core.tasks.attempt import Attempt
from wattline_protocol.ids import GpuIndex
from wattline_protocol.job.spec import WHOLE_GPU


def gpus_of(state: NodeState, attempt: Attempt) -> list[Gpu]:
    """GPUs allocated to it. One that fell off the bus is not listed by a driver that is loaded
    again, nor to an agent that is started again; what was allocated it may live on."""
    return [state.gpus[index] for index in attempt.gpus if index < len(state.gpus)]


def users(state: NodeState, index: GpuIndex) -> list[Attempt]:
    """Attempts allocated this GPU, or a share of it."""
    return [a for a in state.attempts.values() if a.holds_gpus and index in a.gpus]


def free_permille(state: NodeState, index: GpuIndex) -> int:
    """Unallocated share of this GPU."""
    return WHOLE_GPU - sum(attempt.share_permille for attempt in users(state, index))


def shared(state: NodeState) -> frozenset[GpuIndex]:
    """GPUs of which more than one living attempt has a share."""
    alive = (attempt for attempt in state.attempts.values() if attempt.is_alive)
    held = Counter(gpu.index for attempt in alive for gpu in gpus_of(state, attempt))
    return frozenset(index for index, attempts in held.items() if attempts > 1)


def has_load(state: NodeState, index: GpuIndex) -> bool:
    """A living task, or its remaining processes, may draw more than idle watts on this GPU."""
    return any(attempt.loads_gpus for attempt in users(state, index))


def has_load_of_others(state: NodeState, index: GpuIndex, attempt: Attempt) -> bool:
    """Something other than `attempt` may draw more than idle watts on this GPU."""
    return any(one.loads_gpus for one in users(state, index) if one is not attempt)


def loaded(state: NodeState) -> set[GpuIndex]:
    """All GPUs with `has_load`, in one walk over the attempts."""
    return {index for a in state.attempts.values() if a.loads_gpus for index in a.gpus}


def uses(state: NodeState, *, planned: bool = True, presume: bool = False) -> list[Use]:
    """Use of each GPU under I2, by index.

    `planned`: includes the tasks that are about to start or resume. `presume`: at a restart, trust
    the lease on file about idleness. A load that is to have no power (being paused, or processes
    left by an ended task) makes a GPU settle, not idle.
    """
    by_load: dict[GpuIndex, Use] = {}
    for attempt in state.attempts.values():
        if attempt.loads_gpus or (planned and attempt.will_load_gpus):
            use: Use = "task" if attempt.wants_power else "settling"
            for index in attempt.gpus:
                if by_load.get(index) != "task":
                    by_load[index] = use
    return [by_load.get(gpu.index) or _without_load(gpu, presume) for gpu in state.gpus]


def _without_load(gpu: Gpu, presume: bool) -> Use:
    if gpu.foreign:
        return "settling"
    return "idle" if gpu.is_idle or (presume and gpu.is_presumed_idle) else "settling"


def holds(state: NodeState, *, planned: bool = True, presume: bool = False) -> list[GpuHold]:
    """All GPUs in the terms of I2, by index."""
    return [
        GpuHold(
            index=gpu.info.index,
            cap_min_mw=gpu.info.cap_min_mw,
            cap_max_mw=gpu.info.cap_max_mw,
            overshoot_permille=state.overshoot_permille(gpu),
            idle_mw=gpu.idle_bound_mw,
            can_cap=gpu.can_hold and not gpu.is_lost,
            use=use,
            limit_mw=gpu.limit_mw,
            may_idle=gpu.may_idle,
        )
        for gpu, use in zip(state.gpus, uses(state, planned=planned, presume=presume), strict=True)
    ]


def holding_mw(state: NodeState, *, planned: bool = True, presume: bool = False) -> int:
    """Wall watts that the limits in force guarantee. Terms must be known."""
    assert state.terms is not None, "nothing is held before the first Welcome"  # noqa: S101 - I2
    return capper.holding_mw(state.terms, holds(state, planned=planned, presume=presume))


def plan_for(state: NodeState, lease_mw: int, wanted_mw: tuple[int, ...]) -> Plan:
    """Caps that fit this lease now."""
    assert state.terms is not None, "no lease comes before the first Welcome"  # noqa: S101 - I2
    presume = state.session.member is None or state.session.member.adopted is None
    return capper.plan(state.terms, holds(state, presume=presume), lease_mw, wanted_mw)


def floor_with_mw(state: NodeState, more: Collection[GpuIndex]) -> int:
    """Lowest wall watts the node can be capped to while its tasks and these GPUs are in use."""
    assert state.terms is not None, "no task comes before the first Welcome"  # noqa: S101 - I2
    taken = [replace(h, use="task") if h.index in more else h for h in holds(state)]
    return capper.lowest_mw(state.terms, taken)


def lowest_mw(state: NodeState, *, hopeful: bool = False) -> int:
    """Lowest wall watts the node can be capped to now.

    `hopeful`: once GPUs without load have settled at idle draw.
    """
    assert state.terms is not None, "no lease comes before the first Welcome"  # noqa: S101 - I2
    now = holds(state)
    if hopeful:
        busy = loaded(state)
        now = [h if h.index in busy else replace(h, use="idle") for h in now]
    return capper.lowest_mw(state.terms, now)


def covered_mw(state: NodeState) -> int:
    """Watts available for starts: the smaller of the lease in force and a pending one."""
    in_force_mw = state.lease.lease_mw if state.lease is not None else 0
    if state.pending is not None:
        return min(in_force_mw, state.pending.lease.lease_mw)
    return in_force_mw
