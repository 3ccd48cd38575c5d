"""Bodies of OpenAI's API: what a model's `chat`, `complete` and `embed` give, as clients read it.

The gateway passes these bytes to the client as they are.
"""

import base64
import time
from array import array
from collections.abc import Iterable
from typing import Any
from uuid import uuid4

import msgspec

from wattline_runtime.wire import CHAT


class Finish(msgspec.Struct, frozen=True):
    """Yielded (or returned) by a model at the end of a generation: what it counted, and why it
    ended."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    reason: str = "stop"
    """`stop`, `length`, `tool_calls` or `content_filter`."""

    @property
    def usage(self) -> dict[str, int]:
        """As clients read it."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }


class Writer:
    """Writes one answer of `chat` or `complete`: chunks, or one body at its end."""

    def __init__(self, method: str, request: dict[str, Any]) -> None:
        self._is_chat = method == CHAT
        self._model = request.get("model", "")
        options = request.get("stream_options")
        self._has_usage = isinstance(options, dict) and options.get("include_usage") is True
        self._id = f"{'chatcmpl' if self._is_chat else 'cmpl'}-{uuid4().hex}"
        self._created = int(time.time())
        self._texts: list[str] = []
        self._message: dict[str, Any] = {}
        self._is_first = True
        self.finish = Finish()

    def chunk(self, piece: str | dict[str, Any]) -> bytes:
        """A piece of text, or of chat a delta, as a chunk."""
        if not self._is_chat:
            return self._object(True, {"text": piece, "logprobs": None}, None)
        delta = {"content": piece} if isinstance(piece, str) else piece
        if self._is_first:
            self._is_first = False
            delta = {"role": "assistant", **delta}
        return self._object(True, {"delta": delta}, None)

    def last_chunks(self) -> list[bytes]:
        """What ends a stream: the reason, and where the client wants it the usage."""
        content: dict[str, Any] = {"delta": {}} if self._is_chat else {"text": ""}
        chunks = [self._object(True, content, self.finish.reason)]
        if self._has_usage:
            chunks.append(self._encode(True, [], self.finish.usage))
        return chunks

    def add(self, piece: str | dict[str, Any]) -> None:
        """A piece of an answer that is not streamed."""
        if isinstance(piece, str):
            self._texts.append(piece)
        else:
            self._message.update(piece)

    def body(self) -> bytes:
        """All pieces as one body."""
        text = "".join(self._texts)
        if self._is_chat:
            content: dict[str, Any] = {
                "message": {"role": "assistant", "content": text or None, **self._message}
                if self._message
                else {"role": "assistant", "content": text}
            }
        else:
            content = {"text": text, "logprobs": None}
        choice = {"index": 0, **content, "finish_reason": self.finish.reason}
        return self._encode(False, [choice], self.finish.usage)

    def _object(self, is_chunk: bool, content: dict[str, Any], reason: str | None) -> bytes:
        return self._encode(is_chunk, [{"index": 0, **content, "finish_reason": reason}], None)

    def _encode(
        self, is_chunk: bool, choices: list[dict[str, Any]], usage: dict[str, int] | None
    ) -> bytes:
        kind = "text_completion"
        if self._is_chat:
            kind = "chat.completion.chunk" if is_chunk else "chat.completion"
        body: dict[str, Any] = {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self._model,
            "choices": choices,
        }
        if usage is not None:
            body["usage"] = usage
        return msgspec.json.encode(body)


def objection(method: str, request: Any) -> str:
    """Why a model cannot be given this body of `chat` or `complete`; empty = it can."""
    if not isinstance(request, dict):
        return "the body must be an object"
    if request.get("n") not in (None, 1):
        return "`n` must be 1: a model gives one answer"
    if method != CHAT:
        return "" if isinstance(request.get("prompt"), str) else "`prompt` must be a text"
    messages = request.get("messages")
    if isinstance(messages, list) and messages and all(isinstance(m, dict) for m in messages):
        return ""
    return "`messages` must be a list of messages"


def embedding_texts(request: Any) -> list[str]:
    """Inputs of an embeddings request. Raises ValueError."""
    if not isinstance(request, dict):
        raise ValueError("the body must be an object")
    given = request.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise ValueError("`input` is neither a text nor a list of texts")
    if request.get("encoding_format", "float") not in ("float", "base64"):
        raise ValueError("`encoding_format` is neither float nor base64")
    if request.get("dimensions") is not None:
        raise ValueError("`dimensions` cannot be chosen")
    return texts


def embeddings(request: dict[str, Any], vectors: Iterable[list[float]], tokens: int) -> bytes:
    """The body of an embeddings answer."""
    as_text = request.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": i, "embedding": _base64(v) if as_text else v}
        for i, v in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    body = {"object": "list", "data": data, "model": request.get("model", ""), "usage": usage}
    return msgspec.json.encode(body)


def _base64(vector: list[float]) -> str:
    """Little-endian floats of 32 bits, as OpenAI's."""
    floats = array("f", vector)
    return base64.b64encode(floats.tobytes()).decode()
