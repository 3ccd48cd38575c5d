"""Explains a node's lease: the binding domain, since when, and the priorities served before it."""

import numpy as np

from wattline_protocol.ids import JobId, NodeId, UnixTime
from wattline_protocol.text.wording import named, power_text
from wattline_protocol.views.site_views import PriorityShare, WhyGpu, WhyView
from wattline_scheduler.core.model.jobs.job import Paused
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State
from wattline_scheduler.power.allocation.allocator import Allocation
from wattline_scheduler.power.topology.rows import Row

MW = 1000

MAX_JOBS = 10
"""Maximum number of jobs listed per priority."""


def why_view(state: State, node: NodeNow) -> WhyView:
    """The node's part in the newest allocation of watts."""
    allocation = state.fleet.newest
    if allocation is None or node.id not in state.fleet.loads:
        return _not_set(state, node)
    fleet, at = state.fleet, state.fleet.matrix.at[node.id]
    number = int(state.binding.row[at])
    row = state.domains.rows[number] if number >= 0 else None
    committed_mw, lease_mw = state.books.committed_mw(node.id), state.books.newest_lease_mw(node.id)
    allotted_mw = int(allocation.lease_mw[at])
    return WhyView(
        node=node.id,
        lease_w=(committed_mw if lease_mw is None else lease_mw) / MW,
        committed_w=committed_mw / MW,
        floor_w=int(fleet.floor_mw()[at]) / MW,
        wanted_w=int(fleet.target_mw()[at]) / MW,
        allotted_w=allotted_mw / MW,
        binding=None if row is None else row.domain,
        when_lost=None if row is None else row.lost,
        since_unix_s=None if row is None else UnixTime(float(state.binding.since[at])),
        grantable_w=None if row is None else state.domains.grantable_mw(row.domain) / MW,
        served=() if row is None else _served(state, allocation, number),
        gpus=_gpus(state, allocation, node),
        reason=_paused(state, node) or _reason(state, allotted_mw, lease_mw, row),
    )


def _not_set(state: State, node: NodeNow) -> WhyView:
    """A node without a settable lease: silent, observing, distrusted, or reading back its caps."""
    committed_w = state.books.committed_mw(node.id) / MW
    lease_mw = state.books.newest_lease_mw(node.id)
    return WhyView(
        node=node.id,
        lease_w=committed_w if lease_mw is None else lease_mw / MW,
        committed_w=committed_w,
        reason=node.reason or "its lease cannot change now; its committed watts stay",
    )


def _paused(state: State, node: NodeNow) -> str:
    """Reason naming the paused jobs that have GPUs allocated but draw nothing; empty if none."""
    gangs = {id(a.gang): a.gang for a in node.attempts.values()}.values()
    jobs = sorted({g.job.id for g in gangs if isinstance(g.phase, Paused)})
    if not jobs:
        return ""
    them = f"{named('job', jobs)} {'is' if len(jobs) == 1 else 'are'}"
    books, rows = state.books, state.domains.rows_of[node.id]
    headroom_mw, row = min((books.headroom_in_row(r), r) for r, _ in rows)
    where = f"{state.domains.rows[row].name} has the least headroom, {power_text(headroom_mw)}"
    return f"{them} paused here until useful caps fit again; {where}"


def _reason(state: State, allotted_mw: int, lease_mw: int | None, row: Row | None) -> str:
    if row is not None:
        if row.domain in state.short_mw:
            return f"the minimum caps of running tasks exceed the budget of {row.name}"
        return f"{row.name} is fully allocated: higher priorities come first, equal ones share"
    if lease_mw is not None and lease_mw < allotted_mw:
        return "its demand is covered; more watts are being granted"
    return "its demand is covered"


def _gpus(state: State, allocation: Allocation, node: NodeNow) -> tuple[WhyGpu, ...]:
    here = state.fleet.gpu_entries(node.id)
    given, rows = allocation.gpu_mw[here].tolist(), allocation.row[here].tolist()
    shown: list[WhyGpu] = []
    for gpu, given_mw, row in zip(state.fleet.loads[node.id].gpus, given, rows, strict=True):
        jobs = node.jobs_on(gpu.index)
        shown.append(
            WhyGpu(
                index=gpu.index,
                job=jobs[0] if jobs else None,
                others=jobs[1:],
                priority=gpu.priority,
                floor_w=gpu.floor_mw / MW,
                useful_w=gpu.useful_mw / MW,
                wanted_w=gpu.target_mw / MW,
                given_w=given_mw / MW,
                binding=None if row < 0 else state.domains.rows[row].domain,
            )
        )
    return tuple(shown)


def _served(state: State, allocation: Allocation, number: int) -> tuple[PriorityShare, ...]:
    """Allocation per priority in a row, highest first: GPU watts as counted at the wall there."""
    fleet, gpus = state.fleet, state.fleet.gpus
    matrix = fleet.matrix
    entries = matrix.entry_row == number
    share = np.zeros(len(matrix.nodes))
    here = matrix.entry_node[entries]
    share[here] = matrix.entry_share[entries] / fleet.nodes.psu_efficiency_permille[here]
    counted = allocation.gpu_mw * share[gpus.node]
    shares: list[PriorityShare] = []
    for priority in np.unique(gpus.priority[counted > 0.0])[::-1].tolist():
        some = (gpus.priority == priority) & (counted > 0.0)
        below = int(np.count_nonzero(some & (allocation.row >= 0)))
        nodes = [matrix.nodes[at] for at in np.unique(gpus.node[some]).tolist()]
        shares.append(
            PriorityShare(
                priority=priority,
                gpus=int(np.count_nonzero(some)),
                gpus_below_demand=below,
                given_w=float(counted[some].sum()) / MW,
                jobs=_jobs(state, nodes, priority),
            )
        )
    return tuple(shares)


def _jobs(state: State, nodes: list[NodeId], priority: int) -> tuple[JobId, ...]:
    """The jobs with the most GPUs there, largest first."""
    count: dict[JobId, int] = {}
    for name in nodes:
        for attempt in state.nodes[name].attempts.values():
            job = attempt.gang.job
            if job.spec.priority == priority:
                count[job.id] = count.get(job.id, 0) + len(attempt.record.gpus)
    ordered = sorted(count, key=lambda job: (-count[job], job))
    return tuple(ordered[:MAX_JOBS])
