"""Data of pending jobs: which nodes fetch it, what is sent to them, and what a job waits for.

Level-triggered: each run decides from the whole state, and sends a node its list when that has
changed. `core.admission.staging` chooses the nodes.
"""

from collections.abc import Sequence

import numpy as np

from wattline_protocol.ids import NodeId, Now
from wattline_protocol.wire.agents.data_messages import MAX_HELD
from wattline_scheduler.core.admission.planner_view import renew_offers, snapshot
from wattline_scheduler.core.admission.staging import NodeStage, Place, Staged, stage
from wattline_scheduler.core.lifecycle.data.data_gates import note_gate
from wattline_scheduler.core.lifecycle.data.data_groups import Group, groups_of
from wattline_scheduler.core.lifecycle.data.node_lists import Wanted, copies_of, send_list
from wattline_scheduler.core.lifecycle.data.publishing import outputs_by_node
from wattline_scheduler.core.model.data.job_data import reads_of
from wattline_scheduler.core.model.data.stored_checkpoints import resume_version
from wattline_scheduler.core.model.jobs.job import Starting
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State
from wattline_scheduler.plan.model.columns import WHOLE_MILLI
from wattline_scheduler.plan.model.reserved_nodes import Stay
from wattline_scheduler.plan.search.feasible import may_fit_once
from wattline_scheduler.plan.search.trial import Trial

MAX_PLACES = 64
"""Nodes considered for a group, besides those that have its data."""
PERIOD_S, GAP_S = 1.0, 0.25
"""Interval of runs, and the minimum between two on request of a large site."""
SMALL_SITE_NODES = 64


def tick_data(state: State, now: Now) -> None:
    """Stages data when something has changed, and each second while there is any."""
    work = state.work
    if not (work.with_data or state.holding or work.publishing or work.keeping):
        state.wants_staging = False
        return
    if is_due(state, now):
        state.staged_at, state.wants_staging, work.is_data_new = now.mono_s, False, False
        _stage(state, now)


def is_due(state: State, now: Now) -> bool:
    """Whether data is looked at now: on request, but on a large site not at each."""
    since_s = now.mono_s - state.staged_at
    gap_s = 0.0 if len(state.nodes) <= SMALL_SITE_NODES else GAP_S
    is_wanted = state.wants_staging or state.work.is_data_new
    return since_s >= PERIOD_S or (is_wanted and since_s >= gap_s)


def _stage(state: State, now: Now) -> None:
    groups, wanted = groups_of(state, now), Wanted()
    copies = copies_of(state, now)
    stages: dict[NodeId, NodeStage] = {}
    outputs = outputs_by_node(state, now)
    for node in state.nodes.values():
        has_any = node.data.held or node.attempts or node.id in outputs or node.id in copies
        if _has_cache(node) and (node.id in state.holding or has_any):
            stages[node.id] = _pinned(state, node, wanted)
    for group in groups:
        for job in group.jobs:
            wanted.add(job, group.fetched)
    for node_id, one in stages.items():
        data = state.nodes[node_id].data
        one.ready = wanted.names(data.copies)
        one.listed = wanted.names(held.manifest_sha256 for held in data.listed or ())
    at_home = _at_home(groups)
    for node_id, names in at_home.items():
        if node_id in stages:
            stages[node_id].ready |= names
    staged = _staged(state, groups, stages, now)
    chosen = stage(staged, stages, {name: one.bytes for name, one in wanted.versions.items()})
    for group, places, nodes in zip(groups, staged, chosen, strict=True):
        note_gate(state, group, places.places, nodes)
    for node_id, one in stages.items():
        versions = [name for name in one.versions if name not in at_home.get(node_id, ())]
        others = outputs.get(node_id, ()), copies.get(node_id, ())
        send_list(state, state.nodes[node_id], versions, wanted, *others, now)


def _at_home(groups: Sequence[Group]) -> dict[NodeId, frozenset[str]]:
    """Checkpoints that nodes have without a copy: in the directories of their jobs."""
    found: dict[NodeId, frozenset[str]] = {}
    for group in groups:
        if home := group.resume.home:
            own = group.fetched.keys() - group.versions.keys()
            found[home] = found.get(home, frozenset()) | own
    return found


def _has_cache(node: NodeNow) -> bool:
    """Whether it may be sent a list."""
    return node.is_reachable and (node.data.limit_bytes is not None or bool(node.data.error))


def _pinned(state: State, node: NodeNow, wanted: Wanted) -> NodeStage:
    """The node with a list of what its tasks read."""
    one = NodeStage(node.data.limit_bytes or 0, most=MAX_HELD)
    for attempt in node.attempts.values():
        gang, job = attempt.gang, attempt.gang.job
        versions = reads_of(state.data, job.spec).versions
        if isinstance(gang.phase, Starting) and (stored := gang.resume.fetched_by(node.id)):
            version = resume_version(job, stored)
            versions = {**versions, version.reference: version}
        if versions:
            wanted.add(job, versions)
            one.versions.update(dict.fromkeys(versions))
    return one


def _staged(
    state: State, groups: Sequence[Group], stages: dict[NodeId, NodeStage], now: Now
) -> list[Staged]:
    """The groups with the nodes on which they may start."""
    if not groups:
        return []
    renew_offers(state, now)
    trial = Trial(snapshot(state, now), state.fleet_view.cache)
    try:
        return [_staged_one(state, trial, group, stages) for group in groups]
    finally:
        trial.close()


def _staged_one(
    state: State, trial: Trial, group: Group, stages: dict[NodeId, NodeStage]
) -> Staged:
    key, columns = group.key, trial.columns
    barred = trial.barred(Stay(key.reservation, state.work.queue.runs_s(key)))
    able = may_fit_once(trial, key.shape) & columns.is_open
    able = able if barred is None else able & ~barred
    fits = np.isfinite(trial.costs(key.shape))
    free = (columns.free_milli >= WHOLE_MILLI).sum(axis=1)
    ranked = np.lexsort((-free, ~fits, ~able))[: MAX_PLACES + 2 * key.shape.nodes]
    position = trial.snapshot.position
    has_it = [position[name] for name, one in stages.items() if one.ready or one.listed]
    if group.resume.home:
        has_it.append(position[group.resume.home])
    places = []
    for at in sorted({*ranked.tolist(), *has_it}):
        node = state.nodes[trial.snapshot.nodes[at].node]
        is_open = not group.resume.is_bound or node.id == group.resume.home
        if able[at] and is_open and _has_cache(node) and not node.data.error:
            stages.setdefault(node.id, NodeStage(node.data.limit_bytes or 0, most=MAX_HELD))
            slots = max(1, int(free[at]) // max(1, key.shape.gpus)) if fits[at] else 0
            places.append(Place(node.id, slots, int(free[at])))
    tasks = key.shape.nodes * sum(map(state.work.may_start, group.jobs))
    return Staged(tuple(group.fetched), key.shape.nodes, tasks, places)
