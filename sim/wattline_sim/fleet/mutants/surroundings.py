"""Rules that no model of leases alone can show: of feeds that back each other up, and of clocks."""

from collections.abc import Mapping, Sequence

from wattline_protocol.ids import DomainId, Instant, Now
from wattline_protocol.site.model import Node
from wattline_scheduler.power.topology import rows
from wattline_sim.fleet.mutants.mutant import Mutant
from wattline_sim.fleet.world import HostClock


def _no_losses(
    node: Node, chains: Mapping[DomainId, Sequence[DomainId]]
) -> dict[DomainId, list[int]]:
    del node, chains
    return {}


def _wall_clock(self: HostClock) -> Now:
    """Every duration goes by the clock that people set."""
    now = _now(self)
    return Now(Instant(now.unix_s), now.unix_s)


_now = HostClock.now.__get__

MUTANTS = (
    Mutant(
        "normal-operation-only",
        "a node with shares of several feeds also counts for the loss of each",
        ((rows, "_losses", _no_losses),),
        "I1",
    ),
    Mutant(
        "durations-by-wall-clock",
        "durations are measured by a clock that cannot be set",
        ((HostClock, "now", property(_wall_clock)),),
        "I7",
    ),
)
"""Of the surroundings, each removed."""
