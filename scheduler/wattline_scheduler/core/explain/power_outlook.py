"""What would happen if a domain had fewer watts, or failed: the allocator on changed columns.

The demand is the current one, and leases have followed. Redundant inputs need no special case: a
lease also fits with any one of its node's inputs lost (`power.topology.rows`), so that the loss of
a domain ends only work without another input, or in a zone without cooling.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from wattline_protocol.ids import DomainId, GpuIndex, JobId, NodeId, Now
from wattline_protocol.text.wording import power_text
from wattline_protocol.views.power_views import (
    MAX_OUTLOOK_JOBS,
    MAX_OUTLOOK_NODES,
    Effect,
    JobOutlook,
    PowerOutlook,
    WhatIfPower,
)
from wattline_protocol.wire.client_messages import Denied
from wattline_scheduler.core.emergency.pausing import (
    GANGS_PER_PART,
    pausable,
    to_pause_in_parts,
    useful_caps_in_parts,
)
from wattline_scheduler.core.model.jobs.job import Gang
from wattline_scheduler.core.model.not_found import not_there
from wattline_scheduler.core.model.state import State
from wattline_scheduler.plan.model.shape import GangKey
from wattline_scheduler.power.allocation.allocator import (
    Allocation,
    GpuColumns,
    NodeColumns,
    allocate,
)
from wattline_scheduler.power.demand.node_load import GpuLoad
from wattline_scheduler.power.topology.matrix import Floats, Ints
from wattline_scheduler.time_slices import Parts

MW = 1000
NODES_PER_PART = 64
JOBS_PER_PART = 256
SAME_WITHIN = 0.005
"""Smaller changes of a share count as none."""

_SEVERITY: dict[Effect, int] = {"lost": 0, "paused": 1, "slowed": 2}


Places = Mapping[NodeId, tuple[int, tuple[GpuLoad, ...]]]
"""Of each node the position of its first GPU in the columns, and its GPUs there."""


@dataclass(slots=True)
class _Columns:
    """The allocator's input, changed."""

    nodes: NodeColumns
    gpus: GpuColumns
    free_mw: Ints

    def divide(self, state: State) -> Allocation:
        """The watts of each GPU."""
        return allocate(state.fleet.matrix, self.nodes, self.gpus, self.free_mw)


@dataclass(slots=True)
class _Share:
    """GPUs of a job, and their watts as shares of their demand."""

    before: list[float]
    after: list[float]


def power_outlook(state: State, request: WhatIfPower, now: Now) -> Parts[PowerOutlook | Denied]:
    """A part for each division of watts, and parts for the choice of gangs to pause, for nodes and
    for jobs. Columns and their positions are of one moment: they may be others later."""
    del now
    denied = _refusal(state, request)
    if denied is not None:
        return denied
    budget_mw = state.domains.budget_mw(request.domain)
    less_mw = budget_mw if request.fails else request.by_mw or int(budget_mw * request.fraction)
    dead = _without_power(state, request.domain) if request.fails else set[NodeId]()
    yield
    lost, places = _gangs_on(state, dead), _places(state)
    columns = _columns(state, dead)
    if not request.fails:
        columns.free_mw[list(state.domains.rows_in[request.domain])] -= less_mw
    now_columns, wanted_mw = _columns(state, ()), state.fleet.gpus.target_mw.copy()
    yield
    held = yield from _idle(state, columns, places, lost)
    divided = columns.divide(state)
    yield
    paused = yield from _to_pause(state, divided, lost)
    held |= yield from _idle(state, columns, places, paused)
    yield
    after = columns.divide(state)
    yield
    before = _shares(now_columns.divide(state), wanted_mw)
    yield
    gone = {gang.job.id for gang in (*lost, *paused)}
    slowed = yield from _slowed(state, places, before, _shares(after, wanted_mw), gone)
    shorts = after.short().items()
    ends = yield from _ended(lost, held, before)
    pauses = yield from _ended(paused, held, before)
    jobs = yield from _jobs(state, ends, pauses, slowed)
    return PowerOutlook(
        domain=request.domain,
        fails=request.fails,
        budget_w=budget_mw / MW,
        then_w=(budget_mw - less_mw) / MW,
        short_w=max((mw for row, mw in shorts if _is_new(state, row, request)), default=0) / MW,
        nodes=tuple(sorted(dead)[:MAX_OUTLOOK_NODES]),
        node_count=len(dead),
        lost=len({gang.job.id for gang in lost}),
        paused=len({gang.job.id for gang in paused}),
        slowed=len(slowed),
        jobs=jobs,
    )


def _refusal(state: State, request: WhatIfPower) -> Denied | None:
    if request.domain not in state.domains.by_id:
        return not_there("domain", request.domain, state.domains.by_id)
    given = (bool(request.fraction), bool(request.by_mw), request.fails)
    if sum(given) != 1:
        text = "give exactly one of: watts it loses, a share of its budget, or that it fails"
        return Denied("bad_request", text)
    if request.fraction and not 0 < request.fraction <= 1:
        text = f"the share must be above 0 and at most 1, as 0.25, not {request.fraction}"
        return Denied("bad_request", text)
    if request.by_mw < 0:
        text = f"the watts it loses must be above 0, not {power_text(request.by_mw)}"
        return Denied("bad_request", text)
    budget_mw = state.domains.budget_mw(request.domain)
    if request.by_mw > budget_mw:
        has = f"{request.domain} has a budget of {power_text(budget_mw)}"
        return Denied("bad_request", f"{has}: it cannot lose {power_text(request.by_mw)}")
    return None


def _without_power(state: State, domain: DomainId) -> set[NodeId]:
    """Nodes with no input outside the domain, or with their cooling zone in it."""
    chains = state.site.chains()
    return {
        node.id
        for node in state.site.nodes
        if all(domain in chains[name] for name in node.inputs)
        or (node.cooling_zone is not None and domain in chains[node.cooling_zone])
    }


def _gangs_on(state: State, nodes: Iterable[NodeId]) -> list[Gang]:
    found = (one.gang for name in nodes for one in state.nodes[name].attempts.values())
    return list({gang.key: gang for gang in found}.values())


def _columns(state: State, dead: Collection[NodeId]) -> _Columns:
    """Copies, in which dead nodes draw nothing."""
    fleet = state.fleet
    nodes = replace(fleet.nodes, **{name: getattr(fleet.nodes, name).copy() for name in _NODES})
    gpus = replace(fleet.gpus, **{name: getattr(fleet.gpus, name).copy() for name in _GPUS})
    committed_mw = state.books.committed.copy()
    columns = _Columns(nodes, gpus, state.domains.grantable_in_rows())
    for name in dead:
        at = fleet.matrix.at[name]
        committed_mw[at] = nodes.base_mw[at] = nodes.lowest_mw[at] = 0
        nodes.is_set[at] = False
        _set(gpus, fleet.gpu_entries(name), 0)
    columns.free_mw -= fleet.matrix.in_rows(np.where(nodes.is_set, 0, committed_mw))
    return columns


_NODES = ("base_mw", "lowest_mw", "is_set")
_DEMANDS = ("floor_mw", "asked_mw", "useful_mw", "target_mw", "ceiling_mw")
_GPUS = (*_DEMANDS, "priority")


def _set(gpus: GpuColumns, where: slice | int, mw: int) -> None:
    for name in _DEMANDS:
        getattr(gpus, name)[where] = mw
    gpus.priority[where] = -1


def _idle(
    state: State, columns: _Columns, places: Places, gangs: Iterable[Gang]
) -> Parts[dict[GangKey, list[int]]]:
    """GPUs of these gangs draw their idle watts. Returns their positions by gang."""
    held: dict[GangKey, list[int]] = {}
    for gang in gangs:
        mine = held[gang.key] = []
        for node, index, at in _entries(places, gang):
            mine.append(at)
            gpu = state.nodes[node].gpus.get(index)  # None: it is gone since
            idle_mw = 0 if gpu is None else gpu.idle_mw
            _set(columns.gpus, at, min(idle_mw, int(columns.gpus.floor_mw[at])))
        if len(held) % GANGS_PER_PART == 0:
            yield
    return held


def _entries(places: Places, gang: Gang) -> Iterator[tuple[NodeId, GpuIndex, int]]:
    """GPUs of a gang with their positions in the columns."""
    for attempt in gang.live:
        first, gpus = places.get(attempt.node, (0, ()))
        for at, gpu in enumerate(gpus):
            if gpu.index in attempt.record.gpus:
                yield attempt.node, gpu.index, first + at


def _to_pause(state: State, after: Allocation, lost: list[Gang]) -> Parts[list[Gang]]:
    """As the scheduler would choose; without those that are lost anyway."""
    gone = {gang.key for gang in lost}
    among = [gang for gang in pausable(state) if gang.key not in gone]
    chosen = yield from to_pause_in_parts(state, after.short(), among)
    yield
    known = gone | {gang.key for gang in chosen}
    for_useful = yield from useful_caps_in_parts(state, after.missing())
    return chosen + [gang for gang in for_useful if gang.key not in known]


def _is_new(state: State, row: int, request: WhatIfPower) -> bool:
    """A domain that fails has no budget to exceed."""
    return not request.fails or state.domains.rows[row].domain != request.domain


def _shares(allocation: Allocation, wanted_mw: Ints) -> Floats:
    """Of the current demand, at most 1; 1 for GPUs without demand."""
    wanted = np.maximum(wanted_mw, 1)
    return np.where(wanted_mw > 0, np.minimum(allocation.gpu_mw / wanted, 1.0), 1.0)


def _places(state: State) -> Places:
    fleet = state.fleet
    return {name: (fleet.gpu_entries(name).start, load.gpus) for name, load in fleet.loads.items()}


def _slowed(
    state: State,
    places: Places,
    before: Floats,
    after: Floats,
    others: Collection[JobId],
) -> Parts[dict[JobId, _Share]]:
    """GPUs that have a smaller share, by their job."""
    found: dict[JobId, _Share] = {}
    changed = set(np.flatnonzero(after < before - SAME_WITHIN).tolist())
    for number, (name, (first, gpus)) in enumerate(places.items()):
        if number % NODES_PER_PART == NODES_PER_PART - 1:
            yield
        for at, gpu in enumerate(gpus):
            jobs = state.nodes[name].jobs_on(gpu.index) if first + at in changed else ()
            if jobs and jobs[0] not in others:
                share = found.setdefault(jobs[0], _Share([], []))
                share.before.append(float(before[first + at]))
                share.after.append(float(after[first + at]))
    return found


def _ended(
    gangs: list[Gang], positions: Mapping[GangKey, Sequence[int]], before: Floats
) -> Parts[dict[JobId, _Share]]:
    """What the GPUs of these gangs have now; then they have nothing."""
    found: dict[JobId, _Share] = {}
    for number, gang in enumerate(gangs, 1):
        if number % GANGS_PER_PART == 0:
            yield
        share = found.setdefault(gang.job.id, _Share([], []))
        for at in positions[gang.key]:
            share.before.append(float(before[at]))
            share.after.append(0.0)
    return found


def _jobs(
    state: State,
    lost: dict[JobId, _Share],
    paused: dict[JobId, _Share],
    slowed: dict[JobId, _Share],
) -> Parts[tuple[JobOutlook, ...]]:
    rows: list[JobOutlook] = []
    by_effect: dict[Effect, dict[JobId, _Share]] = {
        "lost": lost,
        "paused": paused,
        "slowed": slowed,
    }
    for effect, shares in by_effect.items():
        for job, share in shares.items():
            rows.append(_row(state, job, effect, share))
            if len(rows) % JOBS_PER_PART == 0:
                yield
    rows.sort(key=lambda row: (_SEVERITY[row.effect], -row.priority, row.after, row.job))
    return tuple(rows[:MAX_OUTLOOK_JOBS])


def _row(state: State, number: JobId, effect: Effect, share: _Share) -> JobOutlook:
    job = state.work.jobs.get(number)  # None: it ended while the answer was computed
    return JobOutlook(
        job=number,
        name="" if job is None else job.spec.name,
        owner="" if job is None else job.record.owner,
        priority=0 if job is None else job.spec.priority,
        gpus=len(share.after),
        effect=effect,
        before=median(share.before) if share.before else 0.0,
        after=median(share.after) if share.after else 0.0,
    )
