"""A server socket on loopback and clients for it, closed at the end of the test."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from wattline_protocol.trust.keys import KeyPair
from wattline_protocol.trust.members import Member
from wattline_protocol.wire.transport import ClientSocket, Incoming, ServerSocket, SocketLimits

DEADLINE_S = 30.0
QUICK_LIMITS = SocketLimits(reconnect_first_s=0.02, reconnect_most_s=0.1, handshake_s=2.0)


class Peers:
    """One server and an allow-list that tests change as they go."""

    def __init__(
        self, roles: tuple[str, ...], limits: SocketLimits, clock: Callable[[], float]
    ) -> None:
        self.keys = KeyPair.generate()
        self.members: dict[str, Member] = {}
        self.limits = limits
        self.server = ServerSocket(
            "tcp://127.0.0.1:*",
            self.keys,
            lambda key: self.members.get(key),
            roles,
            limits,
            clock,
        )
        self._clients: list[ClientSocket] = []

    def member(self, name: str, role: str = "agent") -> KeyPair:
        """Enrol a new member."""
        keys = KeyPair.generate()
        self.members[keys.public] = Member(name, role, keys.public)  # type: ignore[arg-type] # any
        return keys

    def client(self, keys: KeyPair, server_key: str | None = None) -> ClientSocket:
        """A client that starts to connect."""
        client = ClientSocket(
            self.server.endpoint, keys, server_key or self.keys.public, self.limits
        )
        self._clients.append(client)
        return client

    def connected(self, name: str, role: str = "agent") -> ClientSocket:
        """A client of a new member, connected."""
        client = self.client(self.member(name, role))
        assert client.wait_connected(DEADLINE_S).state == "connected"
        return client

    def receive(self, count: int) -> list[Incoming]:
        """Exactly `count` messages, or a failure at the deadline."""
        got: list[Incoming] = []

        def enough() -> bool:
            self.server.socket.poll(20)
            got.extend(self.server.recv_batch())
            return len(got) >= count

        wait_until(enough, f"{count} messages")
        assert len(got) == count
        return got

    def wait(self, holds: Callable[[], bool], what: str) -> None:
        """Receive until it holds; nothing may come."""

        def enough() -> bool:
            self.server.socket.poll(20)
            assert self.server.recv_batch() == []
            return holds()

        wait_until(enough, what)

    def wait_refused(self, reason: str, count: int = 1) -> None:
        """Until the server has refused `count` times for `reason`."""
        refused = self.server.refused
        self.wait(
            lambda: self.server.refused[reason] >= count,  # type: ignore[index] # any reason's name
            f"refusals for {reason}, got {refused}",
        )

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self.server.close()


@contextmanager
def peers(
    roles: tuple[str, ...] = ("agent",),
    limits: SocketLimits = QUICK_LIMITS,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Peers]:
    """A server on loopback for members of `roles`."""
    made = Peers(roles, limits, clock)
    try:
        yield made
    finally:
        made.close()


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Call `holds` until it is true; fail at the deadline. `holds` itself waits on something."""
    until_s = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < until_s, f"waited {DEADLINE_S} s for {what}"
