"""Where floors do not fit a budget: which gangs are frozen, and when they go on (I4).

Lowest priority first, whole gangs, as few as possible. What is already on its way down (gangs being
paused or stopped, GPUs that are not idle yet) is counted before another gang is chosen.
"""

from collections.abc import Mapping

from wattline_protocol.ids import DomainId, GpuIndex, Now
from wattline_protocol.wall import wall_mw
from wattline_scheduler.core import commands
from wattline_scheduler.core.ending import end_gang
from wattline_scheduler.core.job_state import save_gang
from wattline_scheduler.core.jobs import Attempt, Gang, Paused, Running, Starting
from wattline_scheduler.core.learning import rest
from wattline_scheduler.core.leasing import free_for, loads
from wattline_scheduler.core.nodes import NodeNow
from wattline_scheduler.core.state import State
from wattline_scheduler.power.loads import gpu_floor_mw

SHORT_PATIENCE_S = 3.0
"""A shortfall that no lowered budget caused may resolve itself: a node is being read back."""

MIN_PAUSE_S = 3.0
"""A paused gang is left alone for so long, so that nothing flutters."""

RESUME_MARGIN_PERMILLE = 20
"""Share of a budget that must stay free when a gang is resumed."""

Relief = dict[DomainId, int]


def pause_where_short(state: State, short_mw: Mapping[DomainId, int], now: Now) -> None:
    """Pause gangs until the floors that remain fit."""
    state.short_mw = dict(short_mw)
    state.short_since = {d: state.short_since.get(d, now.mono_s) for d in sorted(short_mw)}
    left = {d: mw for d, mw in short_mw.items() if _is_due(state, d, now)}
    if not left:
        return
    for domain, mw in _on_its_way(state).items():
        if domain in left:
            left[domain] -= mw
    for gang in choose(state, left):
        _pause(state, gang, now)


def _is_due(state: State, domain: DomainId, now: Now) -> bool:
    over = state.overruns.get(domain)
    if (over is not None and over.is_shed) or state.domains.is_falling(domain):
        return True
    return now.mono_s - state.short_since[domain] >= SHORT_PATIENCE_S


def _on_its_way(state: State) -> Relief:
    """Watts of GPUs that will be idle soon, per domain."""
    relief: Relief = {}
    for node in state.nodes.values():
        soon_mw = sum(
            gpu_floor_mw(gpu) - gpu.idle_mw
            for gpu in node.gpus.values()
            if gpu.managed and gpu.index not in node.idle and _is_leaving(node, gpu.index)
        )
        _add(state, relief, node, soon_mw)
    return relief


def _is_leaving(node: NodeNow, gpu: GpuIndex) -> bool:
    attempt = node.holders.get(gpu)
    if attempt is None:
        return True
    phase = attempt.gang.phase
    if isinstance(phase, Paused):
        return not phase.is_resuming
    return attempt.gang.phase_name == "ending"


def relief_of(state: State, gang: Gang) -> Relief:
    """What pausing the gang frees in each domain, wall milliwatts."""
    relief: Relief = {}
    for attempt in gang.live:
        node = state.nodes[attempt.node]
        gpus = [node.gpus[i] for i in attempt.record.gpus if i in node.gpus]
        _add(state, relief, node, sum(gpu_floor_mw(gpu) - gpu.idle_mw for gpu in gpus))
    return relief


def _add(state: State, relief: Relief, node: NodeNow, load_mw: int) -> None:
    if load_mw <= 0:
        return
    mw = wall_mw(load_mw, node.site.psu_efficiency_permille)
    for domain in state.domains.of[node.id]:
        relief[domain] = relief.get(domain, 0) + mw


def choose(state: State, short_mw: Mapping[DomainId, int]) -> list[Gang]:
    """Whole gangs, lowest priority first; inside a priority the fewest that suffice."""
    left = {d: mw for d, mw in short_mw.items() if mw > 0}
    gangs = state.work.gangs_in(Running, Starting)
    candidates = {gang.key: (gang, relief_of(state, gang)) for gang in gangs}
    chosen: list[Gang] = []
    while left:
        useful = [
            (gang.job.spec.priority, *_fit(relief, left), gang.key)
            for gang, relief in candidates.values()
            if any(domain in left for domain in relief)
        ]
        if not useful:
            break
        gang, relief = candidates.pop(min(useful)[-1])
        chosen.append(gang)
        left = {d: mw - relief.get(d, 0) for d, mw in left.items() if mw > relief.get(d, 0)}
    return chosen


def _fit(relief: Relief, left: Mapping[DomainId, int]) -> tuple[int, int]:
    """Sorts the smallest gang that covers everything first, else the one that covers most."""
    covered = sum(min(mw, relief.get(domain, 0)) for domain, mw in left.items())
    is_enough = covered == sum(left.values())
    return (0, sum(relief.values())) if is_enough else (1, -covered)


def _pause(state: State, gang: Gang, now: Now) -> None:
    reason = "paused: the floors of all running work do not fit the lowered budget"
    grace_s = state.site.timing.emergency_grace_s
    text = f"gang {gang.number} of {gang.job.spec.name!r} is paused to stay within the budget"
    state.journal.note("gang_paused", text, now, job=gang.job.id, level="warning")
    if isinstance(gang.phase, Starting):
        end_gang(state, gang, "requeued", reason, now, grace_s=grace_s)
        return
    gang.reason = reason
    state.work.move(gang, Paused(now.mono_s), now)
    for attempt in gang.live:
        order_pause(state, attempt, now)
        rest(state, attempt, now)
    save_gang(state, gang, now)


def order_pause(state: State, attempt: Attempt, now: Now) -> None:
    """Notice, freeze within a second, kill if that does not help."""
    node, gang = state.nodes[attempt.node], attempt.gang
    kill_after_s = state.site.timing.emergency_grace_s
    commands.order_pause(state, node, attempt.record.ref, kill_after_s, gang.reason, now)


def resume_where_fits(state: State, now: Now) -> None:
    """Start finding watts for paused gangs whose floors fit again, highest priority first."""
    for gang in sorted(state.work.paused.values(), key=lambda g: (-g.job.spec.priority, g.key)):
        phase = gang.phase
        if not isinstance(phase, Paused) or phase.is_resuming:
            continue
        if now.mono_s - phase.since < MIN_PAUSE_S or not _is_reachable(state, gang):
            continue
        state.work.move(gang, Paused(phase.since, is_resuming=True), now)
        if _floors_fit(state, gang, now):
            state.wants_rebalance = True
        else:
            state.work.move(gang, phase, now)


def _is_reachable(state: State, gang: Gang) -> bool:
    return all(state.nodes[a.node].is_reachable for a in gang.live)


def _floors_fit(state: State, gang: Gang, now: Now) -> bool:
    nodes = loads(state, now)
    left = free_for(state, nodes)
    for node, load in nodes.items():
        for domain in state.domains.of[node]:
            left[domain] -= load.floor_mw
    above = {d for a in gang.live for d in state.domains.of[a.node]}
    return all(
        left[d] >= state.domains.budget_mw(d) * RESUME_MARGIN_PERMILLE // 1000
        for d in sorted(above)
    )
