"""Chooses the gangs to pause when floors or useful caps do not fit a budget (I4).

Whole gangs, lowest priority first, as few as possible. Watts already being freed (gangs being
paused or stopped, GPUs that are not idle yet) are counted before another gang is chosen. Floors are
a matter of safety. Useful caps are one of efficiency: below its knee a job wastes energy, below its
`min_performance` its user prefers that it waits; so others get its watts. `resuming` resumes them.
"""

from collections.abc import Collection, Mapping, Sequence
from heapq import nsmallest

from wattline_protocol.ids import DomainId, GpuIndex, Instant, NodeId, Now
from wattline_protocol.site.wall_power import PERMILLE, wall_mw
from wattline_scheduler.core.admission.learned_demand import pause_observation
from wattline_scheduler.core.emergency.resuming import Lacking, pause_counted, rows_of
from wattline_scheduler.core.lifecycle.ending import end_gang
from wattline_scheduler.core.lifecycle.job_state import save_gang
from wattline_scheduler.core.model import command_outbox
from wattline_scheduler.core.model.gpu_holders import is_freed, tied
from wattline_scheduler.core.model.jobs.job import Attempt, Gang, Paused, Running, Starting
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State
from wattline_scheduler.plan.model.shape import GangKey
from wattline_scheduler.power.allocation.allocator import Allocation
from wattline_scheduler.power.allocation.pause_choice import Candidate, choose
from wattline_scheduler.power.demand.node_load import gpu_floor_mw, is_controlled
from wattline_scheduler.records import Cause
from wattline_scheduler.time_slices import Parts, at_once

SHORT_PATIENCE_S = 3.0
"""Patience with a shortfall that no lowered budget caused: a node may be reading back its caps."""

PAUSE_TAKES_S = 5.0
"""Time from the decision until a paused GPU counts as idle: notice 1 s, idle 3 s, the lease."""

MAX_DISPLACED = 256
"""Gangs of the lowest priorities that are examined to let one of higher priority resume."""

RESUMES_WITHIN_S = 4 * PAUSE_TAKES_S
"""Time in which a gang uses the watts of those paused for it; then others may."""

DISPLACE_AGAIN_S = 10.0
"""Time until the next such examination after one that did not help."""

USEFUL_CAP_PATIENCE_S = 3.0
"""Patience with a shortfall of useful caps: demand changes by the second."""

GANGS_PER_PART = 64
"""Of a choice in parts."""


def pause_where_short(state: State, allocation: Allocation, now: Now) -> None:
    """Pauses gangs until the floors and the useful caps of the remaining ones fit."""
    _pause_for_floors(state, _short(state, allocation, now), now)
    _pause_for_useful_caps(state, allocation.missing(), now)


def _short(state: State, allocation: Allocation, now: Now) -> dict[int, int]:
    """Rows whose floors do not fit now, or will not on a ramp once a pause takes effect."""
    short, domains = allocation.short(), state.domains
    limited = dict.fromkeys(limit.domain for limit in domains.limits)
    falls_mw = {d: domains.falls_mw(d, now.mono_s, PAUSE_TAKES_S) for d in limited}
    if not any(falls_mw.values()):
        return short
    fleet = state.fleet
    free_mw = state.books.free_for(fleet.nodes.is_set) - fleet.matrix.in_rows(fleet.floor_mw())
    for number, row in enumerate(domains.rows):
        lacking_mw = falls_mw.get(row.domain, 0) - int(free_mw[number])
        if falls_mw.get(row.domain) and lacking_mw > 0:
            short[number] = max(lacking_mw, short.get(number, 0))
    return short


def _pause_for_floors(state: State, short_mw: Mapping[int, int], now: Now) -> None:
    rows = state.domains.rows
    state.short_mw = {}
    for row, mw in short_mw.items():
        domain = rows[row].domain
        state.short_mw[domain] = max(mw, state.short_mw.get(domain, 0))
    state.short_since = {d: state.short_since.get(d, now.mono_s) for d in sorted(state.short_mw)}
    left = {row: mw for row, mw in short_mw.items() if _is_due(state, rows[row].domain, now)}
    if not left:
        return
    for gang in to_pause(state, _not_coming(state, left), pausable(state)):
        _pause(state, gang, FLOORS, now)


def _pause_for_useful_caps(state: State, missing_mw: Mapping[int, int], now: Now) -> None:
    since = state.missing_since
    state.missing_since = {row: since.get(row, now.mono_s) for row in sorted(missing_mw)}
    left = {
        row: mw
        for row, mw in missing_mw.items()
        if now.mono_s - state.missing_since[row] >= USEFUL_CAP_PATIENCE_S
    }
    if not left:
        return
    for gang in to_pause_for_useful_caps(state, _not_coming(state, left)):
        _pause(state, gang, USEFUL_CAPS, now)


def to_pause_for_useful_caps(state: State, missing_mw: Mapping[int, int]) -> list[Gang]:
    """Gangs to pause so that others reach their useful caps."""
    return at_once(useful_caps_in_parts(state, missing_mw))


def useful_caps_in_parts(state: State, missing_mw: Mapping[int, int]) -> Parts[list[Gang]]:
    """The same in parts.

    No gang is paused unless another of its own or a higher priority gains: it runs below its knee
    instead, and the others are searched for its shortfall. One with a `min_performance` is paused.
    """
    spared: set[GangKey] = set()
    while True:
        among = pausable(state)
        chosen = yield from to_pause_in_parts(
            state, missing_mw, among, for_useful=True, spared=spared
        )
        without_gain = yield from _paused_without_gain(state, chosen, set(missing_mw))
        if not without_gain:
            return chosen
        spared |= without_gain


def _paused_without_gain(
    state: State, chosen: list[Gang], missing: set[int]
) -> Parts[set[GangKey]]:
    """The chosen gangs whose pause helps no gang of their own or a higher priority."""
    keys = {gang.key for gang in chosen}
    staying = [gang for gang in pausable(state) if gang.key not in keys]
    served: dict[int, int] = {}
    """By row: the highest priority that stays."""

    def stays(gang: Gang) -> None:
        for row in rows_of(state, gang) & missing:
            served[row] = max(gang.job.spec.priority, served.get(row, gang.job.spec.priority))

    for number, gang in enumerate(staying, 1):
        stays(gang)
        if number % GANGS_PER_PART == 0:
            yield
    without_gain: set[GangKey] = set()
    for gang in sorted(chosen, key=lambda g: (-g.job.spec.priority, g.key)):
        if gang.job.shape.need.min_performance_permille:
            continue
        best = max((served.get(row, -1) for row in rows_of(state, gang) & missing), default=-1)
        if best < gang.job.spec.priority:
            without_gain.add(gang.key)
            stays(gang)
    return without_gain


def pause_for(state: State, lacking: Lacking, now: Now) -> None:
    """Pauses running gangs of lower priority if that lets a paused gang resume.

    Without it a small gang of low priority, which fits first, keeps the watts that a larger one of
    high priority waits for.
    """
    priority = lacking.gang.job.spec.priority
    if state.work.least_priority >= priority or now.mono_s < state.displaces_at:
        return
    lower = (gang for gang in pausable(state) if gang.job.spec.priority < priority)
    among = nsmallest(MAX_DISPLACED, lower, key=lambda gang: (gang.job.spec.priority, gang.key))
    short_mw = _not_coming(state, lacking.short_mw)
    chosen = to_pause(state, short_mw, among, for_useful=True)
    relief = relief_of(state, chosen, for_useful=True)
    if any(relief.get(row, 0) < mw for row, mw in short_mw.items()):
        state.displaces_at = Instant(now.mono_s + DISPLACE_AGAIN_S)
        return
    if chosen:
        state.resumes_first = lacking.gang.key, Instant(now.mono_s + RESUMES_WITHIN_S)
    for gang in chosen:
        _pause(state, gang, HIGHER_PRIORITY, now)


def _not_coming(state: State, left_mw: Mapping[int, int]) -> dict[int, int]:
    """Shortfall beyond the watts that will soon be free."""
    soon = _soon_free(state)
    return {row: mw - soon.get(row, 0) for row, mw in left_mw.items()}


def _is_due(state: State, domain: DomainId, now: Now) -> bool:
    over = state.overruns.get(domain)
    if (over is not None and over.is_shed) or state.domains.is_falling(domain):
        return True
    return now.mono_s - state.short_since[domain] >= SHORT_PATIENCE_S


def _soon_free(state: State) -> dict[int, int]:
    """Watts of GPUs that will be idle soon, by row."""
    relief: dict[int, int] = {}
    for node in state.nodes.values():
        soon_mw = sum(
            gpu_floor_mw(gpu) - gpu.idle_mw
            for gpu in node.gpus.values()
            if is_controlled(gpu) and gpu.index not in node.idle and is_freed(node, gpu.index)
        )
        _add(state, relief, node, soon_mw)
    return relief


def relief_of(state: State, gangs: Collection[Gang], *, for_useful: bool = False) -> dict[int, int]:
    """Floors or useful caps that pausing the gangs frees in each row; wall milliwatts."""
    relief: dict[int, int] = {}
    keys = {gang.key for gang in gangs}
    gpus: dict[NodeId, set[GpuIndex]] = {}
    for attempt in (one for gang in gangs for one in gang.live):
        gpus.setdefault(attempt.node, set()).update(attempt.record.gpus)
    for name, indices in gpus.items():
        node = state.nodes[name]
        load = state.fleet.loads.get(name) if for_useful else None
        useful_mw = {gpu.index: gpu.useful_mw for gpu in load.gpus} if load is not None else {}
        freed_mw = sum(
            useful_mw.get(index, gpu_floor_mw(node.gpus[index])) - node.gpus[index].idle_mw
            for index in indices
            if index in node.gpus
            and is_controlled(node.gpus[index])
            and is_freed(node, index, keys)
        )
        _add(state, relief, node, freed_mw)
    return relief


def _add(state: State, relief: dict[int, int], node: NodeNow, load_mw: int) -> None:
    if load_mw <= 0 or node.record.is_quarantined:  # it counts in full whatever is paused there
        return
    mw = wall_mw(load_mw, node.site.psu_efficiency_permille)
    for row, share in state.domains.rows_of[node.id]:
        relief[row] = relief.get(row, 0) + mw * share // PERMILLE


def to_pause(
    state: State,
    short_mw: Mapping[int, int],
    among: Sequence[Gang],
    *,
    for_useful: bool = False,
    spared: Collection[GangKey] = (),
) -> list[Gang]:
    """Chooses whole gangs among these, lowest priority first, as few as suffice; no spared ones."""
    return at_once(to_pause_in_parts(state, short_mw, among, for_useful=for_useful, spared=spared))


def to_pause_in_parts(
    state: State,
    short_mw: Mapping[int, int],
    among: Sequence[Gang],
    *,
    for_useful: bool = False,
    spared: Collection[GangKey] = (),
) -> Parts[list[Gang]]:
    """The same in parts, the last of which takes the choice itself.

    Gangs that share GPUs are paused together, at the highest priority among them.
    """
    if all(mw <= 0 for mw in short_mw.values()):
        return []
    groups = {
        members[0].key: members
        for members in tied(state, among)
        if not any(gang.key in spared for gang in members)
    }
    candidates: list[Candidate[GangKey]] = []
    for key, members in groups.items():
        priority = max(gang.job.spec.priority for gang in members)
        relief = relief_of(state, members, for_useful=for_useful)
        candidates.append(Candidate(key, priority, relief))
        if len(candidates) % GANGS_PER_PART == 0:
            yield
    return [gang for one in choose(candidates, short_mw) for gang in groups[one.key]]


def pausable(state: State) -> list[Gang]:
    """Gangs that draw power, or wait for their watts."""
    resuming = [
        gang
        for gang in state.work.paused.values()
        if isinstance(gang.phase, Paused) and gang.phase.is_resuming
    ]
    return state.work.gangs_in(Running, Starting) + resuming


FLOORS = "the minimum caps of running tasks exceed the lowered budget"
USEFUL_CAPS = "the useful caps of running tasks exceed the budget"
HIGHER_PRIORITY = "a paused job of higher priority resumes with its watts"


def _pause(state: State, gang: Gang, reason: str, now: Now) -> None:
    if isinstance(gang.phase, Paused):  # no resume was ordered yet
        state.work.move(gang, Paused(gang.phase.since), now)
        return
    grace_s = state.site.timing.emergency_grace_s
    cause = _stops_by(gang, reason)
    done = "paused" if cause is None else "stopped"
    text = f"{gang.name} is {done} to stay within the budget"
    state.journal.note("gang_paused", text, now, job=gang.job.id, level="warning")
    if isinstance(gang.phase, Starting):
        end_gang(state, gang, "requeued", reason, now, grace_s=grace_s)
        return
    if cause is not None:
        end_gang(state, gang, cause, reason, now, grace_s=min(grace_s, gang.job.grace_s))
        return
    gang.reason = reason
    pause_counted(gang, now, is_for_useful=reason != FLOORS)
    state.work.move(gang, Paused(now.mono_s), now)
    for attempt in gang.live:
        order_pause(state, attempt, now)
        pause_observation(state, attempt, now)
    save_gang(state, gang, now)


def _stops_by(gang: Gang, reason: str) -> Cause | None:
    """Cause by which it is stopped in order instead of frozen: a service with an SLO, for requests
    are in it, and a gang that can run on fewer nodes. None: it is frozen."""
    service = gang.job.spec.service
    if service is not None and service.slo is not None:
        return "preempted"
    may_shrink = gang.size > gang.job.spec.resources.least_nodes
    return "resized" if reason == FLOORS and may_shrink else None


def order_pause(state: State, attempt: Attempt, now: Now) -> None:
    """Orders a pause: notice, freeze within a second, kill if that fails."""
    node, gang = state.nodes[attempt.node], attempt.gang
    kill_after_s = state.site.timing.emergency_grace_s
    command_outbox.order_pause(state, node, attempt.record.ref, kill_after_s, gang.reason, now)
