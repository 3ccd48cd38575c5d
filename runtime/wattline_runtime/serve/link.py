"""A worker's connection to one gateway; re-established after a refusal or silence."""

from wattline_protocol.trust.keys import KeyPair
from wattline_protocol.wire.codec import MalformedMessage
from wattline_protocol.wire.transport import ClientSocket, SocketLimits
from wattline_runtime.serve.backend import Work
from wattline_runtime.wire import (
    MAX_FRAME_BYTES,
    CancelInfer,
    FrameCodec,
    FromWorker,
    GatewayBeat,
    Infer,
    MoreChunks,
    ToWorker,
    WorkerRefused,
    common_version,
    no_common_version,
)

BEAT_PERIOD_S = 0.5
SILENCE_S = 3.0
"""A gateway not heard for this long is considered lost, and the connection re-established."""
RETRY_S = 0.5
"""After a refusal: the route that allows this worker may still be on its way to the gateway."""
LINGER_S = 0.5
LEAST_SHARE = 2
"""One that runs and one that is next."""
LIMITS = SocketLimits(
    max_message_bytes=MAX_FRAME_BYTES, receive_queue=10_000, send_queue=10_000, reconnect_most_s=1.0
)


class GatewayLink:
    """One gateway from the worker's side. `generation` changes with every new connection."""

    def __init__(self, endpoint: str, keys: KeyPair, gateway_key: str) -> None:
        self.endpoint = endpoint
        self.generation = 0
        self.client: ClientSocket | None = None
        self.is_welcomed = False
        self.drain_seen = False
        self.must_move = False
        """A successor has the gateway's address: this connection ends with the gateway."""
        self.successor: GatewayLink | None = None
        """The connection to that successor."""
        self.ports: tuple[int, ...] = ()
        """Of all processes of the gateway, where it has several."""
        self.has_new_ports = False
        self.is_sibling = False
        """Another connection reported its address."""
        self.refused_because = ""
        """Set: this connection cannot be used."""
        self.retry_at_s = 0.0
        self.idle_uj: int | None = None
        """Idle energy reported on this connection; None: not measured."""
        self._keys = keys
        self._gateway_key = gateway_key
        self._heard_s = 0.0
        self._connections = 0
        self._outbox: list[FromWorker] = []
        self._inbound: FrameCodec[ToWorker] = FrameCodec(ToWorker)
        self._outbound: FrameCodec[FromWorker] = FrameCodec(FromWorker)

    def connect(self, generation: int, now_s: float) -> ClientSocket:
        """Open a new connection. Raises TransportError when the endpoint is invalid."""
        self.client = ClientSocket(self.endpoint, self._keys, self._gateway_key, LIMITS)
        self._connections = 0
        self.refused_because = ""
        self.renew(generation, now_s)
        return self.client

    def renew(self, generation: int, now_s: float) -> None:
        """The gateway has lost its state of this worker; start over."""
        self.generation = generation
        self.is_welcomed = self.drain_seen = False
        self.idle_uj = None
        self.ports = ()
        self._heard_s = now_s
        self._outbox.clear()

    def leave(self, retry_at_s: float, linger_s: float = 0.0) -> None:
        """Drop this connection with everything queued on it, until the next `connect`."""
        if self.client is not None:
            self.client.close(linger_s)
        self.client = None
        self.is_welcomed = False
        self.retry_at_s = retry_at_s
        self._outbox.clear()

    def is_silent(self, now_s: float) -> bool:
        """True: silent for so long that the connection must be re-established."""
        return now_s - self._heard_s > SILENCE_S

    def poll_link(self) -> bool:
        """Whether the connection is a new one since the last call; records a refused handshake."""
        if self.client is None:
            return False
        link = self.client.link
        if link.state == "refused":
            self.refused_because = link.detail
        is_new = link.connections > self._connections
        self._connections = link.connections
        return is_new

    def succeed(self) -> "GatewayLink":
        """A further connection to the same address, where a successor listens now."""
        self.successor = self._at(self.endpoint)
        self.successor.is_sibling = self.is_sibling
        return self.successor

    def sibling(self, endpoint: str) -> "GatewayLink":
        """A connection to another process of its gateway."""
        made = self._at(endpoint)
        made.is_sibling = True
        return made

    @property
    def siblings(self) -> list[str]:
        """Endpoints of all processes of its gateway, as far as known."""
        host, _, _ = self.endpoint.rpartition(":")
        return [f"{host}:{port}" for port in self.ports]

    def _at(self, endpoint: str) -> "GatewayLink":
        return GatewayLink(endpoint, self._keys, self._gateway_key)

    def share(self, window: int) -> int:
        """What of the requests that a gateway may have here this connection may have."""
        return max(min(window, LEAST_SHARE), -(-window // max(1, len(self.ports))))

    @property
    def has_ended(self) -> bool:
        """True: its gateway has ended after it was succeeded, and nothing is to reconnect."""
        return self.must_move and (self.client is None or self.client.link.state != "connected")

    @property
    def detail(self) -> str:
        """Why there is no connection, as far as known."""
        if self.refused_because or self.client is None:
            return self.refused_because
        return self.client.link.detail or f"no heartbeat for {SILENCE_S:.0f} s"

    def send(self, message: FromWorker) -> None:
        """Queue a message for the next flush; dropped without a connection."""
        if self.client is not None:
            self._outbox.append(message)

    def flush(self) -> None:
        """Send queued messages; those that an unconnected socket refuses are obsolete later."""
        messages, self._outbox = self._outbox, []
        if self.client is not None:
            for frame in self._outbound.frames(messages):
                self.client.send(frame)

    def receive(self, now_s: float) -> list[Work]:
        """All work received so far. Beats and refusals are handled here."""
        work: list[Work] = []
        for frame in self.client.recv_batch() if self.client is not None else ():
            try:
                messages = self._inbound.messages(frame)
            except MalformedMessage as error:
                self.refused_because = f"the gateway sent a malformed message: {error}"
                break
            self._heard_s = now_s
            for message in messages:
                if isinstance(message, Infer | CancelInfer | MoreChunks):
                    work.append(message)
                else:
                    self._take_note(message)
        return work

    def _take_note(self, message: GatewayBeat | WorkerRefused) -> None:
        if isinstance(message, WorkerRefused):
            self.refused_because = message.reason
        elif not common_version(message.protocol, message.newest):
            self.refused_because = no_common_version(
                message.protocol, message.newest, "this worker", "the gateway"
            )
        else:
            self.is_welcomed = True
            self.drain_seen = self.drain_seen or message.drain_seen
            self.must_move = self.must_move or message.move
            self.has_new_ports = self.has_new_ports or message.ports != self.ports
            self.ports = message.ports
