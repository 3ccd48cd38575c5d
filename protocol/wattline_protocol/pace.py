"""Members that send faster than they may: their messages wait their turn, and a flood is cut off.

What is above the rate is taken later, in order. So a client that waits for its answers is slowed
down and loses nothing; one that goes on all the same loses what its wait has no room for.
"""

from collections import deque
from collections.abc import Iterator
from typing import Generic, Literal, TypeVar

from wattline_protocol.refusals import RateLimit

MAX_WAITING_BYTES = 16 * 1024 * 1024
"""Of one member: four of the largest messages."""
LOOK_S = 0.01
"""What waits is looked at so often: ten messages of a member that may send 1,000 a second."""

T = TypeVar("T")


class Pace(Generic[T]):
    """One socket's senders. `T`: a message."""

    def __init__(self, rate: RateLimit, waiting: int) -> None:
        """`waiting`: messages of one sender that may wait; 0 = none, all above the rate is lost."""
        self._rate = rate
        self._most = waiting
        self._waiting: dict[str, deque[tuple[T, int]]] = {}
        self._bytes: dict[str, int] = {}

    def judge(
        self, sender: str, message: T, size: int, now_s: float
    ) -> Literal["now", "later", "no"]:
        """Whether it may be taken now; `due` gives it back where it is to be taken later."""
        queue = self._waiting.get(sender)
        if queue is None and self._rate.allows(sender, now_s):
            return "now"
        waiting_bytes = self._bytes.get(sender, 0) + size
        if len(queue or ()) >= self._most or waiting_bytes > MAX_WAITING_BYTES:
            return "no"
        self._waiting.setdefault(sender, deque()).append((message, size))
        self._bytes[sender] = waiting_bytes
        return "later"

    def due(self, most: int, now_s: float) -> Iterator[tuple[str, T]]:
        """Of what waits, up to `most` messages that may be taken now, with their senders."""
        for sender, queue in list(self._waiting.items()):
            while queue and most > 0 and self._rate.allows(sender, now_s):
                message, size = queue.popleft()
                self._bytes[sender] -= size
                most -= 1
                yield sender, message
            if not queue:
                del self._waiting[sender], self._bytes[sender]

    @property
    def retry_in_s(self) -> float | None:
        """When to ask for `due` again though nothing comes in; None = nothing waits."""
        return LOOK_S if self._waiting else None
