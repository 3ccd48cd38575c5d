"""The hosts' BMCs: they switch off what they are told to, mostly, and tell what they see.

Half of all sites have them. Their dice are their own, so that a site without them runs exactly as
it would if there were none.
"""

import random
from collections.abc import Callable, Mapping

import msgspec

from wattline_protocol.ids import Instant, NodeId
from wattline_protocol.site.model import Site
from wattline_protocol.site.out_of_band import OffByCommand, OutOfBand
from wattline_protocol.wire.client_messages import DeclareOff
from wattline_scheduler.core.model.effects import ActOutOfBand
from wattline_scheduler.core.model.events import OutOfBandDone
from wattline_scheduler.core.model.power_off_attempts import Purpose
from wattline_sim.fleet.fencing import Lie
from wattline_sim.fleet.machine import Machine
from wattline_sim.fleet.story import Story
from wattline_sim.fleet.world import World

WAY = OutOfBand(OffByCommand(("status",), ("off",)), timeout_s=5.0)
SITES_SHARE, NODES_SHARE = 0.5, 0.8
DEAD_SHARE, DEAF_SHARE, MUTE_SHARE, LATE_SHARE = 0.1, 0.15, 0.15, 0.3
"""Of tries: nothing is done or said; the host stays on; it goes off and that is not told; what is
told comes late."""

TEMPT_MEAN_S = 8.0
POWER_OFF_SHARE = 0.7

Cut = Callable[[NodeId, float], None]
Done = Callable[[OutOfBandDone], None]


class Switches:
    """All BMCs of a site. `cut` takes the power from a host for so many seconds."""

    def __init__(
        self,
        world: World,
        story: Story,
        site: Site,
        machines: Mapping[NodeId, Machine],
        rng: random.Random,
        cut: Cut,
    ) -> None:
        self._world, self._story, self._machines = world, story, machines
        self._rng, self._cut = rng, cut
        self._ways = {node.id: node.out_of_band for node in site.nodes}
        self.lies: Mapping[NodeId, Lie] = {}
        """BMCs that lie about the power of their hosts, to the scheduler's checks and fences."""
        self.purpose_of: Callable[[ActOutOfBand], Purpose] = lambda _: "operator"

    def tempt(self, ask: Callable[[DeclareOff], None], is_over: Callable[[], bool]) -> None:
        """Until it is over, operators want hosts off at any time; whoever is at work is left."""
        with_bmc = sorted(node for node, way in self._ways.items() if way is not None)
        if not with_bmc:
            return

        def again() -> None:
            if is_over():
                return
            node = self._rng.choice(with_bmc)
            if self._machines[node].is_up:
                self._story.fault(self._world.now_s, "off by operator", node)
                ask(DeclareOff(node, power_off=self._rng.random() < POWER_OFF_SHARE))
            self._world.after(self._rng.expovariate(1.0 / TEMPT_MEAN_S), again)

        self._world.after(self._rng.expovariate(1.0 / TEMPT_MEAN_S), again)

    def act(self, order: ActOutOfBand, mono_s: Callable[[], Instant], done: Done) -> None:
        """Carry out an order; `mono_s`: the clock of whoever gave it."""
        rng, lie, purpose = self._rng, self.lies.get(order.node, ""), self.purpose_of(order)
        is_dead = rng.random() < DEAD_SHARE or (lie and purpose in ("budget", "operator"))
        if is_dead:  # for budgets and operators no word of a liar is worse than none
            self._tell(order, "its BMC is dead")
            return
        is_deaf, is_mute = rng.random() < DEAF_SHARE, rng.random() < MUTE_SHARE

        def strike() -> None:
            machine = self._machines[order.node]
            if machine.is_up and order.power_off and not is_deaf and lie != "says off":
                self._cut(order.node, rng.uniform(0.5, 12.0))
            says_on = lie == "says on" or (machine.is_up and lie != "says off")
            is_told = not says_on and not is_mute
            self._tell(order, "seen off" if is_told else f"not seen off, up = {machine.is_up}")
            event = OutOfBandDone(
                order.node,
                order.number,
                mono_s() if is_told else None,
                "no",
                is_on=says_on and not is_mute and not order.power_off,
            )
            late_s = 8.0 if rng.random() < LATE_SHARE else 0.5
            self._world.after(rng.uniform(0.0, late_s), lambda: done(event))

        self._world.after(rng.uniform(0.05, 2.0), strike)

    def _tell(self, order: ActOutOfBand, what: str) -> None:
        self._story.fault(self._world.now_s, "out of band", f"{order.node}: {what}")


def with_switches(site: Site, rng: random.Random) -> Site:
    """The site, with an out-of-band way to most of its hosts, or to none."""
    if rng.random() >= SITES_SHARE:
        return site
    nodes = (
        msgspec.structs.replace(node, out_of_band=WAY if rng.random() < NODES_SHARE else None)
        for node in site.nodes
    )
    return msgspec.structs.replace(site, nodes=tuple(nodes))
