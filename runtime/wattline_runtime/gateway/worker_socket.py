"""The gateway's socket for workers: ROUTER with CURVE, and the list of keys it lets in."""

from collections.abc import Iterator

import zmq
from zmq.auth.thread import ThreadAuthenticator

from wattline_runtime.gateway.events import Connection
from wattline_runtime.wire import MAX_FRAME_BYTES

ZAP_DOMAIN = "workers"
SEND_LIMIT_FRAMES = 10_000
"""Frames waiting for one worker; one that stops reading is taken for lost."""
RECEIVE_BURST_FRAMES = 512
"""Frames taken at once before HTTP gets its turn again."""


class AllowedKeys:
    """Public keys that may connect; everything else is turned away in the handshake."""

    def __init__(self) -> None:
        self.keys: frozenset[bytes] = frozenset()
        self.refused = 0

    def callback(self, domain: str, key: bytes) -> bool:  # noqa: ARG002  the name pyzmq calls
        """Called by the authenticator's thread with a z85 key."""
        if key in self.keys:
            return True
        self.refused += 1
        return False


class WorkerSocket:
    """Frames from and to workers, each with the connection and the key that was proved."""

    def __init__(self, host: str, port: int, secret_key: str) -> None:
        secret = secret_key.encode("ascii")
        self.public_key = zmq.curve_public(secret).decode("ascii")
        self.allowed = AllowedKeys()
        self.malformed = 0
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._authenticator = ThreadAuthenticator(self._context)
        self._authenticator.start()
        self._authenticator.configure_curve_callback(
            domain=ZAP_DOMAIN, credentials_provider=self.allowed
        )
        socket = self._context.socket(zmq.ROUTER)
        socket.curve_secretkey = secret
        socket.curve_server = True
        socket.zap_domain = ZAP_DOMAIN.encode("ascii")
        socket.maxmsgsize = MAX_FRAME_BYTES
        socket.router_mandatory = True  # a send to a dead connection fails, and so tells of it
        socket.sndhwm = socket.rcvhwm = SEND_LIMIT_FRAMES
        socket.bind(f"tcp://{host}:{port or '*'}")
        self._socket = socket

    @property
    def endpoint(self) -> str:
        """Where it is bound, with the real port."""
        return self._socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")

    def fileno(self) -> int:
        """Becomes readable when something may have changed; edge-triggered, so drain it."""
        return self._socket.fileno()

    def send(self, connection: Connection, frame: bytes) -> bool:
        """False: that connection is gone, or does not read any more."""
        try:
            self._socket.send_multipart([connection, frame], zmq.DONTWAIT)
        except zmq.ZMQError as error:
            if error.errno in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                return False
            raise
        return True

    def receive(self) -> Iterator[tuple[Connection, str, bytes]]:
        """What has come in, at most `RECEIVE_BURST_FRAMES`: connection, public key, frame."""
        for _ in range(RECEIVE_BURST_FRAMES):
            try:
                parts = self._socket.recv_multipart(zmq.DONTWAIT, copy=False)
            except zmq.Again:
                return
            if len(parts) != 2:
                self.malformed += 1
                continue
            yield parts[0].bytes, str(parts[1].get("User-Id")), parts[1].bytes

    @property
    def has_more(self) -> bool:
        """True: frames wait that `receive` has not given yet."""
        return bool(int(self._socket.get(zmq.EVENTS)) & zmq.POLLIN)

    def close(self) -> None:
        """Close, giving frames to workers a moment to leave."""
        self._socket.close(linger=200)
        self._authenticator.stop()
        self._context.term()
