"""Applies answers of workers to their requests, whole or in chunks. No I/O."""

from wattline_runtime.gateway import events as e
from wattline_runtime.gateway.request_queue import RequestQueue
from wattline_runtime.gateway.state import Request, WorkerState
from wattline_runtime.wire import (
    CHUNK_WINDOW,
    CHUNK_WINDOW_BYTES,
    MAX_DETAIL_CHARS,
    MAX_ITEM_BYTES,
    CancelInfer,
    Chunk,
    Failure,
    Reply,
    possible_tokens,
)

NEVER_RAN = ("draining", "overloaded")
"""Failures of a worker that did not start the request."""
STREAM_LOST = "its worker ended before the stream did"
MAX_UNREAD_BYTES = CHUNK_WINDOW_BYTES + 3 * MAX_ITEM_BYTES
"""Of a stream. A worker begins a chunk below the window, and the last two wait for nothing."""
FINAL = ("bad_input", "model_error", "output_too_large")
"""Failures that come from the request and its model, not from where it ran."""


def continue_stream(
    queue: RequestQueue, worker: WorkerState, message: Chunk, now_s: float
) -> list[e.Effect]:
    """A part of a stream. The first one binds the request to this worker."""
    request = queue.requests.get(message.id)
    if message.id not in worker.in_flight or request is None or not request.kind.is_stream:
        return []
    if worker.connection not in (request.worker, request.other):
        return []
    worker.quiet_since_s = now_s
    if worker.is_stalled:
        worker.is_stalled = False
        queue.services[worker.service].refresh(now_s)
    effects: list[e.Effect] = []
    if not request.has_begun:
        request.has_begun = True
        queue.services[worker.service].load.begun(request.kind, now_s - request.since_s)
        effects = _leave_to(queue, request, worker)
    request.unread += 1
    request.unread_bytes += len(message.data)
    request.deadline_s = now_s + request.budget_s
    if request.unread > CHUNK_WINDOW or request.unread_bytes > MAX_UNREAD_BYTES:
        most = f"{CHUNK_WINDOW} chunks or {MAX_UNREAD_BYTES} bytes"
        text = f"its worker sent more than {most} that were not read"
        drop = queue.drop(request)
        return [*effects, *drop, queue.answer(request, e.Refusal("model_error", text))]
    return [*effects, e.SendChunk(message.id, message.data)]


def _leave_to(queue: RequestQueue, request: Request, worker: WorkerState) -> list[e.Effect]:
    """Remove it from the queue, or from another worker; this one alone has it now."""
    effects: list[e.Effect] = []
    if request.worker != worker.connection:
        request.other = None
        effects = queue.drop(request)
    elif request.other is not None:
        effects = [e.Send(request.other, CancelInfer(request.id))]
    request.worker, request.other = worker.connection, None
    return effects


def end_of_stream(message: Reply | Failure) -> e.Outcome:
    """The end of an answer of which the client has a part."""
    if isinstance(message, Failure) and message.reason in NEVER_RAN:
        return e.Refusal("worker_lost", STREAM_LOST)
    return outcome(message)


def is_final(message: Reply | Failure) -> bool:
    """Whether a worker's answer holds wherever the request runs."""
    return isinstance(message, Reply) or message.reason in FINAL


def outcome(message: Reply | Failure) -> e.Outcome:
    """The client's outcome for a worker's answer."""
    if isinstance(message, Reply) and len(message.output) > MAX_ITEM_BYTES:
        text = f"its worker sent {len(message.output)} bytes, at most {MAX_ITEM_BYTES} allowed"
        return e.Refusal("output_too_large", text)
    if isinstance(message, Reply):
        tokens = possible_tokens(message.tokens)
        return e.Output(message.output, message.is_bytes, tokens, message.energy_uj)
    detail = message.detail[:MAX_DETAIL_CHARS]
    match message.reason:
        case "bad_input" | "model_error" | "output_too_large":
            return e.Refusal(message.reason, detail)
        case _:  # the measured batch time made it late
            return e.Refusal("deadline", "no answer before the deadline")
