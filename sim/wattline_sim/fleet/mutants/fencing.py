"""Rules about fencing silent nodes, each removed."""

from dataclasses import replace

from wattline_protocol.ids import Now
from wattline_scheduler.core.emergency import bmc_checks, fencing, silent_nodes, unresponsive
from wattline_scheduler.core.model.events import OutOfBandDone
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State
from wattline_sim.fleet.mutants.mutant import Mutant

LONG_BEFORE = -1e9
_take_check = bmc_checks.take_check


def _never_away(state: State, node: NodeNow, now: Now) -> bool:
    del state, node, now
    return False


def _unheard(state: State, node: NodeNow) -> float:
    del state, node
    return LONG_BEFORE


def _any_word(state: State, node: NodeNow, event: OutOfBandDone, now: Now) -> None:
    """Whatever its BMC says of a host that reports, it is believed later."""
    _take_check(state, node, replace(event, is_on=True), now)


def _not_saved(state: State, node: NodeNow) -> None:
    del state, node


def _any_way(node: NodeNow) -> bool:
    declared = node.site.out_of_band
    return declared is not None and declared.can_switch_off


def _anyhow(state: State, node: NodeNow, now: Now) -> bool:
    del state, node, now
    return True


MUTANTS = (
    Mutant(
        "fence-beyond-max",
        "no node is fenced while more than fence_max are silent or fenced",
        ((silent_nodes, "_is_away", _never_away),),
        "training",
    ),
    Mutant(
        "fence-though-heard",
        "only a node that was not heard for fence_after is fenced",
        ((silent_nodes, "_heard_at", _unheard),),
        "training",
    ),
    Mutant(
        "fence-by-any-bmc",
        "only a BMC that answered on while the agent reported may fence",
        ((fencing, "take_check", _any_word),),
        "I7",
    ),
    Mutant(
        "fence-not-on-disk",
        "the intent to fence is on disk before the order",
        ((fencing, "_intend", _not_saved),),
        "I9",
    ),
    Mutant(
        "fence-not-automatic",
        "a way that is not automatic is left to operators",
        (
            (unresponsive, "has_automatic_way", _any_way),
            (bmc_checks, "has_automatic_way", _any_way),
        ),
        "training",
    ),
    Mutant(
        "fence-without-need",
        "a node is fenced only where a gang of it could start elsewhere",
        ((silent_nodes, "_would_start_elsewhere", _anyhow),),
        "training",
    ),
)
