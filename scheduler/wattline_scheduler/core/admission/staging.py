"""Which nodes fetch which versions of data sets, for pending jobs in queue order. Pure.

A gang starts only on nodes that have its data, so its nodes are chosen before its GPUs are free.
Nodes where it would fit now are preferred, and of those the ones that have its data or fetch it.
A node continues a fetch when other jobs take its GPUs: else a large version might never arrive
anywhere. A job may therefore have up to `SPARE` times the nodes that it needs, and no more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from wattline_protocol.ids import NodeId

SPARE = 2
"""Nodes that may fetch for a job, as a multiple of those that it needs."""

MOST_NODES = 64
"""Nodes that fetch at a time for many small gangs."""


class Place(NamedTuple):
    """A node on which a job may start once it has its data."""

    node: NodeId
    slots: int
    """Tasks of the job that would fit there now; 0 = none yet."""
    free_gpus: int


class Staged(NamedTuple):
    """Pending jobs that read the same data and may start on the same nodes."""

    versions: tuple[str, ...]
    nodes: int
    """That one gang needs."""
    tasks: int
    """Of all their gangs that may start."""
    places: Sequence[Place]
    """In the order of the site file."""


@dataclass(slots=True)
class NodeStage:
    """What a node has, and has room for."""

    room_bytes: int
    """Of its cache, for versions on its list."""
    ready: frozenset[str] = frozenset()
    listed: frozenset[str] = frozenset()
    """On its list so far: it fetches them, or has them."""
    most: int = 256
    versions: dict[str, None] = field(default_factory=dict)
    """Its new list, in order; begins with what its tasks use."""

    def take(self, versions: Sequence[str], sizes: Mapping[str, int]) -> bool:
        """Add versions to its list, all or none."""
        new = [version for version in versions if version not in self.versions]
        size = sum(sizes[version] for version in (*self.versions, *new))
        if size > self.room_bytes or len(self.versions) + len(new) > self.most:
            return False
        self.versions.update(dict.fromkeys(new))
        return True


def stage(
    jobs: Sequence[Staged], nodes: Mapping[NodeId, NodeStage], sizes: Mapping[str, int]
) -> list[list[NodeId]]:
    """Nodes that hold or fetch the data of each; adds it to the lists of these nodes.

    `sizes`: bytes of each version. There are none where no node has room.
    """
    return [_stage_one(job, nodes, sizes) for job in jobs]


def _stage_one(
    job: Staged, nodes: Mapping[NodeId, NodeStage], sizes: Mapping[str, int]
) -> list[NodeId]:
    wanted = set(job.versions)

    def worth(place: Place) -> tuple[bool, bool, bool, int]:
        node = nodes[place.node]
        is_ready, is_listed = wanted <= node.ready, wanted <= node.ready | node.listed
        return bool(place.slots), is_ready, is_listed, place.free_gpus

    ranked = sorted(job.places, key=worth, reverse=True)  # stable: else as in the site file
    begun = [place for place in ranked if wanted <= nodes[place.node].listed]
    chosen: dict[NodeId, None] = {}
    slots = 0
    for place in begun[: SPARE * job.nodes]:
        if nodes[place.node].take(job.versions, sizes):
            chosen[place.node] = None
            slots += place.slots
    for place in ranked:
        has_enough = slots >= job.tasks or not place.slots
        if (len(chosen) >= job.nodes and has_enough) or len(chosen) >= _most(job):
            break
        if place.node not in chosen and nodes[place.node].take(job.versions, sizes):
            chosen[place.node] = None
            slots += place.slots
    return list(chosen)


def _most(job: Staged) -> int:
    """Nodes for one gang and its spare ones; more gangs may use more."""
    return max(SPARE * job.nodes, min(job.tasks, MOST_NODES))
