"""MessagePack encoding of messages, with size limits; the only place where bytes are decoded."""

from typing import Any, Generic, TypeVar

import msgspec

from wattline_protocol.wire.malformed import in_words

M = TypeVar("M")

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""No message of the control plane comes near this; the socket refuses larger frames."""


class MalformedMessage(ValueError):
    """Bytes that are no message of the expected union; the text names field and reason."""


class Codec(Generic[M]):
    """Encodes and decodes one union of tagged structs."""

    def __init__(self, union: Any, *, max_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[M] = msgspec.msgpack.Decoder(union)
        self._max_bytes = max_bytes

    def encode(self, message: M) -> bytes:
        """Bytes of `message`. Raises ValueError when it is over the size limit."""
        data = self._encoder.encode(message)
        if len(data) > self._max_bytes:
            raise ValueError(
                f"{type(message).__name__} of {len(data)} bytes is over the limit of "
                f"{self._max_bytes} bytes"
            )
        return data

    def decode(self, data: bytes) -> M:
        """The message in `data`. Raises MalformedMessage, never anything else."""
        if len(data) > self._max_bytes:
            raise MalformedMessage(f"{len(data)} bytes, at most {self._max_bytes} allowed")
        try:
            return self._decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedMessage(in_words(data, error)) from error
