"""Memory of answers of record streams that are made and not sent. No I/O.

A stream begins 64 records as long as answers are small; then all of them may be large, and the
first one late: 20 connections that asked for kept answers of 1 MiB took 1.1 GB with 2 KB each.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from wattline_protocol.http.unread import UnreadAnswers

MOST_UNSENT_BYTES = 256 * 1024**2
"""Of all streams of a process; a stream of the client that holds most ends beyond it."""
SMALL_BYTES = 64 * 1024
"""So much of a stream may be unsent whatever others have."""


@dataclass(slots=True)
class Unsent:
    """Answers of one connection."""

    client: str
    total: UnreadAnswers
    """Of all connections."""
    end: Callable[[], None] = lambda: None
    """Called once there is no memory for one of them: drops the others, and ends the connection."""
    is_over: bool = False
    _is_closed: bool = False
    _held_bytes: int = 0
    _bytes: dict[int, int] = field(default_factory=dict)
    """Size by number."""

    def admits(self, seq: int, size_bytes: int) -> bool:
        """Count an answer that is about to be made; False: there is no memory for it. Those of a
        connection that has ended are bounded by what is kept of its stream."""
        if self._is_closed or self.is_over:
            return not self.is_over
        self._bytes[seq] = size_bytes
        self._change(size_bytes)
        self.is_over = self._held_bytes > SMALL_BYTES and self.total.are_too_many(self.client)
        if self.is_over:
            self.end()  # what it holds counts until `close`, since it is freed a turn later
        return not self.is_over

    def sent(self, seq: int) -> None:
        """An answer is on its way to the client."""
        self._change(-self._bytes.pop(seq, 0))

    def close(self) -> None:
        """The connection has ended, or is to."""
        self._is_closed = True
        self._bytes.clear()
        self._change(-self._held_bytes)

    def _change(self, more_bytes: int) -> None:
        self._held_bytes += more_bytes
        self.total.change(self.client, more_bytes)
