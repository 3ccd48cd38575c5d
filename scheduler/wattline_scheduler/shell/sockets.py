"""The sockets of a running scheduler."""

from dataclasses import dataclass

from wattline_protocol.wire.transport import ServerSocket


@dataclass(frozen=True, slots=True)
class Sockets:
    """The sockets of agents and clients."""

    agents: ServerSocket
    clients: ServerSocket

    def refused(self) -> int:
        """Connections and messages refused since the start."""
        return self.agents.refused.total() + self.clients.refused.total()

    def close(self) -> None:
        """Close both; queued messages get a moment to be sent."""
        self.agents.close(linger_s=0.2)
        self.clients.close(linger_s=0.2)
