"""The list of each node: which versions of data sets it is to hold, and from where it fetches them.

A content may have several sources: versions of several stores, and users that read one. A node uses
one at a time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from wattline_protocol.ids import NodeId, Now, UserName
from wattline_protocol.wire.agents.data_messages import (
    MAX_HELD,
    CheckpointsToStore,
    DataToHold,
    OutputToPublish,
)
from wattline_scheduler.core.lifecycle.data.copy_turns import taking_turns
from wattline_scheduler.core.model import command_outbox
from wattline_scheduler.core.model.data.node_data import NodeData
from wattline_scheduler.core.model.data.store_access import store_access
from wattline_scheduler.core.model.data.stored_checkpoints import (
    home_of,
    is_stored,
    job_of_checkpoints,
    part_of,
    to_store,
)
from wattline_scheduler.core.model.jobs.job import Job
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State
from wattline_scheduler.data_record import DataVersionRecord

LISTINGS = 2**28
"""Of one run at most; the epoch distinguishes those of other runs."""


class Source(NamedTuple):
    """The version and the user by which a content is fetched: versions of several stores may have
    the same content, and a store may refuse some of the users that read one."""

    version: str
    user: UserName


def source_of(one: DataToHold) -> Source:
    """The source that a list names."""
    return Source(one.reference, UserName(one.user))


@dataclass(slots=True)
class Wanted:
    """Versions of all jobs of one run."""

    versions: dict[str, DataVersionRecord] = field(default_factory=dict)
    sources: dict[str, dict[Source, int]] = field(default_factory=dict)
    """By manifest, in the order of jobs; with the number of the newest job that asks for each."""

    def add(self, job: Job, versions: Mapping[str, DataVersionRecord]) -> None:
        """Versions that a job reads."""
        for name, version in versions.items():
            self.versions.setdefault(name, version)
            asked = self.sources.setdefault(version.sha256, {})
            source = Source(name, job.record.owner)
            asked[source] = max(asked.get(source, 0), job.id)

    def names(self, manifests: Iterable[str]) -> frozenset[str]:
        """Versions that have these contents."""
        return frozenset(
            source.version for sha256 in manifests for source in self.sources.get(sha256, ())
        )


def drop_copies(state: State, manifest_sha256: str) -> None:
    """Has a version that was removed leave the caches of nodes, unless another has its content."""
    for node in state.nodes.values():
        if manifest_sha256 in node.data.held:
            state.holding[node.id] = None
    state.wants_staging = True


def send_list(
    state: State,
    node: NodeNow,
    versions: Sequence[str],
    wanted: Wanted,
    outputs: tuple[OutputToPublish, ...],
    copied: tuple[CheckpointsToStore, ...],
    now: Now,
) -> None:
    """Sends the node its lists, if they have changed."""
    data = node.data
    contents = dict.fromkeys(wanted.versions[name].sha256 for name in versions)
    to_hold = tuple(_to_hold(state, node, sha256, wanted) for sha256 in contents)
    drop = tuple(sorted(data.held.keys() - state.data.of_manifest.keys() - wanted.sources.keys()))
    lists = (to_hold, drop[:MAX_HELD], outputs, copied)
    if any(lists):
        state.holding[node.id] = None
    else:
        state.holding.pop(node.id, None)
    if lists == (data.listed, data.dropped, data.publishes, data.to_store):
        return
    data.send(*lists)
    command_outbox.order_data(state, node, *lists, now)


def copies_of(state: State, now: Now) -> dict[NodeId, tuple[CheckpointsToStore, ...]]:
    """Checkpoints that nodes copy into the store: of jobs that may save more, or have some that are
    not there yet."""
    found: dict[NodeId, list[Job]] = {}
    for job in list(state.work.keeping.values()):
        home = home_of(job.gangs[0])
        node = None if home is None else state.nodes.get(home.node)
        has_saved = job.gangs[0].checkpoint is not None
        if job.is_ended and (not has_saved or home is None or node is None):
            del state.work.keeping[job.id]
        elif home is None or node is None or not has_saved:
            continue
        elif job.is_ended and is_stored(node, job.id, home):
            del state.work.keeping[job.id]
        else:
            found.setdefault(node.id, []).append(job)
    return {name: _to_store(state, taking_turns(jobs, now)) for name, jobs in found.items()}


def _to_store(state: State, jobs: Sequence[Job]) -> tuple[CheckpointsToStore, ...]:
    homes = ((job, home_of(job.gangs[0])) for job in jobs)
    return tuple(to_store(state, job, home) for job, home in homes if home is not None)


def _listing(state: State, node: NodeNow, manifest_sha256: str) -> int:
    """The number under which it is on the list; a new one where it was not."""
    if (listed := node.data.on_list(manifest_sha256)) is not None:
        return listed.listing
    state.listings += 1
    return state.epoch * LISTINGS + state.listings


def _to_hold(state: State, node: NodeNow, sha256: str, wanted: Wanted) -> DataToHold:
    source = _chosen(node.data, sha256, list(wanted.sources[sha256]))
    version = wanted.versions[source.version]
    store, secret = _place(state, version)
    return DataToHold(
        manifest_sha256=sha256,
        name=version.name,
        number=version.number,
        bytes=version.bytes,
        asked=wanted.sources[sha256][source],
        listing=_listing(state, node, sha256),
        **store_access(state, store, source.user, secret),
    )


def _place(state: State, version: DataVersionRecord) -> tuple[str, str]:
    """Its store, and the secret that opens it."""
    record = state.data.sets.get(version.name)
    if record is not None:
        return record.store, record.secret
    job = state.work.jobs[job_of_checkpoints(version.name)]
    stored = job.gangs[0].resume.stored
    assert stored is not None, "its checkpoint is stored"  # noqa: S101 - the caller has checked
    part = part_of(state.site.data.store, job.record.owner, job.id, stored)
    return part, job.spec.data.store_secret


def _chosen(data: NodeData, sha256: str, sources: Sequence[Source]) -> Source:
    """The source that the node uses already, until it has tried that without success: then the
    next one, so that no user and no store keeps from others what these could fetch."""
    listed = data.on_list(sha256)
    if listed is None or source_of(listed) not in sources:
        return sources[0]
    held = data.report_of(listed)
    is_tried = held is not None and bool(held.detail)
    return sources[(sources.index(source_of(listed)) + is_tried) % len(sources)]
