"""Data of pending jobs: which nodes fetch it, what is sent to them, and what a job waits for.

Level-triggered: each run decides anew from the state, and sends a node its list when that has
changed. `core.admission.staging` chooses the nodes. Jobs that the planner distinguishes only by
their age are one group here too.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from wattline_protocol.ids import Instant, NodeId, Now, UserName
from wattline_protocol.site.run_as import account_of
from wattline_protocol.text.wording import about_size, counted, listed
from wattline_protocol.wire.agents.data_messages import CACHE_FULL, MAX_HELD, DataHeld, DataToHold
from wattline_scheduler.core.admission.planner_view import renew_offers, snapshot
from wattline_scheduler.core.admission.staging import NodeStage, Place, Staged, stage
from wattline_scheduler.core.lifecycle.ending import end_gangs
from wattline_scheduler.core.model import command_outbox
from wattline_scheduler.core.model.data.job_data import reads_of
from wattline_scheduler.core.model.data.node_data import NodeData
from wattline_scheduler.core.model.jobs.job import Job, Pending
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.queue.job_class import ClassKey
from wattline_scheduler.core.model.state import State
from wattline_scheduler.data_record import DataVersionRecord
from wattline_scheduler.plan.model.columns import WHOLE_MILLI
from wattline_scheduler.plan.model.reserved_nodes import Stay
from wattline_scheduler.plan.search.feasible import may_fit_once
from wattline_scheduler.plan.search.trial import Trial

MAX_GROUPS = 64
"""Groups of jobs whose data is staged at a time; the others wait for their turn."""
MAX_GROUPS_OF_USER = MAX_GROUPS // 4
"""Of them, while other users have some."""
MAX_EXAMINED = 5_000
"""Jobs examined in one run."""
MAX_PLACES = 64
"""Nodes considered for a group, besides those that have its data."""
PERIOD_S, GAP_S = 1.0, 0.25
"""Interval of runs, and the minimum between two on request of a large site."""
SMALL_SITE_NODES = 64
STALLED_S = 600.0
"""After a fetch failed, jobs that need it come last for so long; they are tried all the same."""
NAMED = 2
"""Fetches named in one reason."""


@dataclass(slots=True)
class _Group:
    """Jobs of one class, the oldest first, and the versions that they read."""

    key: ClassKey
    jobs: list[Job]
    versions: Mapping[str, DataVersionRecord]

    @property
    def manifests(self) -> list[str]:
        return [version.sha256 for version in self.versions.values()]


class _Source(NamedTuple):
    """Where a content may be fetched from, and as whom: versions of several stores may have the
    same content, and of the users that read one some may be refused by its store."""

    version: str
    user: UserName


@dataclass(slots=True)
class _Wanted:
    """Versions of all jobs of one run."""

    versions: dict[str, DataVersionRecord] = field(default_factory=dict)
    sources: dict[str, dict[_Source, int]] = field(default_factory=dict)
    """By manifest, in the order of jobs; with the number of the newest job that asks for each."""

    def add(self, job: Job, versions: Mapping[str, DataVersionRecord]) -> None:
        for name, version in versions.items():
            self.versions.setdefault(name, version)
            asked = self.sources.setdefault(version.sha256, {})
            source = _Source(name, job.record.owner)
            asked[source] = max(asked.get(source, 0), job.id)

    def names(self, manifests: Iterable[str]) -> frozenset[str]:
        """Versions that have these contents."""
        return frozenset(
            source.version for sha256 in manifests for source in self.sources.get(sha256, ())
        )


def tick_data(state: State, now: Now) -> None:
    """Stages data when something has changed, and each second while there is any."""
    if not state.work.with_data and not state.holding:
        state.wants_staging = False
        return
    since_s = now.mono_s - state.staged_at
    gap_s = 0.0 if len(state.nodes) <= SMALL_SITE_NODES else GAP_S
    if since_s >= PERIOD_S or (state.wants_staging and since_s >= gap_s):
        state.staged_at, state.wants_staging = now.mono_s, False
        _stage(state, now)


def _stage(state: State, now: Now) -> None:
    groups, wanted = _groups(state, now), _Wanted()
    stages: dict[NodeId, NodeStage] = {}
    for node in state.nodes.values():
        if _has_cache(node) and (node.id in state.holding or node.data.held or node.attempts):
            stages[node.id] = _pinned(state, node, wanted)
    for group in groups:
        for job in group.jobs:
            wanted.add(job, group.versions)
    for node_id, one in stages.items():
        data = state.nodes[node_id].data
        one.ready = wanted.names(data.copies)
        one.listed = wanted.names(held.manifest_sha256 for held in data.listed or ())
    staged = _staged(state, groups, stages, now)
    chosen = stage(staged, stages, {name: one.bytes for name, one in wanted.versions.items()})
    for group, places, nodes in zip(groups, staged, chosen, strict=True):
        _note_gate(state, group, places.places, nodes)
    live = state.data.manifests()
    for node_id, one in stages.items():
        _send(state, state.nodes[node_id], tuple(one.versions), wanted, live, now)


# --- Jobs ---------------------------------------------------------------------------------


def _groups(state: State, now: Now) -> list[_Group]:
    """Groups of pending jobs in queue order; those whose data no node can fetch now come last, for
    they would keep the caches from others. Jobs that can never have their data end here."""
    work, found = state.work, dict[ClassKey, _Group]()
    failed = dict(_failed(state))
    for job in _examined(list(work.with_data.values())):
        if not job.count["pending"]:
            del work.with_data[job.id]
            continue
        reads = reads_of(state.data, job.spec)
        if why := reads.gone or _failure(job, reads.versions, failed):
            pending = [gang for gang in job.gangs if isinstance(gang.phase, Pending)]
            end_gangs(state, pending, "no_data", why, now)
        elif job.may_start_with_data and work.may_start(job):
            key = work.queue.key(job)
            found.setdefault(key, _Group(key, [], reads.versions)).jobs.append(job)
    order = work.queue.order
    _note_stalled(state, now)
    ranked = [(order.rank(key), group) for key, group in found.items()]
    ranked.sort(key=lambda one: (one[0].before, _since_s(one[1]) + one[0].later_s))
    ranked.sort(key=lambda one: not state.stalled.keys().isdisjoint(one[1].manifests))
    return _shared([group for _, group in ranked])


def _examined(jobs: list[Job]) -> list[Job]:
    """As many as one run may examine: of many, as many of each user, the oldest."""
    if len(jobs) <= MAX_EXAMINED:
        return jobs
    of_user: dict[UserName, list[Job]] = {}
    for job in jobs:
        of_user.setdefault(job.record.owner, []).append(job)
    share = max(1, MAX_EXAMINED // len(of_user))
    return sorted(
        (job for some in of_user.values() for job in some[:share]), key=lambda job: job.id
    )


def _shared(groups: list[_Group]) -> list[_Group]:
    """The groups that are staged, in their order: some of each user before more of any."""
    if len(groups) <= MAX_GROUPS:
        return groups
    seen: Counter[UserName] = Counter()
    turns: list[int] = []
    for group in groups:
        owner = group.jobs[0].record.owner
        turns.append(seen[owner] // MAX_GROUPS_OF_USER)
        seen[owner] += 1
    first = sorted(range(len(groups)), key=turns.__getitem__)[:MAX_GROUPS]
    return [groups[at] for at in sorted(first)]


def _note_stalled(state: State, now: Now) -> None:
    """What is on a node, or on its way, is not stalled; nor is what waits for room."""
    waiting: set[str] = set()
    moving: set[str] = set()
    for name in state.holding:
        data = state.nodes[name].data
        for one in data.listed or ():
            held = data.held.get(one.manifest_sha256)
            if held is None or not _is_about(held, one):
                continue
            if held.state == "ready" or held.done_bytes:
                moving.add(one.manifest_sha256)
            elif held.detail and not held.detail.startswith(CACHE_FULL):
                waiting.add(one.manifest_sha256)
    until = Instant(now.mono_s + STALLED_S)
    state.stalled = {
        name: at for name, at in state.stalled.items() if at > now.mono_s and name not in moving
    } | dict.fromkeys(waiting - moving, until)


def _since_s(group: _Group) -> float:
    return group.jobs[0].record.submitted_unix_s


def _failed(state: State) -> Iterator[tuple[_Source, tuple[DataHeld, NodeId]]]:
    """Failures that are final. One says nothing about other sources of the same content, nor does
    a report about what the node was not asked for."""
    for name in state.holding:
        data = state.nodes[name].data
        for one in data.listed or ():
            held = data.held.get(one.manifest_sha256)
            if held is not None and held.state == "failed" and _is_about(held, one):
                yield _source(one), (held, name)


def _is_about(held: DataHeld, listed: DataToHold) -> bool:
    return (held.asked, held.listing) == (listed.asked, listed.listing)


def _source(one: DataToHold) -> _Source:
    return _Source(one.reference, UserName(one.user))


def _failure(
    job: Job,
    versions: Mapping[str, DataVersionRecord],
    failed: Mapping[_Source, tuple[DataHeld, NodeId]],
) -> str:
    """Why the job can never have its data; empty = it may."""
    for name in versions:
        if (source := _Source(name, job.record.owner)) in failed:
            held, node = failed[source]
            if held.asked >= job.id:
                return f"{name} cannot be read on {node}: {held.detail}"
    return ""


# --- Nodes --------------------------------------------------------------------------------


def _has_cache(node: NodeNow) -> bool:
    """Whether it may be sent a list."""
    return node.is_reachable and (node.data.limit_bytes is not None or bool(node.data.error))


def _pinned(state: State, node: NodeNow, wanted: _Wanted) -> NodeStage:
    """The node with a list of what its tasks read."""
    data = node.data
    one = NodeStage(
        room_bytes=data.limit_bytes or 0,
        most=MAX_HELD,
    )
    for attempt in node.attempts.values():
        job = attempt.gang.job
        if job.spec.data.datasets:
            versions = reads_of(state.data, job.spec).versions
            wanted.add(job, versions)
            one.versions.update(dict.fromkeys(versions))
    return one


def _staged(
    state: State, groups: Sequence[_Group], stages: dict[NodeId, NodeStage], now: Now
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
    state: State, trial: Trial, group: _Group, stages: dict[NodeId, NodeStage]
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
    places = []
    for at in sorted({*ranked.tolist(), *has_it}):
        node = state.nodes[trial.snapshot.nodes[at].node]
        if able[at] and _has_cache(node) and not node.data.error:
            stages.setdefault(node.id, NodeStage(node.data.limit_bytes or 0, most=MAX_HELD))
            slots = max(1, int(free[at]) // max(1, key.shape.gpus)) if fits[at] else 0
            places.append(Place(node.id, slots, int(free[at])))
    tasks = key.shape.nodes * sum(map(state.work.may_start, group.jobs))
    return Staged(tuple(group.versions), key.shape.nodes, tasks, places)


# --- Gates --------------------------------------------------------------------------------


def _note_gate(
    state: State, group: _Group, places: Sequence[Place], chosen: Sequence[NodeId]
) -> None:
    """Bars the jobs until enough of their nodes have all of their data."""
    ready = sum(state.nodes[place.node].data.has_all(group.manifests) for place in places)
    is_ready = ready >= group.key.shape.nodes
    why = "" if is_ready else _why(state, group, places, chosen)
    for job in group.jobs:
        if bool(why) != bool(job.unstaged):
            job.unstaged = why
            state.work.requeue(job)
            state.wants_plan = True
        job.unstaged = why


def _why(state: State, group: _Group, places: Sequence[Place], chosen: Sequence[NodeId]) -> str:
    if not chosen:
        return _no_room(state, group, places)
    texts: dict[str, None] = {}
    for name, version in group.versions.items():
        for node in chosen:
            data = state.nodes[node].data
            if not data.is_ready(version.sha256):
                texts[_progress(name, node, data.held.get(version.sha256))] = None
    more = f"; and {len(texts) - NAMED} more" if len(texts) > NAMED else ""
    return "; ".join([*texts][:NAMED]) + more


def _progress(name: str, node: NodeId, held: DataHeld | None) -> str:
    if held is not None and held.state in ("waiting", "failed") and held.detail:
        return f"{name} is not on {node} yet: {held.detail}"
    done = 0.0 if held is None or not held.total_bytes else held.done_bytes / held.total_bytes
    return f"fetching {name}: {int(100 * done)} % on {node}"


def _no_room(state: State, group: _Group, places: Sequence[Place]) -> str:
    names = listed(list(group.versions))
    size = about_size(sum(version.bytes for version in group.versions.values()))
    errors = sorted({node.data.error for node in state.nodes.values() if node.data.error})
    if places:
        return f"no node has room for {names} ({size}) beside data in use"
    if errors:
        return f"no node can hold {names}: {errors[0]}"
    nodes = counted(group.key.shape.nodes, "node")
    return f"waits for {nodes} that can hold {names} ({size})"


# --- Lists --------------------------------------------------------------------------------


def drop_copies(state: State, manifest_sha256: str) -> None:
    """Has a version that was removed leave the caches of nodes, unless another has its content."""
    for node in state.nodes.values():
        if manifest_sha256 in node.data.held:
            state.holding[node.id] = None
    state.wants_staging = True


def _send(
    state: State,
    node: NodeNow,
    versions: tuple[str, ...],
    wanted: _Wanted,
    live: frozenset[str],
    now: Now,
) -> None:
    """Sends the node its list, if that has changed."""
    data = node.data
    contents = dict.fromkeys(wanted.versions[name].sha256 for name in versions)
    to_hold = tuple(_to_hold(state, node, sha256, wanted) for sha256 in contents)
    drop = tuple(sorted(data.held.keys() - live)[:MAX_HELD])
    if to_hold or drop:
        state.holding[node.id] = None
    else:
        state.holding.pop(node.id, None)
    if (to_hold, drop) == (data.listed, data.dropped):
        return
    data.send(to_hold, drop)
    command_outbox.order_data(state, node, to_hold, drop, now)


LISTINGS = 2**28
"""Of one run at most; the epoch tells apart those of other runs."""


def _listing(state: State, node: NodeNow, manifest_sha256: str) -> int:
    if not (listing := node.data.listing(manifest_sha256)):
        state.listings += 1
        listing = state.epoch * LISTINGS + state.listings
    return listing


def _to_hold(state: State, node: NodeNow, sha256: str, wanted: _Wanted) -> DataToHold:
    source = _chosen(node.data, sha256, list(wanted.sources[sha256]))
    version, site = wanted.versions[source.version], state.site
    record = state.data.sets[version.name]
    return DataToHold(
        manifest_sha256=sha256,
        name=version.name,
        number=version.number,
        bytes=version.bytes,
        store=record.store,
        endpoint=site.data.endpoint,
        region=site.data.region,
        account=account_of(site.run_as, source.user) or "",
        user=source.user,
        secret=record.secret,
        asked=wanted.sources[sha256][source],
        listing=_listing(state, node, sha256),
    )


def _chosen(data: NodeData, sha256: str, sources: Sequence[_Source]) -> _Source:
    """The source that the node uses already, until it has tried that without success: then the
    next one, so that no user and no store keeps from others what these could fetch."""
    listed = next((one for one in data.listed or () if one.manifest_sha256 == sha256), None)
    if listed is None or _source(listed) not in sources:
        return sources[0]
    at, held = sources.index(_source(listed)), data.held.get(sha256)
    is_tried = held is not None and _is_about(held, listed) and bool(held.detail)
    return sources[(at + is_tried) % len(sources)]
