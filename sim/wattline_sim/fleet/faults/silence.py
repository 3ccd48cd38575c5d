"""What fencing must tell apart, on sites that have it: one node is cut off, half the site is, a
host loses power without a declaration, a node returns while it is being fenced.

Its dice are its own, so that a site without fencing runs exactly as it would without this module.
"""

from typing import TYPE_CHECKING

from wattline_protocol.ids import NodeId
from wattline_sim.fleet.faults.network import cut_off

if TYPE_CHECKING:
    from wattline_sim.fleet.faults.schedule import Faults

MEAN_S = 10.0
BMC_S = 3.0
"""Within this most BMCs have done what they do."""


def begin(faults: "Faults") -> None:
    """Until all is healed."""
    if faults.site.site.timing.fence_after_s:
        _next(faults)


def _next(faults: "Faults") -> None:
    dice = faults.site.fencing.dice

    def strike() -> None:
        kind = dice.choice(sorted(KINDS))
        faults.site.story.fault(faults.site.world.now_s, kind, KINDS[kind](faults))
        _next(faults)

    faults.later(dice.expovariate(1.0 / MEAN_S), strike)


def _some_node(faults: "Faults") -> NodeId:
    """Rather one that has work."""
    machines, dice = faults.site.machines, faults.site.fencing.dice
    busy = sorted(name for name, machine in machines.items() if machine.living())
    return dice.choice(busy or sorted(machines))


def _one(faults: "Faults") -> str:
    node, for_s = _some_node(faults), faults.site.fencing.dice.uniform(10.0, 40.0)
    faults.site.machines[node].prolong(for_s)  # else all has ended before others start
    cut_off(faults, node, for_s)
    return node


def _half(faults: "Faults") -> str:
    nodes, dice = sorted(faults.site.machines), faults.site.fencing.dice
    cut = dice.sample(nodes, (len(nodes) + 1) // 2)
    for_s = dice.uniform(8.0, 30.0)
    for node in cut:
        cut_off(faults, node, for_s)
    return ", ".join(cut)


def _dead(faults: "Faults") -> str:
    node = _some_node(faults)
    if faults.site.machines[node].is_up:
        faults.site.cut_power(node, faults.site.fencing.dice.uniform(20.0, 60.0))
    return node


def _back(faults: "Faults") -> str:
    node, dice = _some_node(faults), faults.site.fencing.dice
    cut_off(faults, node, faults.site.site.timing.fence_after_s + dice.uniform(0.0, BMC_S))
    return node


KINDS = {
    "node cut off": _one,
    "half the site cut off": _half,
    "host without power": _dead,
    "node back in mid-fence": _back,
}
