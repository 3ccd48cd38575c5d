"""The agent's connection to the scheduler: messages and connection state."""

from wattline_agent.core.events import Connected, ConnectionLost
from wattline_agent.core.link.report_size import MAX_REPORTS_BYTES, with_less
from wattline_agent.logs import Log
from wattline_protocol.trust.keys import JoinBundle
from wattline_protocol.wire.agent_messages import Adopted, Beat, FromAgent, TaskUpdate, ToAgent
from wattline_protocol.wire.clipping import encoded
from wattline_protocol.wire.codec import Codec, MalformedMessage
from wattline_protocol.wire.transport import ClientSocket

CLOSE_LINGER_S = 1.0
"""How long a Farewell may take to be sent."""


class SchedulerLink:
    """One CURVE DEALER to the scheduler's agent socket."""

    def __init__(self, bundle: JoinBundle, log: Log) -> None:
        """Start to connect. Raises TransportError when the bundle's endpoint is invalid."""
        self.socket = ClientSocket(bundle.agent_endpoint, bundle.keys, bundle.scheduler_public_key)
        self._log = log
        self._out: Codec[FromAgent] = Codec(FromAgent)
        self._in: Codec[ToAgent] = Codec(ToAgent)
        self._connections = 0
        self._is_connected = False
        self._detail = ""

    def changes(self) -> list[Connected | ConnectionLost]:
        """Changes of the connection since the last call."""
        link = self.socket.link
        changes: list[Connected | ConnectionLost] = []
        is_connected = link.state == "connected"
        if self._is_connected and (not is_connected or link.connections != self._connections):
            changes.append(ConnectionLost())
            self._log.warning("connection_lost", detail=link.detail)
        if is_connected and link.connections != self._connections:
            changes.append(Connected())
            self._log.info("connected")
        elif link.detail and link.detail != self._detail and not is_connected:
            self._log.warning("not_connected", state=link.state, detail=link.detail)
        self._is_connected, self._connections = is_connected, link.connections
        self._detail = link.detail
        return changes

    def received(self) -> list[ToAgent]:
        """Messages received so far; malformed ones are logged and skipped."""
        messages = []
        for data in self.socket.recv_batch():
            try:
                messages.append(self._in.decode(data))
            except MalformedMessage as error:
                self._log.warning("malformed_message", error=str(error))
        return messages

    def send(self, message: FromAgent) -> None:
        """Send, or drop where there is no connection: the core repeats what matters."""
        if not self.socket.send(self._encoded(message)) and self._is_connected:
            self._log.warning("not_sent", message=type(message).__name__)

    def _encoded(self, message: FromAgent) -> bytes:
        """Encoded within the scheduler's bounds: a single value out of bounds, of a driver, a clock
        or a task, must not make the whole message invalid, or end the agent."""
        data, reason = fitting(self._out, message)
        if reason:
            self._log.warning("clipped", message=type(message).__name__, reason=reason)
        return data

    def close(self) -> None:
        """Disconnect."""
        self.socket.close(CLOSE_LINGER_S)


def fitting(codec: Codec[FromAgent], message: FromAgent) -> tuple[bytes, str]:
    """The message as bytes that the scheduler accepts, and what was changed for that, else ""."""
    is_of_tasks = isinstance(message, Beat | Adopted | TaskUpdate)
    try:
        data, reason = encoded(codec, message, FromAgent)
        if not is_of_tasks or len(data) <= MAX_REPORTS_BYTES:
            return data, reason
    except ValueError:  # over the limit of a message
        if not is_of_tasks:
            raise
    data, _ = encoded(codec, with_less(message), FromAgent)
    return data, "what tasks report is too long: the largest reports are reduced"
