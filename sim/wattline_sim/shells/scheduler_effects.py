"""Effects of the scheduler's core, carried out over a model of disk and network.

The counterpart of `wattline_scheduler.shell`, which does so over real ones: all saves are one
transaction, and nothing is sent before it. Simulations and tests share it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from wattline_protocol.ids import NodeId
from wattline_protocol.wire.agent_messages import ToAgent
from wattline_protocol.wire.client_messages import Answer
from wattline_scheduler.core.model.effects import ActOutOfBand, Effect, Reply, Save, Send
from wattline_scheduler.records import Record


@dataclass(frozen=True, slots=True)
class Outlets:
    """Receivers of all effects but saves."""

    send: Callable[[NodeId, ToAgent], None]
    reply: Callable[[int, Answer], None]
    """By the number of the request."""
    act_out_of_band: Callable[[ActOutOfBand], None] = lambda _: None
    """By default no node has a BMC that answers."""


def saved(effects: Iterable[Effect]) -> list[Record]:
    """Records to commit before anything is delivered."""
    return [effect.record for effect in effects if isinstance(effect, Save)]


def deliver(effect: Effect, outlets: Outlets) -> None:
    """Carry out one effect, once everything saved is committed."""
    match effect:
        case Save():
            pass
        case Send(node, message):
            outlets.send(node, message)
        case Reply(_, ask, answer):
            outlets.reply(ask, answer)
        case ActOutOfBand():
            outlets.act_out_of_band(effect)
