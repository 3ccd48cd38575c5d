"""Runs a model's `chat` and `complete`: generators that the model thread takes in turns; and its
`compare`.

One piece of each at a time, so that several clients read at once and a cancelled generation ends
before its next piece. A generation whose client reads slowly is left out until it has read.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from wattline_runtime.serve.batcher import Failed, Key, Outcome, Output
from wattline_runtime.serve.generations import Call
from wattline_runtime.serve.model import InputRefused, inference_mode, print_traceback
from wattline_runtime.serve.openai import Finish, Writer, objection
from wattline_runtime.wire import (
    CHUNK_WINDOW,
    CHUNK_WINDOW_BYTES,
    COMPARE,
    MAX_DETAIL_CHARS,
    MAX_ITEM_BYTES,
)


@dataclass(frozen=True, slots=True)
class ChunkMade:
    """A part of a stream."""

    key: Key
    data: bytes


@dataclass(frozen=True, slots=True)
class CallEnded:
    """The model is done with a request."""

    key: Key
    outcome: Outcome


CallNews = ChunkMade | CallEnded
Piece = str | dict[str, Any] | Finish


class _Broken(Exception):
    """The generation ends with this failure."""

    def __init__(self, failure: Failed) -> None:
        super().__init__(failure.detail)
        self.failure = failure


@dataclass(slots=True)
class _Generation:
    """One call of the model, from its first piece to its end."""

    call: Call
    writer: Writer | None = None
    pieces: Iterator[Piece] | None = None
    unread: deque[int] = field(default_factory=deque)
    """Sizes of chunks that the client has not read."""
    unread_bytes: int = 0
    size_bytes: int = 0
    """Of an answer that is not streamed, up to now."""

    @property
    def may_continue(self) -> bool:
        """Whether the client has read enough for the next piece."""
        # The last two chunks of a stream need no further permission.
        return len(self.unread) < CHUNK_WINDOW - 2 and self.unread_bytes < CHUNK_WINDOW_BYTES

    def release(self, count: int) -> None:
        """The client has read so many chunks."""
        for _ in range(min(count, len(self.unread))):
            self.unread_bytes -= self.unread.popleft()


class Calls:
    """The running generations. All methods run on the model thread."""

    def __init__(self, model: object, post: Callable[[CallNews], None]) -> None:
        self._model = model
        self._post = post
        self._running: dict[Key, _Generation] = {}

    @property
    def can_step(self) -> bool:
        """Whether any generation may continue now."""
        return any(one.may_continue for one in self._running.values())

    def start(self, call: Call) -> None:
        """Begin with the next step."""
        self._running[call.key] = _Generation(call)

    def release(self, key: Key, count: int) -> None:
        """A client has read so many chunks."""
        if (one := self._running.get(key)) is not None:
            one.release(count)

    def end(self, key: Key) -> None:
        """End a generation: its client has left."""
        one = self._running.pop(key, None)
        if one is not None:
            _close(one)
            self._post(CallEnded(key, Failed("cancelled")))

    def step(self) -> None:
        """One piece of each generation that may continue."""
        for key, one in list(self._running.items()):
            if not one.may_continue:
                continue
            outcome = self._step(one)
            if outcome is not None:
                del self._running[key]
                self._post(CallEnded(key, outcome))

    def _step(self, one: _Generation) -> Outcome | None:
        try:
            with inference_mode():
                if one.call.method == COMPARE:
                    return self._compare(one.call)
                return self._advance(one)
        except _Broken as broken:
            _close(one)
            return broken.failure
        except InputRefused as error:
            return Failed("bad_input", str(error)[:MAX_DETAIL_CHARS])
        except Exception as error:
            # The text stays in the worker's log: it may contain what a client must not see.
            print_traceback(error)
            return Failed("model_error", f"the model raised {type(error).__name__}")

    def _advance(self, one: _Generation) -> Outcome | None:
        if one.pieces is None or one.writer is None:
            one.writer, one.pieces = self._begin(one.call)
        try:
            piece = next(one.pieces)
        except StopIteration as end:
            if isinstance(end.value, Finish):
                one.writer.finish = end.value
            return self._finish(one, one.writer)
        if isinstance(piece, Finish):
            one.writer.finish = piece
        elif isinstance(piece, str) or (isinstance(piece, dict) and one.call.method == "chat"):
            self._give(one, one.writer, piece)
        else:
            text = f"the model yielded {type(piece).__name__}, neither text nor Finish"
            raise _Broken(Failed("model_error", text))
        return None

    def _compare(self, call: Call) -> Outcome:
        old, new = msgspec.json.decode(call.body, type=tuple[Any, Any])
        same = getattr(self._model, COMPARE)(old, new)
        same = same.tolist() if hasattr(same, "tolist") else same
        if not isinstance(same, bool):
            text = f"compare returned {type(same).__name__}, neither True nor False"
            return Failed("model_error", text)
        return Output(msgspec.json.encode(same))

    def _begin(self, call: Call) -> tuple[Writer, Iterator[Piece]]:
        try:
            request = msgspec.json.decode(call.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InputRefused(str(error)) from error
        if why := objection(call.method, request):
            raise InputRefused(why)
        result = getattr(self._model, call.method)(request)
        pieces = iter((result,)) if isinstance(result, str) else iter(result)
        return Writer(call.method, request), pieces

    def _give(self, one: _Generation, writer: Writer, piece: str | dict[str, Any]) -> None:
        if one.call.is_stream:
            self._send(one, writer.chunk(piece))
            return
        one.size_bytes += len(piece) if isinstance(piece, str) else len(msgspec.json.encode(piece))
        if one.size_bytes > MAX_ITEM_BYTES:
            raise _Broken(_too_large())
        writer.add(piece)

    def _finish(self, one: _Generation, writer: Writer) -> Outcome:
        tokens = writer.finish.prompt_tokens + writer.finish.completion_tokens
        if one.call.is_stream:
            for data in writer.last_chunks():
                self._send(one, data)
            return Output(b"", tokens=tokens)
        body = writer.body()
        return Output(body, tokens=tokens) if len(body) <= MAX_ITEM_BYTES else _too_large()

    def _send(self, one: _Generation, data: bytes) -> None:
        if len(data) > MAX_ITEM_BYTES:
            raise _Broken(_too_large())
        one.unread.append(len(data))
        one.unread_bytes += len(data)
        self._post(ChunkMade(one.call.key, data))


def _too_large() -> Failed:
    return Failed("output_too_large", f"the answer exceeds {MAX_ITEM_BYTES} bytes")


def _close(one: _Generation) -> None:
    """Let the model's generator free what it holds."""
    close = getattr(one.pieces, "close", None)
    if close is not None:
        try:
            close()
        except Exception as error:
            print_traceback(error)
