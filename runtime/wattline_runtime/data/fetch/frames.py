"""Between the fetch process and the child that reads a store for it: requests and answers.

The child runs as the account that may read the store, so its answers are only bytes to check. A
request is a line of JSON with a key. An answer is a sequence of frames, each a length and so many
bytes; a length of 0 ends it, and `FAILED` announces one more frame, a `Failure` as JSON.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO, Literal

import msgspec

LENGTH = struct.Struct(">I")
FAILED = 0xFFFF_FFFF
MAX_FRAME_BYTES = 4 * 1024 * 1024
MAX_TEXT_CHARS = 1_000

Why = Literal["away", "locked", "refused", "missing", "unreadable", "unfit", "unsettled"]
"""The last two are about files of the node that are to be published: those that can be part of no
version, and those that cannot be read as they are now."""
PASSING: tuple[Why, ...] = ("away", "locked")
"""Failures that end without a change to the job: it waits."""


class Request(msgspec.Struct, frozen=True):
    """A key of the store."""

    key: str
    is_size: bool = False
    """Its size is answered, in decimal digits, in place of its bytes."""


class Failure(msgspec.Struct, frozen=True):
    """Why a key cannot be read. The text never has a secret in it."""

    why: Why
    text: str


class ReadFailed(Exception):
    """The child reports a failure, or is gone."""

    def __init__(self, why: Why, text: str) -> None:
        super().__init__(text)
        self.why: Why = why
        self.text = text


def write_frame(out: BinaryIO, data: bytes) -> None:
    """One frame of an answer; an empty one is none."""
    for at in range(0, len(data), MAX_FRAME_BYTES):
        piece = data[at : at + MAX_FRAME_BYTES]
        out.write(LENGTH.pack(len(piece)))
        out.write(piece)


def write_end(out: BinaryIO, failure: Failure | None = None) -> None:
    """The end of an answer."""
    if failure is None:
        out.write(LENGTH.pack(0))
    else:
        data = msgspec.json.encode(failure)
        out.write(LENGTH.pack(FAILED))
        out.write(LENGTH.pack(len(data)))
        out.write(data)
    out.flush()


def read_frames(stream: BinaryIO) -> Iterator[bytes]:
    """The bytes of one answer. Raises ReadFailed."""
    while length := _length(stream):
        if length == FAILED:
            raise _failure(_exactly(stream, min(_length(stream), MAX_FRAME_BYTES)))
        if length > MAX_FRAME_BYTES:
            raise ReadFailed("unreadable", "its reader sent a frame that is too long")
        yield _exactly(stream, length)


def _failure(data: bytes) -> ReadFailed:
    try:
        failure = msgspec.json.decode(data, type=Failure)
    except msgspec.MsgspecError:
        return ReadFailed("unreadable", "its reader sent no valid answer")
    return ReadFailed(failure.why, failure.text[:MAX_TEXT_CHARS])


def _length(stream: BinaryIO) -> int:
    found: int = LENGTH.unpack(_exactly(stream, LENGTH.size))[0]
    return found


def _exactly(stream: BinaryIO, count: int) -> bytes:
    try:
        data = stream.read(count)
    except TimeoutError as error:
        raise ReadFailed("away", "it sends nothing") from error
    except OSError as error:
        raise ReadFailed("away", "its reader has ended") from error
    if len(data) < count:
        raise ReadFailed("away", "its reader has ended")
    return data
