"""Agents that lie: every field of what they say, drawn at random, and messages nobody asked for.

A liar sits on the wire of one node: what its agent says is changed on its way, and lies of other
kinds are put beside it. Its host may also take all the watts there are. What a liar does to its own
node is its own: its books follow its words until its key is quarantined. Nobody else may suffer.
"""

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import msgspec

from wattline_protocol.ids import Epoch, GpuIndex, NodeId, Sequence, TaskRef
from wattline_protocol.wire.agent_messages import (
    Adopted,
    Beat,
    CommandDone,
    FromAgent,
    GpuInfo,
    Hello,
    LeaseAck,
    LeaseRefused,
    TaskExit,
    TaskPhase,
    TaskReport,
    TaskUpdate,
    TaskUsage,
)
from wattline_scheduler.records import NodeRecord, Record
from wattline_sim.fleet.agent_shell import FROM_AGENT, SCHEDULER
from wattline_sim.fleet.machine import Machine
from wattline_sim.fleet.network import Network
from wattline_sim.fleet.world import World

W = 1000
LIES_ON_S = 150.0
"""Half of all liars go on so long after everything else was healed."""
MORE_LIES_S = 2.0
GRAB_S = 0.5
CAUGHT_WITHIN_S = 60.0
"""A key that contradicts at all often is quarantined by then."""
MOST_STOPPED = 0.2


@dataclass(slots=True)
class Liar:
    """Which lies one of them tells, and how often."""

    node: NodeId
    share: float
    """Of its messages that are changed."""
    kinds: tuple[str, ...]
    grabs: bool
    """Its GPUs' limits are raised all the time."""


class GrowthStopped(AssertionError):
    """One agent's lies keep all others of its domains from growing, and nothing else is wrong."""


Lie = Callable[["Lying", FromAgent], FromAgent]


class Lying:
    """All liars of a site."""

    def __init__(
        self,
        world: World,
        network: Network,
        machines: Mapping[NodeId, Machine],
        dice: random.Random,
    ) -> None:
        self._world, self._network, self._machines, self._dice = world, network, machines, dice
        self.now: dict[NodeId, Liar] = {}
        self.ever: set[NodeId] = set()
        """Those whose words were not theirs at some time: what runs there is not to be known."""
        self._untrusted: set[NodeId] = set()
        """Those of which the books may still follow a lie."""
        self._quarantined: set[NodeId] = set()
        """As on disk: from then on the books must cover what they really draw."""
        self._refs: list[TaskRef] = []
        self._last: dict[NodeId, Beat] = {}
        network.on_send = self._on_its_way

    def lies(self, node: NodeId) -> bool:
        """Its key is still in wrong hands."""
        return node in self.now

    def is_trusted(self, node: NodeId) -> bool:
        """The books may be held against this host: they rest on no lie, or on none any more."""
        return node not in self._untrusted or node in self._quarantined

    def saw(self, records: Iterable[Record]) -> None:
        """What is on disk of nodes."""
        for record in records:
            if isinstance(record, NodeRecord):
                put = self._quarantined.add if record.is_quarantined else self._quarantined.discard
                put(record.node)

    def adopted(self, node: NodeId) -> None:
        """An agent that does not lie has said what it holds."""
        if node not in self.now:
            self._untrusted.discard(node)

    def begin(self, node: NodeId) -> str:
        """This one lies from now on."""
        if node in self.now:
            return f"{node} does already"
        share = self._dice.choice([0.02, 0.2, 1.0])
        count = self._dice.randint(1, len(LIES))
        kinds = tuple(self._dice.sample(sorted(LIES), count))
        liar = Liar(node, share, kinds, self._dice.random() < 0.5)
        self.now[node] = liar
        self.ever.add(node)
        self._untrusted.add(node)
        self._more(liar)
        if liar.grabs:
            self._grab(liar)
        return f"{node} by {', '.join(kinds)} in {share:.0%}" + (", and grabs" * liar.grabs)

    def end(self, node: NodeId) -> None:
        """It says what is so again."""
        self.now.pop(node, None)

    def _on_its_way(self, source: str, target: str, data: bytes) -> bytes:
        liar = self.now.get(NodeId(source))
        if target != SCHEDULER:
            return data
        message: FromAgent = FROM_AGENT.decode(data)
        if isinstance(message, Beat):
            self._last[NodeId(source)] = message
            self._refs = [*self._refs, *(r.ref for r in message.tasks)][-32:]
        if liar is None or self._dice.random() >= liar.share:
            return data
        lie: Lie = LIES[self._dice.choice(liar.kinds)]
        return FROM_AGENT.encode(lie(self, message))

    def _more(self, liar: Liar) -> None:
        """Messages that its agent never sent."""
        if self.now.get(liar.node) is not liar:
            return
        beat = self._last.get(liar.node)
        if beat is not None:
            made = self._invented(beat)
            self._network.send(liar.node, SCHEDULER, FROM_AGENT.encode(made))
        self._world.after(self._dice.expovariate(1 / MORE_LIES_S), lambda: self._more(liar))

    def _invented(self, beat: Beat) -> FromAgent:
        epoch, incarnation, seq = beat.epoch, beat.incarnation, beat.lease_seq
        some = Sequence(max(0, seq + self._dice.randint(-2, 3)))
        kind = self._dice.randrange(4)
        if kind == 0:
            return LeaseAck(epoch, incarnation, some, self.watts(), ())
        if kind == 1:
            return LeaseRefused(epoch, incarnation, some, self.watts(), "no")
        if kind == 2:
            return CommandDone(epoch, incarnation, some, self._dice.choice(["done", "refused"]))
        return TaskUpdate(epoch, incarnation, self.report())

    def _grab(self, liar: Liar) -> None:
        if self.now.get(liar.node) is not liar:
            return
        for gpu in self._machines[liar.node].gpus.values():
            self._machines[liar.node].raise_limit(gpu)
        self._world.after(GRAB_S, lambda: self._grab(liar))

    def watch_growth(self, is_stopped: Callable[[], bool], for_s: float) -> None:
        """Nothing else is wrong any more: raise if liars stop growth for long."""
        ends_s, looks = self._world.now_s + for_s, [0, 0]

        def look() -> None:
            looks[0] += 1
            looks[1] += is_stopped()
            if self._world.now_s < ends_s:
                self._world.after(1.0, look)
            elif self.now and looks[1] > looks[0] * MOST_STOPPED:
                raise GrowthStopped(f"stopped in {looks[1]} of {looks[0]} s by {sorted(self.now)}")

        self._world.after(CAUGHT_WITHIN_S, look)

    # --- what they say ------------------------------------------------------------------

    def watts(self) -> int:
        """Milliwatts of any size that the wire lets through."""
        return self._dice.choice([0, 1, 2_000 * W, 4_000 * W, 6_000 * W, 20_000 * W, 10**10])

    def report(self) -> TaskReport:
        """Of its own, of others, or of what never was."""
        if self._refs and self._dice.random() < 0.8:
            ref = self._dice.choice(self._refs)
        else:
            ref = TaskRef(*(self._dice.randint(1, 9) for _ in range(3)))  # type: ignore[arg-type]
        phases: list[TaskPhase] = ["running", "paused", "ended", "starting"]
        phase = self._dice.choice(phases)
        end = TaskExit("exited", code=self._dice.randint(0, 1)) if phase == "ended" else None
        usage = TaskUsage(run_s=self._dice.choice([0.0, 5.0, 1e6]))
        return TaskReport(ref, phase, (GpuIndex(0),), exit=end, usage=usage)

    def of_holding(self, message: FromAgent) -> FromAgent:
        """How much it is held at."""
        if isinstance(message, Beat | Adopted):
            return msgspec.structs.replace(message, holding_mw=self.watts())
        return message

    def of_leases(self, message: FromAgent) -> FromAgent:
        """Which lease it holds, or acknowledges."""
        if isinstance(message, Beat):
            seq = Sequence(message.lease_seq + self._dice.choice([-1, 1, 1000]))
            return msgspec.structs.replace(message, lease_seq=max(Sequence(0), seq))
        if isinstance(message, LeaseAck):
            return msgspec.structs.replace(message, lease_mw=self.watts())
        return message

    def of_hardware(self, message: FromAgent) -> FromAgent:
        """What its GPUs are and can do."""
        if not isinstance(message, Hello):
            return message
        return msgspec.structs.replace(message, gpus=tuple(map(self._other, message.gpus)))

    def _other(self, gpu: GpuInfo) -> GpuInfo:
        field = self._dice.choice(["cap_min_mw", "cap_max_mw", "idle_mw"])
        other: GpuInfo = msgspec.structs.replace(gpu, **{field: self.watts()})
        flags = {name: self._dice.random() < 0.5 for name in ("can_cap", "managed", "raised")}
        return msgspec.structs.replace(other, **flags)

    def of_epochs(self, message: FromAgent) -> FromAgent:
        """Whom it has met."""
        if isinstance(message, Hello):
            epoch = Epoch(message.epoch_seen + self._dice.choice([1, 1000]))
            return msgspec.structs.replace(message, epoch_seen=epoch)
        return message

    def of_draw(self, message: FromAgent) -> FromAgent:
        """What it draws, and which GPUs idle."""
        if not isinstance(message, Beat):
            return message
        samples = tuple(
            msgspec.structs.replace(
                sample,
                power_mw=self._dice.choice([None, 0, 700 * W, 10**10]),
                cap_mw=self.watts(),
                is_idle=self._dice.random() < 0.5,
                lost=self._dice.random() < 0.1,
            )
            for sample in message.gpus
        )
        node_mw, rest_mw = self.watts(), self._dice.choice([None, 0, 10**10])
        return msgspec.structs.replace(message, gpus=samples, node_mw=node_mw, non_gpu_mw=rest_mw)

    def of_tasks(self, message: FromAgent) -> FromAgent:
        """What runs there."""
        if isinstance(message, Beat | Adopted):
            made = tuple(self.report() for _ in range(self._dice.randint(0, 3)))
            return msgspec.structs.replace(message, tasks=made)
        return message


LIES: Mapping[str, Lie] = {
    "holding": Lying.of_holding,
    "leases": Lying.of_leases,
    "hardware": Lying.of_hardware,
    "epochs": Lying.of_epochs,
    "draw": Lying.of_draw,
    "tasks": Lying.of_tasks,
}
