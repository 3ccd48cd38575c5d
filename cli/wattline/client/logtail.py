"""Finds the beginning of the last lines of a log, from its end."""

from collections.abc import Callable

from wattline_protocol.wire.bounds import MAX_LOG_CHUNK_BYTES
from wattline_protocol.wire.client_messages import Log

Read = Callable[[int, int], Log]
"""A piece of the log from an offset (below 0: from the end), and its maximum size in bytes."""

START = 0


def tail_offset(read: Read, lines: int) -> int:
    """Offset of the last `lines` lines; the oldest byte retained where there are fewer.

    The line end of the last line does not begin another one.
    """
    piece = read(-MAX_LOG_CHUNK_BYTES, MAX_LOG_CHUNK_BYTES)
    begins = piece.next_offset - len(piece.data)
    wanted, data = lines, piece.data
    if data and not data.endswith(b"\n"):
        wanted -= 1
    while True:
        at = _last_lines(data, wanted)
        if at is not None:
            return begins + at
        wanted -= data.count(b"\n")
        if begins == START:
            return START
        size = min(begins, MAX_LOG_CHUNK_BYTES)
        piece = read(begins - size, size)
        if len(piece.data) != size or piece.next_offset != begins:
            return begins - size  # older bytes were cut: the log begins with a note of it
        begins, data = begins - size, piece.data


def _last_lines(data: bytes, lines: int) -> int | None:
    """Behind the line end before the last `lines` ended lines of `data`; None: it is not here."""
    at = len(data)
    for _ in range(lines + 1):
        at = data.rfind(b"\n", 0, at)
        if at < 0:
            return None
    return at + 1
