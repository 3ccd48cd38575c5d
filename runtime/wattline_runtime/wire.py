"""Messages between a gateway and the inference workers of its services.

A worker connects to the gateway (DEALER to ROUTER, CURVE). One ZeroMQ frame carries a MessagePack
array of tagged structs, so that a busy moment costs one frame, not one per message. Frames of a
connection stay in order: after a GatewayBeat with `drain_seen` no `Infer` follows.

Beats carry the full state, not changes: either side may restart, and one beat later both agree.

The rule for consistent books: a worker answers every `Infer` exactly once, with `Reply` or
`Failure`, including cancelled and expired ones. Only that answer frees the gateway's slot. Before
it, `Chunk`s of a stream may come, at most CHUNK_WINDOW more than the gateway has released by
`MoreChunks`: a slow client slows its own stream.

Versions: `protocol` of a beat is the oldest version that its sender speaks, `newest` the newest.
Both sides use the newest that they share, and refuse each other where there is none. Version 2
has streams, methods other than `predict`, and inputs and outputs that are bytes; a peer of
version 1 neither gets nor sends any of them.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import Any, Generic, Literal, TypeVar

import msgspec

from wattline_protocol.job.spec import METHODS
from wattline_protocol.wire.codec import Codec, MalformedMessage

WORKER_PROTOCOL_VERSION = 2
"""The newest version that this release speaks."""

OLDEST_WORKER_PROTOCOL_VERSION = 1
"""The oldest one; peers without a version in common are refused with a text."""

CHUNK_WINDOW = 32
"""Chunks of a request that may be under way to a client."""

CHUNK_WINDOW_BYTES = 256 * 1024
"""A worker pauses a stream while that many bytes of it are under way, even if they are fewer."""

MAX_ITEM_BYTES = 1024 * 1024
"""Largest input or output of one request, as JSON."""

MAX_FRAME_BYTES = 4 * MAX_ITEM_BYTES
"""Largest ZeroMQ frame; senders split before it (an item always fits)."""

MAX_FRAME_MESSAGES = 1024
"""Messages in one frame; more are malformed."""

MAX_DETAIL_CHARS = 500
"""Length of a failure's text that is sent to the client."""

MAX_TOKENS = 2**31 - 1
"""Of one request."""

FailureReason = Literal[
    "expired", "cancelled", "draining", "overloaded", "bad_input", "model_error", "output_too_large"
]

PREDICT, CHAT, COMPLETE, EMBED = METHODS

COMPARE = "compare"
"""Not a method of requests: whether the model considers two outputs of its service equal. The input
is the JSON list of the older and the newer output, the output `true` or `false`."""


def common_version(oldest: int, newest: int) -> int:
    """The newest version that a peer shares with this release; 0: there is none."""
    shared = min(max(oldest, newest), WORKER_PROTOCOL_VERSION)
    return shared if shared >= max(oldest, OLDEST_WORKER_PROTOCOL_VERSION) else 0


def possible_tokens(tokens: object) -> int:
    """What a model, server or worker counted; 0 in place of what no count can be."""
    return tokens if isinstance(tokens, int) and 0 <= tokens <= MAX_TOKENS else 0


def no_common_version(oldest: int, newest: int, me: str, peer: str) -> str:
    """A sentence for the log of a refused peer."""
    theirs = f"{oldest}" if newest <= oldest else f"{oldest} to {newest}"
    return (
        f"{me} speaks versions {OLDEST_WORKER_PROTOCOL_VERSION} to {WORKER_PROTOCOL_VERSION} of "
        f"the worker protocol, {peer} {theirs}"
    )


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
    newest: int = 0
    """Newest version of the protocol that it speaks; 0: `protocol` alone."""
    methods: tuple[str, ...] = (PREDICT,)
    """Methods that its model offers."""
    takes_bytes: bool = False
    """Its model takes inputs that are bytes, not JSON."""
    progress: str = ""
    """While it loads: what the model reports."""
    compares: bool | None = None
    """Its model answers COMPARE; None: an older worker, which does not know it."""
    idle_uj: int | None = None
    """Energy of its GPUs that no answer carries, since this connection began; of one gateway of
    several its part. None: not measured, or an older worker."""


class Reply(msgspec.Struct, frozen=True, gc=False, tag_field="t", tag="reply", omit_defaults=True):
    """The output of one request, as JSON; of a stream the end, with what has no chunk."""

    id: int
    output: bytes
    is_bytes: bool = False
    """The output is bytes as they are, not JSON."""
    tokens: int = 0
    """Tokens of input and output, as the model reports them; 0 = unknown."""
    energy_uj: int | None = None
    """Microjoules of its GPUs for this request; None: not measured, or an older worker."""


class Chunk(msgspec.Struct, frozen=True, gc=False, tag_field="t", tag="chunk"):
    """A part of a stream's output: the data of one event, as JSON. Reply or Failure ends it."""

    id: int
    data: bytes


class Failure(
    msgspec.Struct, frozen=True, gc=False, tag_field="t", tag="failure", omit_defaults=True
):
    """One request without output, and the reason."""

    id: int
    reason: FailureReason
    detail: str = ""
    energy_uj: int | None = None
    """As that of a Reply."""


FromWorker = WorkerBeat | Reply | Failure | Chunk


class WorkerRefused(msgspec.Struct, frozen=True, tag_field="t", tag="worker_refused"):
    """This worker gets no requests; `reason` is a sentence for its log."""

    reason: str


class Infer(msgspec.Struct, frozen=True, gc=False, tag_field="t", tag="infer", omit_defaults=True):
    """One input, as JSON, and the time left for it when it was sent."""

    id: int
    budget_ms: int
    input: bytes
    method: str = PREDICT
    stream: bool = False
    """Send chunks; the time left is for the first of them."""
    is_bytes: bool = False
    """The input is bytes as they are, not JSON."""
    traceparent: str = ""
    """W3C Trace Context of the request, checked; empty = it has none."""


class CancelInfer(msgspec.Struct, frozen=True, gc=False, tag_field="t", tag="cancel_infer"):
    """This request is no longer needed."""

    id: int


class MoreChunks(msgspec.Struct, frozen=True, gc=False, tag_field="t", tag="more_chunks"):
    """The client has read this many further chunks of its stream."""

    id: int
    count: int


class GatewayBeat(msgspec.Struct, frozen=True, tag_field="t", tag="gateway_beat"):
    """Answer to a worker's first beat, and then one every beat period."""

    protocol: int
    drain_seen: bool = False
    """The gateway knows of the worker's draining: no Infer follows on this connection."""
    move: bool = False
    """A successor listens at this address: connect to it as well, and stay until this connection
    ends."""
    newest: int = 0
    """Newest version of the protocol that it speaks; 0: `protocol` alone."""
    ports: tuple[int, ...] = ()
    """Of all processes of this gateway, if it has several: connect to each."""


ToWorker = WorkerRefused | Infer | CancelInfer | GatewayBeat | MoreChunks

M = TypeVar("M", bound=msgspec.Struct)


_OVERHEAD_BYTES = 128 + 4 * MAX_DETAIL_CHARS
_BODIES: dict[type, Callable[[Any], bytes]] = {
    Infer: attrgetter("input"),
    Reply: attrgetter("output"),
    Chunk: attrgetter("data"),
}


def size_estimate(message: msgspec.Struct) -> int:
    """Upper bound of the encoded size of `message` in bytes, cheap enough for each send."""
    body = _BODIES.get(type(message))
    return _OVERHEAD_BYTES if body is None else _OVERHEAD_BYTES + len(body(message))


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
