"""Messages between a gateway and the inference workers of its services.

A worker connects to the gateway (DEALER to ROUTER, CURVE). One ZeroMQ frame carries a MessagePack
array of tagged structs, so that a busy moment costs one frame, not one per message. Frames of a
connection stay in order: after a GatewayBeat with `drain_seen` no `Infer` follows.

Beats carry the full state, not changes: either side may restart, and one beat later both agree.

The rule for consistent books: a worker answers every `Infer` exactly once, with `Reply` or
`Failure`, including cancelled and expired ones. Only that answer frees the gateway's slot.
"""

from typing import Any, Generic, Literal, TypeVar

import msgspec

from wattline_protocol.wire.codec import Codec, MalformedMessage

WORKER_PROTOCOL_VERSION = 1
"""Sent in every beat; another version is refused with a text."""

MAX_ITEM_BYTES = 1024 * 1024
"""Largest input or output of one request, as JSON."""

MAX_FRAME_BYTES = 4 * MAX_ITEM_BYTES
"""Largest ZeroMQ frame; senders split before it (an item always fits)."""

MAX_FRAME_MESSAGES = 1024
"""Messages in one frame; more are malformed."""

MAX_DETAIL_CHARS = 500
"""Length of a failure's text that is sent to the client."""

FailureReason = Literal[
    "expired", "cancelled", "draining", "overloaded", "bad_input", "model_error", "output_too_large"
]


class WorkerBeat(msgspec.Struct, frozen=True, tag_field="t", tag="worker_beat"):
    """First message of a worker, and then one every beat period, whatever its model does."""

    protocol: int
    service: str
    capacity: int
    """Requests this gateway may have here at once, queued ones included. 0 = still loading."""
    queued: int
    running: int
    is_draining: bool = False
    """A stop was requested: the worker finishes its requests and accepts no new ones."""
    batch_s: float = 0.0
    """Measured time of a batch of half the capacity; 0 = unknown, as from an older worker."""
    lone_s: float = 0.0
    """Measured time of a batch of one; 0 = unknown."""
    batch_age_s: float = 0.0
    """How long the running batch has been running; 0 = none is, or an older worker."""
    serves_two: bool = False
    """It understands `move` of GatewayBeat."""


class Reply(msgspec.Struct, frozen=True, tag_field="t", tag="reply"):
    """The output of one request, as JSON."""

    id: int
    output: bytes


class Failure(msgspec.Struct, frozen=True, tag_field="t", tag="failure"):
    """One request without output, and the reason."""

    id: int
    reason: FailureReason
    detail: str = ""


FromWorker = WorkerBeat | Reply | Failure


class WorkerRefused(msgspec.Struct, frozen=True, tag_field="t", tag="worker_refused"):
    """This worker gets no requests; `reason` is a sentence for its log."""

    reason: str


class Infer(msgspec.Struct, frozen=True, tag_field="t", tag="infer"):
    """One input, as JSON, and the time left for it when it was sent."""

    id: int
    budget_ms: int
    input: bytes


class CancelInfer(msgspec.Struct, frozen=True, tag_field="t", tag="cancel_infer"):
    """This request is no longer needed."""

    id: int


class GatewayBeat(msgspec.Struct, frozen=True, tag_field="t", tag="gateway_beat"):
    """Answer to a worker's first beat, and then one every beat period."""

    protocol: int
    drain_seen: bool = False
    """The gateway knows of the worker's draining: no Infer follows on this connection."""
    move: bool = False
    """A successor listens at this address: connect to it as well, and stay until this connection
    ends."""


ToWorker = WorkerRefused | Infer | CancelInfer | GatewayBeat

M = TypeVar("M", bound=msgspec.Struct)


def size_estimate(message: msgspec.Struct) -> int:
    """Upper bound of the encoded size of `message` in bytes, cheap enough for each send."""
    overhead = 128 + 4 * MAX_DETAIL_CHARS
    match message:
        case Infer(input=body) | Reply(output=body):
            return overhead + len(body)
        case _:
            return overhead


class FrameCodec(Generic[M]):
    """Packs many messages of one direction into few frames, and back.

    `M` is the union (FromWorker or ToWorker) that the codec was made with.
    """

    def __init__(self, union: Any) -> None:
        self._codec: Codec[list[M]] = Codec(list[union], max_bytes=MAX_FRAME_BYTES)

    def frames(self, messages: list[M]) -> list[bytes]:
        """As few frames as the limits allow, in order. Raises ValueError for an oversize item."""
        frames: list[bytes] = []
        pack: list[M] = []
        pack_bytes = 0
        for message in messages:
            size = size_estimate(message)
            if pack and (pack_bytes + size > MAX_FRAME_BYTES or len(pack) == MAX_FRAME_MESSAGES):
                frames.append(self._codec.encode(pack))
                pack, pack_bytes = [], 0
            pack.append(message)
            pack_bytes += size
        if pack:
            frames.append(self._codec.encode(pack))
        return frames

    def messages(self, frame: bytes) -> list[M]:
        """The messages of a frame, in order. Raises MalformedMessage, never anything else."""
        messages = self._codec.decode(frame)
        if len(messages) > MAX_FRAME_MESSAGES:
            raise MalformedMessage(
                f"{len(messages)} messages in a frame, at most {MAX_FRAME_MESSAGES} allowed"
            )
        return messages
