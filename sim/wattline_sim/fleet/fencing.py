"""Fencing of silent nodes: which sites have it, which BMCs lie about it, and what must hold.

The checks use the records on disk, the network and the hosts, not the scheduler's choice.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec

from wattline_protocol.ids import NodeId
from wattline_protocol.site.model import Site
from wattline_scheduler.core.model.power_off_attempts import Purpose
from wattline_scheduler.records import AttemptRecord, JobRecord, NodeRecord, Record
from wattline_sim.fleet.disk import Key, key_of
from wattline_sim.fleet.world import World

SITES_SHARE, LIARS_SHARE, BY_HAND_SHARE = 0.7, 0.4, 0.15
"""Of sites with BMCs: those that fence. Of BMCs: those that lie, and those left to operators."""

LOOK_S, SOUND_S = 0.25, 2.0
"""A node whose agent works over a calm network for so long is not silent."""

SILENT_S = 4.0
"""Of a node of which nothing arrived for so long the scheduler has heard nothing for 2.5 beats."""

Lie = Literal["", "says off", "says on"]


class FencedWrongly(AssertionError):
    """A node was to be switched off for its silence though a rule forbids that."""


def with_fencing(site: Site, rng: random.Random) -> Site:
    """The site, with `fence_after` where it has BMCs, and some of these not automatic."""
    if not any(node.out_of_band for node in site.nodes) or rng.random() >= SITES_SHARE:
        return site
    after_s, most = rng.choice([5.0, 6.0, 10.0]), rng.choice([0, 0, 2])
    timing = msgspec.structs.replace(site.timing, fence_after_s=after_s, fence_max=most)
    nodes = []
    for node in site.nodes:
        way = node.out_of_band
        if way is not None and rng.random() < BY_HAND_SHARE:
            way = msgspec.structs.replace(way, is_automatic=False)
        nodes.append(msgspec.structs.replace(node, out_of_band=way))
    return msgspec.structs.replace(site, timing=timing, nodes=tuple(nodes))


def lying_bmcs(site: Site, rng: random.Random) -> Mapping[NodeId, Lie]:
    """What the BMC of each node says for ever about the power of its host; mostly the truth."""
    lies: tuple[Lie, ...] = ("says off", "says on")
    return {n.id: rng.choice(lies) if rng.random() < LIARS_SHARE else "" for n in site.nodes}


class Fencing:
    """Checks every order to fence; without `fence_after` there must be none."""

    def __init__(
        self,
        world: World,
        site: Site,
        is_sound: Callable[[NodeId], bool],
        silent_since_s: Callable[[NodeId], float | None],
        is_over: Callable[[], bool],
        dice: random.Random,
        lies: Mapping[NodeId, Lie],
    ) -> None:
        """`silent_since_s`: when anything of a node last reached a scheduler that ran; None: it
        cannot be said."""
        self._world, self._site, self._is_sound, self._is_over = world, site, is_sound, is_over
        self._silent_since_s, self._lies = silent_since_s, lies
        self.dice = dice
        """Those of the silences that its rules are for."""
        self._ways = {node.id: node.out_of_band for node in site.nodes}
        self._since_s: dict[NodeId, float] = {}
        """Since when each node is sound."""
        self.ordered = 0

    def begin(self) -> None:
        """Look at the nodes from now on."""
        if self._site.timing.fence_after_s:
            self._look()

    def _look(self) -> None:
        for node in self._ways:
            if not self._is_sound(node):
                self._since_s.pop(node, None)
            else:
                self._since_s.setdefault(node, self._world.now_s)
        if not self._is_over():
            self._world.after(LOOK_S, self._look)

    def check_commit(self, before: Mapping[Key, Record], written: Sequence[Record]) -> None:
        """Raise if a transaction orders a fence that a rule forbids."""
        nodes = [record for record in written if isinstance(record, NodeRecord)]
        for record in nodes:
            old = before.get(key_of(record))
            was = old.fence if isinstance(old, NodeRecord) else ""
            if record.fence == "ordered" and was != "ordered":
                self.ordered += 1
                self._check_new(record, before)
                self._check_count(before, nodes)

    def _check_new(self, record: NodeRecord, before: Mapping[Key, Record]) -> None:
        way = self._ways[record.node]
        if way is None or not way.is_automatic:
            raise FencedWrongly(f"{record.node} is left to operators")
        if self._lies.get(record.node) == "says off":
            raise FencedWrongly(f"the BMC of {record.node} says off whatever its host does")
        sound_s = self._world.now_s - self._since_s.get(record.node, self._world.now_s)
        if sound_s >= SOUND_S and self._is_sound(record.node):
            raise FencedWrongly(f"{record.node} has reported for {sound_s:.1f} s")
        if not any(self._may_go(job, before) for job in _jobs_on(record.node, before)):
            raise FencedWrongly(f"nothing on {record.node} could start elsewhere")

    def _may_go(self, job: JobRecord, before: Mapping[Key, Record]) -> bool:
        """Whether the other nodes that could be sound are as many as a gang of it needs."""
        off = {r.node for r in before.values() if isinstance(r, NodeRecord) and r.is_off}
        is_wanted = not job.cancelled_by and not job.is_held
        return is_wanted and len(self._ways) - 1 - len(off) >= job.spec.resources.least_nodes

    def _check_count(self, before: Mapping[Key, Record], nodes: Sequence[NodeRecord]) -> None:
        known = {r.node: r for r in before.values() if isinstance(r, NodeRecord)}
        known |= {record.node: record for record in nodes}
        away = sorted(name for name, r in known.items() if r.fence or self._is_silent(r))
        if len(away) > self._site.fence_max:
            raise FencedWrongly(f"{away} are silent or fenced, fence_max is {self._site.fence_max}")

    def _is_silent(self, record: NodeRecord) -> bool:
        since_s = self._silent_since_s(record.node)
        is_expected = not record.is_off and not record.is_quarantined
        return is_expected and since_s is not None and self._world.now_s - since_s > SILENT_S

    def check_order(self, node: NodeId, purpose: Purpose, on_disk: Mapping[Key, Record]) -> None:
        """Raise if the intent of an order is not on disk."""
        records = (r for r in on_disk.values() if isinstance(r, NodeRecord) and r.node == node)
        if purpose == "silence" and not any(record.fence == "ordered" for record in records):
            raise FencedWrongly(f"{node} is switched off, the intent is not on disk")


def _jobs_on(node: NodeId, before: Mapping[Key, Record]) -> list[JobRecord]:
    live = {
        record.job
        for record in before.values()
        if isinstance(record, AttemptRecord) and record.node == node and record.ended_unix_s is None
    }
    return [r for r in before.values() if isinstance(r, JobRecord) and r.id in live]
