"""Where floors do not fit a budget: which gangs are frozen, and when they go on (I4).

Lowest priority first, whole gangs, as few as possible. What is already on its way down (gangs being
paused or stopped, GPUs that are not idle yet) is counted before another gang is chosen.
"""

from collections.abc import Mapping

from wattline_protocol.ids import DomainId, GpuIndex, Now
from wattline_protocol.wall import PERMILLE, wall_mw
from wattline_scheduler.core import commands
from wattline_scheduler.core.ending import end_gang
from wattline_scheduler.core.job_state import save_gang
from wattline_scheduler.core.jobs import Attempt, Gang, Paused, Running, Starting
from wattline_scheduler.core.learning import rest
from wattline_scheduler.core.leasing import refresh_loads
from wattline_scheduler.core.nodes import NodeNow
from wattline_scheduler.core.state import State
from wattline_scheduler.power.loads import gpu_floor_mw
from wattline_scheduler.power.shortage import Candidate, choose

SHORT_PATIENCE_S = 3.0
"""A shortfall that no lowered budget caused may resolve itself: a node is being read back."""

MIN_PAUSE_S = 3.0
"""A paused gang is left alone for so long, so that nothing flutters."""

RESUME_MARGIN_PERMILLE = 20
"""Share of a budget that must stay free when a gang is resumed."""


def pause_where_short(state: State, short_mw: Mapping[int, int], now: Now) -> None:
    """Pause gangs until the floors that remain fit. `short_mw`: by row, what they lack."""
    rows = state.domains.rows
    state.short_mw = {}
    for row, mw in short_mw.items():
        domain = rows[row].domain
        state.short_mw[domain] = max(mw, state.short_mw.get(domain, 0))
    state.short_since = {d: state.short_since.get(d, now.mono_s) for d in sorted(state.short_mw)}
    left = {row: mw for row, mw in short_mw.items() if _is_due(state, rows[row].domain, now)}
    if not left:
        return
    for row, mw in _on_its_way(state).items():
        if row in left:
            left[row] -= mw
    for gang in to_pause(state, left):
        _pause(state, gang, now)


def _is_due(state: State, domain: DomainId, now: Now) -> bool:
    over = state.overruns.get(domain)
    if (over is not None and over.is_shed) or state.domains.is_falling(domain):
        return True
    return now.mono_s - state.short_since[domain] >= SHORT_PATIENCE_S


def _on_its_way(state: State) -> dict[int, int]:
    """Watts of GPUs that will be idle soon, by row."""
    relief: dict[int, int] = {}
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


def relief_of(state: State, gang: Gang) -> dict[int, int]:
    """What pausing the gang frees in each row, wall milliwatts."""
    relief: dict[int, int] = {}
    for attempt in gang.live:
        node = state.nodes[attempt.node]
        gpus = [node.gpus[i] for i in attempt.record.gpus if i in node.gpus]
        _add(state, relief, node, sum(gpu_floor_mw(gpu) - gpu.idle_mw for gpu in gpus))
    return relief


def _add(state: State, relief: dict[int, int], node: NodeNow, load_mw: int) -> None:
    if load_mw <= 0:
        return
    mw = wall_mw(load_mw, node.site.psu_efficiency_permille)
    for row, share in state.domains.rows_of[node.id]:
        relief[row] = relief.get(row, 0) + mw * share // PERMILLE


def to_pause(state: State, short_mw: Mapping[int, int]) -> list[Gang]:
    """Whole gangs, lowest priority first, as few as suffice."""
    gangs = {gang.key: gang for gang in state.work.gangs_in(Running, Starting)}
    candidates = [
        Candidate(gang.key, gang.job.spec.priority, relief_of(state, gang))
        for gang in gangs.values()
    ]
    return [gangs[one.key] for one in choose(candidates, short_mw)]


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
    """Whether there is room for the floors of everything that runs and of this gang."""
    refresh_loads(state, now)
    fleet = state.fleet
    left_mw = state.books.free_for(fleet.nodes.is_set) - fleet.matrix.in_rows(fleet.floor_mw())
    domains = state.domains
    above = {row for a in gang.live for row, _ in domains.rows_of[a.node]}
    return all(
        left_mw[row]
        >= domains.budget_mw(domains.rows[row].domain) * RESUME_MARGIN_PERMILLE // PERMILLE
        for row in sorted(above)
    )
