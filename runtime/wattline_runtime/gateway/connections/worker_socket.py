"""The gateway's socket for workers, and its allow-list."""

import socket

from wattline_protocol.trust.keys import KeyPair
from wattline_protocol.trust.members import Member
from wattline_protocol.wire.transport import Incoming, ServerSocket, SocketLimits, has_message
from wattline_runtime.gateway.events import ServiceRoutes
from wattline_runtime.wire import MAX_FRAME_BYTES

BURST_FRAMES = 512
"""Frames received at once before HTTP gets its turn again."""
LIMITS = SocketLimits(
    max_message_bytes=MAX_FRAME_BYTES,
    receive_queue=10_000,
    send_queue=10_000,
    # A busy worker of a small model answers thousands of batches a second, a frame each.
    messages_per_s=50_000.0,
    burst=100_000,
)


class WorkerSocket:
    """A ServerSocket with an allow-list from the routes, which an event loop can watch."""

    def __init__(self, listener: socket.socket, keys: KeyPair) -> None:
        """`listener` listens for workers; it stays its owner's."""
        self.public_key = keys.public
        self._members: dict[str, Member] = {}
        host = listener.getsockname()[0]
        endpoint = f"tcp://{f'[{host}]' if ':' in host else host}:*"
        self.server = ServerSocket(
            endpoint, keys, self._member, {"worker"}, LIMITS, listener=listener
        )

    def allow(self, services: ServiceRoutes, still_held: set[str]) -> None:
        """Allow the workers in `services`, and keep accepting the keys in `still_held`."""
        allowed = {
            route.public_key: Member(f"{name}/{route.ref}", "worker", route.public_key)
            for name, named in services.items()
            for route in named
        }
        for key in still_held - allowed.keys():
            if key in self._members:
                allowed[key] = self._members[key]
        self._members = allowed  # replaced, not changed: the handshake thread reads it too

    def _member(self, public_key: str) -> Member | None:
        return self._members.get(public_key)

    def fileno(self) -> int:
        """Becomes readable when something may have changed; edge-triggered, so drain it."""
        return self.server.socket.fileno()

    def receive(self) -> list[Incoming]:
        """Frames received so far, at most `BURST_FRAMES`."""
        return self.server.recv_batch(BURST_FRAMES)

    @property
    def has_more(self) -> bool:
        """True: frames are pending that `receive` has not returned yet."""
        return has_message(self.server.socket)

    def close(self) -> None:
        """Close, after a moment for queued frames to be sent."""
        self.server.close(linger_s=0.2)
