"""A worker's connection to one gateway: a DEALER that is made anew whenever it falls silent."""

import zmq

from wattline_protocol.codec import MalformedMessage
from wattline_protocol.keys import check_key
from wattline_runtime.wire import (
    MAX_FRAME_BYTES,
    WORKER_PROTOCOL_VERSION,
    CancelInfer,
    FrameCodec,
    FromWorker,
    GatewayBeat,
    Infer,
    ToWorker,
    WorkerBeat,
    WorkerRefused,
)

BEAT_PERIOD_S = 0.5
SILENCE_S = 3.0
"""A gateway not heard for this long is taken for lost, and the connection made anew."""
LINGER_MS = 500
SEND_LIMIT_FRAMES = 10_000
"""Frames waiting for the network; a gateway that stops reading is lost long before."""


class CurveKeys:
    """What a worker proves itself with, and whom it believes."""

    def __init__(self, secret_key: str, gateway_key: str) -> None:
        """Both z85. Raises ValueError for what is no key."""
        for name, key in (("worker's secret", secret_key), ("gateway's public", gateway_key)):
            try:
                check_key(key)
            except ValueError as error:
                raise ValueError(f"the {name} key is {error}") from error
        self.secret = secret_key.encode("ascii")
        self.public = zmq.curve_public(self.secret)
        self.gateway = gateway_key.encode("ascii")


class GatewayLink:
    """One gateway as the worker sees it. `generation` changes with every new connection."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, keys: CurveKeys):
        self.endpoint = endpoint
        self.generation = 0
        self.is_welcomed = False
        self.drain_seen = False
        self.refused_because = ""
        self.is_known_bad = False
        """True: lost or refused, and not welcomed since."""
        self._context = context
        self._keys = keys
        self._heard_s = 0.0
        self._outbox: list[FromWorker] = []
        self._inbound: FrameCodec[ToWorker] = FrameCodec(ToWorker)
        self._outbound: FrameCodec[FromWorker] = FrameCodec(FromWorker)
        self.socket: zmq.Socket[bytes] | None = None

    def connect(self, generation: int, now_s: float) -> zmq.Socket[bytes]:
        """Make a new connection; what waited on the old one is dropped with it."""
        self.close(linger_ms=0)
        self.generation = generation
        self.is_welcomed = self.drain_seen = False
        self.refused_because = ""
        self._heard_s = now_s
        self._outbox.clear()
        socket = self._context.socket(zmq.DEALER)
        socket.curve_secretkey = self._keys.secret
        socket.curve_publickey = self._keys.public
        socket.curve_serverkey = self._keys.gateway
        socket.maxmsgsize = MAX_FRAME_BYTES
        socket.sndhwm = socket.rcvhwm = SEND_LIMIT_FRAMES
        socket.connect(self.endpoint)
        self.socket = socket
        return socket

    def close(self, linger_ms: int = LINGER_MS) -> None:
        """Close the connection, giving what was sent `linger_ms` to leave."""
        if self.socket is not None:
            self.socket.close(linger_ms)
            self.socket = None

    def leave(self) -> None:
        """Give this connection up, with all that waits on it, until the next `connect`."""
        self.close(linger_ms=0)
        self.is_welcomed = False
        self.is_known_bad = True
        self._outbox.clear()

    def is_silent(self, now_s: float) -> bool:
        """True: nothing heard for so long that the connection must be made anew."""
        return now_s - self._heard_s > SILENCE_S

    def send(self, message: FromWorker) -> None:
        """Queue a message for the next flush; without a connection there is nobody to tell."""
        if self.socket is not None:
            self._outbox.append(message)

    def flush(self) -> None:
        """Send what is queued. A connection that takes no more is left to fall silent."""
        if self.socket is None or not self._outbox:
            return
        messages, self._outbox = self._outbox, []
        try:
            for frame in self._outbound.frames(messages):
                self.socket.send(frame, zmq.DONTWAIT)
        except zmq.Again:
            self._heard_s = 0.0

    def receive(self, now_s: float) -> list[Infer | CancelInfer]:
        """All work that has come in. Beats and refusals are taken note of here."""
        work: list[Infer | CancelInfer] = []
        while self.socket is not None:
            try:
                frame = self.socket.recv(zmq.DONTWAIT)
            except zmq.Again:
                break
            try:
                messages = self._inbound.messages(frame)
            except MalformedMessage as error:
                self._refused(f"the gateway sent a malformed message: {error}")
                break
            self._heard_s = now_s
            for message in messages:
                if isinstance(message, Infer | CancelInfer):
                    work.append(message)
                else:
                    self._take_note(message)
        return work

    def _take_note(self, message: GatewayBeat | WorkerRefused) -> None:
        if isinstance(message, WorkerRefused):
            self._refused(message.reason)
        elif message.protocol != WORKER_PROTOCOL_VERSION:
            self._refused(
                f"the gateway speaks version {message.protocol} of the worker protocol, "
                f"this worker {WORKER_PROTOCOL_VERSION}"
            )
        else:
            self.is_welcomed = True
            self.is_known_bad = False
            self.drain_seen = self.drain_seen or message.drain_seen

    def _refused(self, reason: str) -> None:
        self.is_welcomed = False
        self.refused_because = reason

    def beat(self, service: str, capacity: int, queued: int, running: int, draining: bool) -> None:
        """Queue the worker's state; see WorkerBeat for the meaning of each."""
        self.send(WorkerBeat(WORKER_PROTOCOL_VERSION, service, capacity, queued, running, draining))
