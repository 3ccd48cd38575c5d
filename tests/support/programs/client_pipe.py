"""A server socket with clients that say what a test lets them say."""

from typing import cast

from wattline_protocol.site.model import Role
from wattline_protocol.trust.members import Member
from wattline_protocol.wire.agent_messages import PROTOCOL_VERSION
from wattline_protocol.wire.client_messages import Ask, ClientHello, FromClient, Response, ToClient
from wattline_protocol.wire.codec import Codec
from wattline_protocol.wire.transport import Incoming, ServerSocket
from wattline_scheduler.shell.clients.client_endpoint import ClientEndpoint, Session

OUT: Codec[FromClient] = Codec(FromClient)
IN: Codec[ToClient] = Codec(ToClient)


class Pipe:
    """A server socket with room for `room` messages a connection."""

    def __init__(self) -> None:
        self.room = 1_000
        self.arriving: list[Incoming] = []
        self.sent: list[ToClient] = []
        self.refused: list[str] = []
        self.removed: set[str] = set()
        """Members whose key was removed."""

    def recv_batch(self, max_messages: int) -> list[Incoming]:
        batch, self.arriving = self.arriving[:max_messages], self.arriving[max_messages:]
        return batch

    def still_heard(self, incoming: Incoming) -> Incoming | None:
        return None if incoming.member.name in self.removed else incoming

    def send(self, routing_id: bytes, data: bytes) -> bool:
        if self.room == 0:
            return False
        self.room -= 1
        self.sent.append(IN.decode(data))
        return True

    def refuse(self, incoming: Incoming, reason: str, detail: str) -> None:
        self.refused.append(reason)

    def arrives(
        self,
        message: FromClient,
        connection: bytes = b"c",
        role: Role = "admin",
        user: str = "ada",
    ) -> None:
        member = Member(user, role, user * 20)
        self.arriving.append(Incoming(connection, member, OUT.encode(message)))

    def responses(self) -> list[Response]:
        return [message for message in self.sent if isinstance(message, Response)]


def taken(endpoint: ClientEndpoint) -> list[tuple[Session, Ask]]:
    """Everything that came in, read at once."""
    return [
        pair for incoming in endpoint.receive() if (pair := endpoint.admit(incoming)) is not None
    ]


def greeted(connection: bytes = b"c", user: str = "ada") -> tuple[Pipe, ClientEndpoint]:
    """A desk with one session."""
    pipe = Pipe()
    endpoint = ClientEndpoint(cast("ServerSocket", pipe), "test")
    pipe.arrives(ClientHello(PROTOCOL_VERSION, "t"), connection, user=user)
    assert taken(endpoint) == []
    pipe.sent.clear()
    return pipe, endpoint
