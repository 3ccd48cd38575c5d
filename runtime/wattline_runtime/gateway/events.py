"""Events of the gateway's core, and the effects it requests.

Structs, which take a tenth of the time of frozen dataclasses to make: a request has seven. They are
part of no cycle, so the garbage collector need not see them.
"""

from collections.abc import Mapping
from typing import Literal, Protocol

import msgspec

from wattline_protocol.wire.api_keys import PriorityClass
from wattline_protocol.wire.rollouts import RouteSplit
from wattline_protocol.wire.routes import WorkerRoute
from wattline_runtime.wire import PREDICT, FromWorker, ToWorker

ServiceRoutes = Mapping[str, tuple[WorkerRoute, ...]]
"""All services of the site with the workers that may serve them."""

Connection = bytes
"""ID of a worker's connection in the socket."""

RefusalReason = Literal[
    "unknown_service",
    "no_worker",
    "queue_full",
    "too_slow",
    "deadline",
    "worker_lost",
    "poison",
    "bad_input",
    "model_error",
    "output_too_large",
    "stopping",
    "no_method",
]


class Output(msgspec.Struct, frozen=True, gc=False):
    """The answer, as JSON, or bytes as they are."""

    body: bytes
    is_bytes: bool = False
    tokens: int = 0
    """As the model reports them."""
    energy_uj: int | None = None
    """Of the worker's GPUs, for this request alone; None: not measured, or no run of its own."""


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """A refusal, its reason, and when to retry."""

    reason: RefusalReason
    message: str
    retry_after_s: int = 0
    """0: a retry soon would not succeed."""


Outcome = Output | Refusal


PRIORITIES: tuple[PriorityClass, ...] = ("urgent", "normal", "batch")
NORMAL = PRIORITIES.index("normal")
BATCH = PRIORITIES.index("batch")


class Trace(msgspec.Struct):
    """The trace that a request is part of."""

    parent: str
    """For its worker: the header traceparent."""
    sent_s: float = 0.0
    """When a part of it was first sent to a worker; 0 = never."""


class RequestKind(msgspec.Struct, frozen=True):
    """Method, form and priority class of a request."""

    method: str = PREDICT
    is_stream: bool = False
    is_bytes: bool = False
    """Its input is bytes, not JSON."""
    rank: int = NORMAL
    """Its priority class: position in `PRIORITIES`."""
    trace: Trace | None = None


PLAIN = RequestKind()


class Queued(Protocol):
    """A request in a queue."""

    id: int
    kind: RequestKind


# --- Events


class RoutesChanged(msgspec.Struct, frozen=True, gc=False):
    """The full set of routes, now."""

    services: ServiceRoutes
    splits: Mapping[str, RouteSplit] = msgspec.field(default_factory=dict)
    """How requests are shared out, where a revision is on trial."""


class Submitted(msgspec.Struct, frozen=True, gc=False):
    """A client requests the output of one input before `deadline_s` (monotonic)."""

    id: int
    service: str
    input: bytes
    deadline_s: float
    """Of a stream: for its first chunk. Each further one has as much time again."""
    seen: frozenset[str] | None = None
    """Services that the client may know of; None = all."""
    kind: RequestKind = PLAIN


class ChunksRead(msgspec.Struct, frozen=True, gc=False):
    """The client of a stream has read this many further chunks."""

    id: int
    count: int
    size_bytes: int
    """Of all of them."""


class Abandoned(msgspec.Struct, frozen=True, gc=False):
    """The client of this request has disconnected."""

    id: int


class WorkerMessage(msgspec.Struct, frozen=True, gc=False):
    """A message from a connection that proved `public_key`."""

    connection: Connection
    public_key: str
    message: FromWorker


class WorkerDisconnected(msgspec.Struct, frozen=True, gc=False):
    """The socket reports that this connection has ended."""

    connection: Connection


class Ticked(msgspec.Struct, frozen=True, gc=False):
    """Time has passed; see `Gateway.wake_at_s`."""


class StopStarted(msgspec.Struct, frozen=True, gc=False):
    """Accept no new requests; admitted ones are still answered."""


class HandoverChanged(msgspec.Struct, frozen=True, gc=False):
    """A successor at this address waits for the workers, is ready to replace this gateway, or has
    ended."""

    phase: Literal["begun", "ready", "ended"]


class GraceOver(msgspec.Struct, frozen=True, gc=False):
    """Answer all remaining requests now."""


Event = (
    RoutesChanged
    | Submitted
    | ChunksRead
    | Abandoned
    | WorkerMessage
    | WorkerDisconnected
    | Ticked
    | StopStarted
    | HandoverChanged
    | GraceOver
)


# --- Effects


class Send(msgspec.Struct, frozen=True, gc=False):
    """To a worker, in order with the other sends to it."""

    connection: Connection
    message: ToWorker


class Answer(msgspec.Struct, frozen=True, gc=False):
    """To the client; exactly one for each Submitted that was not Abandoned."""

    id: int
    service: str
    outcome: Outcome


class SendChunk(msgspec.Struct, frozen=True, gc=False):
    """To the client of a stream, before its Answer."""

    id: int
    data: bytes


class WorkerJoined(msgspec.Struct, frozen=True, gc=False):
    """A worker's first accepted beat."""

    connection: Connection
    route: WorkerRoute
    service: str


class WorkerLeft(msgspec.Struct, frozen=True, gc=False):
    """A worker was removed from the books."""

    connection: Connection
    route: WorkerRoute
    service: str
    why: str
    retried: int
    """Its requests that are sent to another worker."""


class WorkerStalled(msgspec.Struct, frozen=True, gc=False):
    """A worker made no progress for so long that its requests are tried elsewhere."""

    connection: Connection
    route: WorkerRoute
    service: str
    moved: int


class CircuitChanged(msgspec.Struct, frozen=True, gc=False):
    """A worker gets probes only from now on, or all requests again."""

    connection: Connection
    route: WorkerRoute
    service: str
    why: str
    """Empty: it has recovered."""


class WorkerRejected(msgspec.Struct, frozen=True, gc=False):
    """A beat without a route that permits it."""

    connection: Connection
    public_key: str
    why: str


Note = WorkerJoined | WorkerLeft | WorkerStalled | CircuitChanged | WorkerRejected
Effect = Send | Answer | SendChunk | Note
