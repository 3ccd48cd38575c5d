"""The stream of a program's log: a full disk loses lines and ends no program."""

from contextlib import suppress
from typing import TextIO, cast


def lasting_stream(stream: TextIO) -> TextIO:
    """The stream without its OSErrors: text that it does not accept is lost, as on a full disk or
    in a pipe without a reader. What follows a log line must not depend on it."""
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
