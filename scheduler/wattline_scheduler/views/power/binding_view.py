"""Which domains limit work now: GPUs below their demand in the newest division of watts."""

from collections.abc import Iterator

import numpy as np

from wattline_protocol.ids import DomainId, JobId, NodeId, UnixTime
from wattline_protocol.site.wall_power import PERMILLE
from wattline_protocol.views.power_views import MAX_BOUND_JOBS, BindingView
from wattline_scheduler.core.model.state import State
from wattline_scheduler.power.demand.node_load import NodeLoad
from wattline_scheduler.power.topology.matrix import Ints

MW = 1000


def binding_views(state: State) -> dict[DomainId, BindingView]:
    """Those of the domains that limit a GPU."""
    allocation = state.fleet.newest
    if allocation is None:
        return {}
    bound = np.flatnonzero((allocation.row >= 0) & (state.fleet.gpus.target_mw > 0))
    rows, views = allocation.row[bound], dict[DomainId, BindingView]()
    for domain in dict.fromkeys(state.domains.rows[row].domain for row in np.unique(rows).tolist()):
        here = np.isin(rows, state.domains.rows_in[domain])
        views[domain] = _view(state, domain, bound[here], allocation.gpu_mw[bound[here]])
    return views


def _view(state: State, domain: DomainId, gpus: Ints, given_mw: Ints) -> BindingView:
    columns, nodes = state.fleet.gpus, state.fleet.nodes
    at, wanted_mw = columns.node[gpus], columns.target_mw[gpus]
    lacks_mw = np.maximum(wanted_mw - given_mw, 0) * PERMILLE / nodes.psu_efficiency_permille[at]
    some = np.unique(at)
    is_its = np.isin(state.binding.row[some], state.domains.rows_in[domain])
    since = state.binding.since[some[is_its]]
    jobs = sorted(set(_jobs(state, gpus)))
    return BindingView(
        gpus=len(gpus),
        jobs=len(jobs),
        first_jobs=tuple(jobs[:MAX_BOUND_JOBS]),
        short_w=float(lacks_mw.sum()) / MW,
        given_share=float(np.median(np.minimum(given_mw / wanted_mw, 1.0))),
        since_unix_s=UnixTime(float(since.min())) if len(since) else None,
    )


def _jobs(state: State, gpus: Ints) -> Iterator[JobId]:
    """Jobs on these GPUs. A node of which all are among them needs no look at each."""
    of_node = state.fleet.gpus.node[gpus]  # ascending
    nodes, starts = np.unique(of_node, return_index=True)
    for at, here in zip(nodes.tolist(), np.split(gpus, starts[1:]), strict=True):
        name = state.fleet.matrix.nodes[at]
        load = state.fleet.loads.get(name)
        if load is not None:
            yield from _jobs_of_node(state, name, load, here.tolist())


def _jobs_of_node(
    state: State, name: NodeId, load: NodeLoad, positions: list[int]
) -> Iterator[JobId]:
    node = state.nodes[name]
    if len(positions) == len(load.gpus):
        yield from (attempt.gang.job.id for attempt in node.attempts.values())
        return
    first = state.fleet.gpu_entries(name).start
    for position in positions:
        if position - first < len(load.gpus):  # else its load has changed since the division
            yield from node.jobs_on(load.gpus[position - first].index)
