"""Agents' endpoint: decodes bytes to messages of known nodes, and encodes messages.

Messages to a node are sent on the connection that sent its last Hello. The core never sees a
message whose sender is not the node it comes from.
"""

from collections.abc import Container

from wattline_protocol.ids import NodeId
from wattline_protocol.wire.agent_messages import (
    PROTOCOL_VERSION,
    FromAgent,
    Hello,
    Refused,
    ToAgent,
)
from wattline_protocol.wire.codec import Codec, MalformedMessage
from wattline_protocol.wire.transport import Incoming, ServerSocket
from wattline_scheduler.core.leases.fault_barrier import unsent
from wattline_scheduler.core.model.events import FaultSeen
from wattline_scheduler.shell.protocol_version import refused_version

MAX_BATCH = 1_000
"""Maximum of messages received at once: beats of a second from a thousand nodes."""


class AgentEndpoint:
    """Receives from agents and sends to them."""

    def __init__(self, socket: ServerSocket, nodes: Container[NodeId]) -> None:
        self._socket = socket
        self._nodes = nodes
        self._in: Codec[FromAgent] = Codec(FromAgent)
        self._out: Codec[ToAgent] = Codec(ToAgent)
        self._connections: dict[NodeId, bytes] = {}

    def receive(self) -> list[Incoming]:
        """Messages received since the last call, not decoded yet."""
        return self._socket.recv_batch(MAX_BATCH)

    def reject(self, incoming: Incoming) -> None:
        """Drop a message for lack of space: it is lost, as on a broken connection."""
        self._socket.refuse(incoming, "rate", "too many queued messages")

    def send(self, node: NodeId, message: ToAgent) -> FaultSeen | None:
        """Send to the node's connection. Without one it is lost: the core repeats what matters.

        Returns the alarm about a message that cannot be encoded, as one over the size limit."""
        connection = self._connections.get(node)
        if connection is None:
            return None
        try:
            self._socket.send(connection, self._out.encode(message))
        except (OverflowError, RecursionError, TypeError, ValueError) as error:
            return unsent(type(message).__name__, node, error)
        return None

    def admit(self, received: Incoming) -> FromAgent | None:
        """The decoded message, if its sender is still authorized; a refusal is answered here."""
        incoming = self._socket.still_heard(received)
        return None if incoming is None else self._read(incoming)

    def _read(self, incoming: Incoming) -> FromAgent | None:
        refusal = refused_version(self._socket, incoming)
        if refusal:
            self._refuse(incoming, refusal)
            return None
        try:
            message = self._in.decode(incoming.data)
        except MalformedMessage as error:
            self._socket.refuse(incoming, "malformed", str(error))
            return None
        node = NodeId(incoming.member.name)
        if isinstance(message, Hello):
            return self._greeted(incoming, node, message)
        if node not in self._connections and node in self._nodes:
            # Hello was sent to an earlier run: the core will request another.
            self._connections[node] = incoming.routing_id
        return message if self._connections.get(node) == incoming.routing_id else None

    def _greeted(self, incoming: Incoming, node: NodeId, hello: Hello) -> Hello | None:
        if hello.node != node:
            self._socket.refuse(incoming, "wrong_name", f"claims to be {hello.node}")
            self._refuse(incoming, f"this key belongs to {node}, not to {hello.node}")
            return None
        if node not in self._nodes:
            self._socket.refuse(incoming, "wrong_name", "is not in the site file")
            self._refuse(
                incoming,
                f"{node} is enrolled but not in the site file: add it there and restart the "
                "scheduler",
            )
            return None
        self._connections[node] = incoming.routing_id
        return hello

    def _refuse(self, incoming: Incoming, reason: str) -> None:
        refused = self._out.encode(Refused(PROTOCOL_VERSION, reason))
        self._socket.send(incoming.routing_id, refused)
