"""Processes that raise power caps, and for how long their watts may go uncounted.

No agent can prevent that a root process sets another limit, so an instant above the books is no
broken rule. It is one when it goes on: once a raiser has been at work for `ALLOWED_S` in which
nothing else was wrong (agent, driver, network and scheduler all answer), the books must cover what
it can make the GPU draw. Whatever disturbs them starts the count again, with time for a Hello. So
does a raise after a while in which there was none to see: an agent leaves a raised limit that its
lease allows where a BMC holds a lower one (a write could lift that), and a loop that writes the
limit in force changes nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from wattline_protocol.ids import GpuIndex, NodeId, TaskRef
from wattline_protocol.wire.agent_messages import ExitKind
from wattline_sim.fleet.machine import Gpu, Machine, Process
from wattline_sim.fleet.world import World

ALLOWED_S = 5.0
"""Two raises, a look between samples, and a Hello: about 2 s where nothing is lost."""
HELLO_AGAIN_S = 12.0
"""An agent whose Hello was lost says it again after up to 10 s (and reads its caps back)."""
QUIET_S = 60.0
"""A GPU is left alone for so long between two raisers: its agent counts it afresh by then."""
WATCH_S = 0.1
PERIODS_S = (0.05, 0.1, 0.45, 1.3)
BURST_S = 2.5
"""Raises further apart are no loop: an agent that set each back has seen only one of late."""


class KilledInnocent(AssertionError):
    """A task was killed for a raised cap that it had no rights to raise."""


@dataclass(slots=True)
class Raiser:
    """One process that raises the caps of one GPU again and again."""

    gpu: Gpu
    process: Process | None
    """The task that does it; None = some other process of the host."""
    ends_s: float
    period_s: float
    known_s: float = 0.0
    """Undisturbed seconds of its work; below 0 while a Hello may be under way."""
    counted_s: float = 0.0
    last_s: float = 0.0
    """When a limit was last above the agent's by it."""
    seen_s: float = 0.0
    """When its agent could last see it at work: a limit rose, or was raised above the books."""

    @property
    def is_raised(self) -> bool:
        """The limit is not the agent's."""
        return self.gpu.own_mw < self.gpu.limit_mw

    def is_done(self, now_s: float) -> bool:
        return now_s >= self.ends_s or (self.process is not None and self.process.exit is not None)


class Raising:
    """All raisers of a site."""

    def __init__(
        self,
        world: World,
        machines: Mapping[NodeId, Machine],
        is_disturbed: Callable[[NodeId, Gpu], bool],
        is_covered: Callable[[NodeId], bool],
    ) -> None:
        self._world, self._machines = world, machines
        self._is_disturbed, self._is_covered = is_disturbed, is_covered
        self._raisers: dict[tuple[NodeId, GpuIndex], Raiser] = {}
        for machine in machines.values():
            machine.on_kill = self._killed

    def by_task(self, machine: Machine, for_s: float) -> str:
        """A task that runs as root begins; it raises the caps of all its GPUs."""
        running = [p for p in machine.living() if p.is_running and p.order.gpus]
        if not running:
            return f"nobody: nothing runs on {machine.node}"
        process = self._world.rng.choice(running)
        process.is_privileged = True
        for index in process.order.gpus:
            self._begin(machine, machine.gpus[index], process, for_s)
        return f"{process.order.ref} on {machine.node}"

    def by_stranger(self, machine: Machine, gpu: Gpu, for_s: float) -> str:
        """Some other process of the host begins."""
        self._begin(machine, gpu, None, for_s)
        return f"{machine.node} GPU {gpu.index}"

    def _begin(self, machine: Machine, gpu: Gpu, process: Process | None, for_s: float) -> None:
        key, now_s = (machine.node, gpu.index), self._world.now_s
        known = self._raisers.get(key)
        if known is not None and not (known.is_done(now_s) and now_s - known.last_s > QUIET_S):
            return
        period_s = self._world.rng.choice(PERIODS_S)
        raiser = Raiser(
            gpu, process, now_s + for_s, period_s, counted_s=now_s, last_s=now_s, seen_s=now_s
        )
        self._raisers[key] = raiser
        self._raise(machine, raiser)
        self._watch(machine.node, raiser)

    def _raise(self, machine: Machine, raiser: Raiser) -> None:
        now_s = self._world.now_s
        if raiser.is_done(now_s):
            return
        is_running = raiser.process is None or raiser.process.is_running
        was_raised = raiser.is_raised
        if is_running and machine.raise_limit(raiser.gpu) and raiser.is_raised:
            raiser.last_s = now_s
            if not was_raised:
                self._rose(raiser)
        spread = self._world.rng.uniform(0.7, 1.3)
        self._world.after(raiser.period_s * spread, lambda: self._raise(machine, raiser))

    def _rose(self, raiser: Raiser) -> None:
        now_s = self._world.now_s
        if now_s - raiser.seen_s > BURST_S:
            raiser.known_s = min(raiser.known_s, 0.0)
        raiser.seen_s = now_s

    def _watch(self, node: NodeId, raiser: Raiser) -> None:
        """Count what disturbs it, however short."""
        self._count(node, raiser)
        if not raiser.is_done(self._world.now_s):
            self._world.after(WATCH_S, lambda: self._watch(node, raiser))

    def excused(self, node: NodeId) -> set[GpuIndex]:
        """GPUs of the node that somebody raises, where the books need not know of it yet."""
        found: set[GpuIndex] = set()
        for (name, index), raiser in self._raisers.items():
            if name == node:
                self._count(node, raiser)
                if raiser.known_s <= ALLOWED_S:
                    found.add(index)
        return found

    def is_busy(self, node: NodeId) -> bool:
        """Somebody raises caps there, or did not long ago."""
        newest_s = (r.last_s for (name, _), r in self._raisers.items() if name == node)
        return any(self._world.now_s - last_s < QUIET_S for last_s in newest_s)

    def disturb(self, node: NodeId) -> None:
        """What its agent knew is gone."""
        for (name, _), raiser in self._raisers.items():
            if name == node:
                raiser.known_s = -HELLO_AGAIN_S

    def _count(self, node: NodeId, raiser: Raiser) -> None:
        now_s = self._world.now_s
        if self._is_disturbed(node, raiser.gpu):
            raiser.known_s = -HELLO_AGAIN_S
        else:
            raiser.known_s += now_s - raiser.counted_s
        raiser.counted_s = now_s
        if raiser.is_raised and not self._is_covered(node):
            raiser.seen_s = now_s

    def _killed(self, ref: TaskRef, kind: ExitKind) -> None:
        for machine in self._machines.values():
            process = machine.processes.get(ref)
            is_innocent = process is not None and not process.is_privileged
            if kind == "cap_raised" and is_innocent:
                raise KilledInnocent(f"{ref} on {machine.node} had no rights to raise a cap")
