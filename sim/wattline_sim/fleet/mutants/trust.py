"""Rules about agents and processes that are not believed, each removed."""

import msgspec

from wattline_agent.core.model import NodeState
from wattline_agent.core.power import raised_caps
from wattline_agent.core.power.gpus import Gpu
from wattline_protocol.ids import Now, TaskRef
from wattline_protocol.wire.agent_messages import Adopted
from wattline_scheduler.core.agents import handshake, heartbeat
from wattline_scheduler.core.leases import distrust, quarantine
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State
from wattline_sim.fleet.mutants.mutant import Mutant


def _not_counted(state: NodeState, gpu: Gpu, now: Now) -> None:
    """Set back each time, and never counted."""
    del state, gpu, now


def _everybody(state: NodeState, privileged: frozenset[TaskRef], now: Now) -> None:
    del privileged
    _judge(state, frozenset(state.attempts), now)


_judge = raised_caps.judge


def _never(state: State, node: NodeNow, why: str, now: Now) -> None:
    del state, node, why, now


def _at_its_lease(state: State, node: NodeNow, why: str, now: Now) -> None:
    """Nothing is placed there, but its last lease is what counts."""
    _quarantine(state, node, why, now)
    entry = state.books.entry(node.id)
    leased = msgspec.structs.replace(entry, standing="leased")
    state.journal.save(state.books._put(leased))


_quarantine = quarantine._quarantine


def _as_it_says(state: State, node: NodeNow, message: Adopted, now: Now) -> None:
    """A quarantined agent's words count like any other's."""
    record = node.record
    node.record = msgspec.structs.replace(record, is_quarantined=False)
    _replace_entry(state, node, message, now)
    node.record = record


_replace_entry = handshake._replace_entry


def _anything_can_be(node: NodeNow, holding_mw: int = 0) -> str:
    del node, holding_mw
    return ""


MUTANTS = (
    Mutant(
        "raised-caps-not-counted",
        "a cap that others raise repeatedly bounds nothing: the GPU counts at its maximum",
        ((raised_caps, "_raised", _not_counted),),
        "I2",
    ),
    Mutant(
        "raised-caps-kill-any-task",
        "only a task that could have raised a cap is killed for it",
        ((raised_caps, "judge", _everybody),),
        "I2",
    ),
    Mutant(
        "quarantine-never",
        "a key that contradicts the books repeatedly is quarantined",
        ((quarantine, "_quarantine", _never),),
        "I9",
    ),
    Mutant(
        "quarantine-counts-lease",
        "a quarantined node counts in full",
        (
            (quarantine, "_quarantine", _at_its_lease),
            (handshake, "_replace_entry", _as_it_says),
        ),
        "I9",
    ),
    Mutant(
        "any-holding",
        "no node counts more than twice its nameplate, whatever its agent reports",
        (
            (distrust, "impossible_holding", _anything_can_be),
            (distrust, "impossible_floor", _anything_can_be),
            (heartbeat, "impossible_floor", _anything_can_be),
        ),
        "I9",
    ),
)
