"""Effects requested by the core, in order. A Save is durable before any later Send or Reply."""

from dataclasses import dataclass

from wattline_protocol.ids import NodeId
from wattline_protocol.wire.agent_messages import ToAgent
from wattline_protocol.wire.client_messages import Answer
from wattline_scheduler.records import Record


@dataclass(frozen=True, slots=True)
class Save:
    """Writes this record to disk, replacing the one with the same key."""

    record: Record


@dataclass(frozen=True, slots=True)
class Send:
    """Sends to a node's current connection; lost when it has none (the core resends)."""

    node: NodeId
    message: ToAgent


@dataclass(frozen=True, slots=True)
class Reply:
    """Answers a client's request."""

    client: bytes
    ask: int
    answer: Answer


@dataclass(frozen=True, slots=True)
class ActOutOfBand:
    """Confirms out of band that the node is off; with `power_off`, powers it off first.

    The result returns as `OutOfBandDone` with the same number. Idempotent.
    """

    node: NodeId
    number: int
    power_off: bool


Effect = Save | Send | Reply | ActOutOfBand
