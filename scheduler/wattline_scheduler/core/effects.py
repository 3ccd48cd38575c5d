"""What the core wants done, in order. Every Save before a Send or Reply is durable before it."""

from dataclasses import dataclass

from wattline_protocol.ids import NodeId
from wattline_protocol.messages import ToAgent
from wattline_protocol.requests import Answer
from wattline_scheduler.core.records import Record


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


Effect = Save | Send | Reply
