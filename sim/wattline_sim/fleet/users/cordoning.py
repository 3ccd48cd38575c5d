"""Operators cordon and uncordon single GPUs at any time, and truth watches what that does.

Half of all sites have it; there a GPU that does not answer has no name for an agent that has just
started. Its dice are its own, so that a site without it runs exactly as it would if there was none.
"""

import random
from collections.abc import Callable, Mapping, Sequence

from wattline_protocol.ids import GpuIndex, NodeId
from wattline_protocol.wire.client_messages import Request
from wattline_protocol.wire.nodes.acts import Cordon, Uncordon
from wattline_scheduler.core.model.events import ClientRequest, Event
from wattline_scheduler.records import ActRecord, AttemptRecord, GangRecord, NodeRecord, Record
from wattline_sim.fleet.disk import Key, key_of
from wattline_sim.fleet.hardware import uuid_of
from wattline_sim.fleet.machine import Machine
from wattline_sim.fleet.story import Story
from wattline_sim.fleet.world import World

SITES_SHARE = 0.5
MEAN_S = 5.0
LONGEST_S = 30.0
BY_UUID_SHARE, UNCORDONED_SHARE = 0.5, 0.8

Order = Callable[[Request], None]
Records = Mapping[Key, Record]


class CordonIgnored(AssertionError):
    """A task was placed on a cordoned GPU, a cordon ended by itself, or it ended or paused work."""


class Cordoning:
    """What operators of one site do about single GPUs."""

    def __init__(
        self, world: World, story: Story, machines: Mapping[NodeId, Machine], dice: random.Random
    ) -> None:
        self._world, self._story, self._machines, self._dice = world, story, machines, dice
        self._is_wanted = dice.random() < SITES_SHARE
        self._ever: set[tuple[NodeId, str]] = set()
        for machine in machines.values() if self._is_wanted else ():
            machine.names_silent = False

    def begin(self, order: Order, is_over: Callable[[], bool]) -> None:
        """Until it is over, cordon one now and then; most are uncordoned later."""
        if not self._is_wanted:
            return

        def again() -> None:
            if is_over():
                return
            self._cordon(order)
            self._world.after(self._dice.expovariate(1.0 / MEAN_S), again)

        self._world.after(self._dice.expovariate(1.0 / MEAN_S), again)

    def ended(self) -> list[Request]:
        """What uncordons all; for a site that is to settle."""
        return [Uncordon(node, uuid) for node, uuid in sorted(self._ever)]

    def _cordon(self, order: Order) -> None:
        dice, node = self._dice, self._dice.choice(sorted(self._machines))
        index = dice.choice(sorted(self._machines[node].gpus))
        uuid = uuid_of(node, index)
        self._ever.add((node, uuid))
        order(Cordon(node, uuid if dice.random() < BY_UUID_SHARE else str(index), "fault"))
        self._story.fault(self._world.now_s, "cordon", f"{node} GPU {index}")
        if dice.random() < UNCORDONED_SHARE:
            later_s = dice.uniform(0.5, LONGEST_S)
            self._world.after(later_s, lambda: order(Uncordon(node, uuid)))


def check_cordons(before: Records, written: Sequence[Record], handled: Sequence[Event]) -> None:
    """Raise if a transaction breaks a rule of cordons.

    `before`: what was on disk until then. `handled`: the events of the transaction; it plans after
    all of them, so that what it leaves cordoned was so when it placed tasks.
    """
    nodes = {record.node: record for record in written if isinstance(record, NodeRecord)}
    for record in written:
        if isinstance(record, AttemptRecord) and key_of(record) not in before:
            _check_start(record, nodes.get(record.node) or _node(before, record.node))
    for node in nodes.values():
        _check_kept(_node(before, node.node), node, written)
    if len(handled) == 1 and _is_cordon(handled[0]):
        _check_work_goes_on(before, written)


def cordoned(node: NodeRecord | None) -> frozenset[str]:
    """UUIDs on record as cordoned."""
    return frozenset(one.uuid for one in node.cordons) if node is not None else frozenset()


def _node(records: Records, node: NodeId) -> NodeRecord | None:
    record = records.get(("NodeRecord", (node,)))
    return record if isinstance(record, NodeRecord) else None


def _check_start(attempt: AttemptRecord, node: NodeRecord | None) -> None:
    on = cordoned(node)
    taken: list[GpuIndex] = [i for i in attempt.gpus if uuid_of(attempt.node, i) in on]
    if taken:
        raise CordonIgnored(f"{attempt.ref} was placed on cordoned GPUs {taken} of {attempt.node}")


def _check_kept(old: NodeRecord | None, new: NodeRecord, written: Sequence[Record]) -> None:
    """No GPU of this simulation is ever replaced: only operators end a cordon."""
    acts = [r.event for r in written if isinstance(r, ActRecord)]
    lost = cordoned(old) - cordoned(new)
    if lost and not any(a.kind == "gpu_uncordoned" and a.node == new.node for a in acts):
        raise CordonIgnored(
            f"{sorted(lost)} of {new.node} are no longer cordoned, and no operator uncordoned them"
        )


def _is_cordon(event: Event) -> bool:
    return isinstance(event, ClientRequest) and isinstance(event.request, Cordon)


def _check_work_goes_on(before: Records, written: Sequence[Record]) -> None:
    """What a plan of the same transaction preempts is another matter."""
    for record in written:
        old = before.get(key_of(record))
        if not isinstance(record, GangRecord) or not isinstance(old, GangRecord):
            continue
        is_live = old.phase in ("starting", "running", "paused")
        if is_live and record.phase != old.phase and record.cause != "preempted":
            raise CordonIgnored(f"a cordon alone turned {old} into {record}")
