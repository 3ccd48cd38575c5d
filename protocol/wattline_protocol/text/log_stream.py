"""The stream of a program's log: a full disk loses lines of it, and ends no program."""

from contextlib import suppress
from typing import TextIO, cast


def lasting_stream(stream: TextIO) -> TextIO:
    """To write a log to: what the stream does not take is lost, as on a full disk, or of a pipe
    whose reader has ended. Whatever logs a line in between depends on what follows it."""
    return cast("TextIO", _LastingStream(stream))


class _LastingStream:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """As the stream."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """As the stream."""
        with suppress(OSError):
            self._stream.flush()
