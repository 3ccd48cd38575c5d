"""Opens and closes a link: socket, session thread, and the sockets that wake it."""

import zmq

from wattline.client.errors import WattlineError
from wattline.client.link import Link
from wattline.client.session import Session
from wattline_protocol.trust.keys import JoinBundle
from wattline_protocol.wire.transport import ClientSocket, SocketLimits, TransportError

LIMITS = SocketLimits(heartbeat_s=2.0, silence_s=6.0, reconnect_most_s=1.0)
"""For interactive use: a restarted scheduler is found again within about a second."""


class Connection:
    """A link with its thread. `close` ends both; pending requests end with an error."""

    def __init__(self, bundle: JoinBundle) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            socket = ClientSocket(
                bundle.client_endpoint,
                bundle.keys,
                bundle.scheduler_public_key,
                LIMITS,
                self._context,
            )
        except TransportError as error:
            self._context.term()
            raise WattlineError(str(error)) from error
        self.link = Link(self._context)
        self._thread = Session(self.link, socket, f"{bundle.name} ({bundle.role})").thread
        self._thread.start()

    def close(self) -> None:
        """End the thread and close every socket. Idempotent."""
        if self._context.closed:
            return
        self.link.begin_close()
        self._thread.join()
        self.link.end_close()
        self._context.term()
