"""What the core wants done, in order. Every Save before a Send or Reply is durable before it."""

from dataclasses import dataclass

from wattline_protocol.ids import NodeId
from wattline_protocol.wire.agent_messages import ToAgent
from wattline_protocol.wire.client_messages import Answer
from wattline_scheduler.records import Record


@dataclass(frozen=True, slots=True)
class Save:
    """Put this record on disk, replacing the one with the same key."""

    record: Record


@dataclass(frozen=True, slots=True)
class Send:
    """Send to a node's current connection; lost when it has none (the core resends)."""

    node: NodeId
    message: ToAgent


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer a client's request."""

    client: bytes
    ask: int
    answer: Answer


@dataclass(frozen=True, slots=True)
class ActOutOfBand:
    """See, by the node's out-of-band way, that it is off; with `power_off` make it so first.

    What comes of it returns as `OutOfBandDone` with the same number. Harmless when repeated.
    """

    node: NodeId
    number: int
    power_off: bool


Effect = Save | Send | Reply | ActOutOfBand
