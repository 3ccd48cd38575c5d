"""Reads what programs report, attempt by attempt, for a bounded time at once.

Each look is bounded by itself. But a node may have hundreds of attempts, and caps, leases and beats
wait for the same thread. Those that were not reached come first the next time.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable

from wattline_agent.executor.attempt import Attempt

READING_S = 0.1
"""Of the 0.9 s between two lists."""


class ReadingTurns:
    """Whose turn it is."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._turns = deque[Attempt]()

    def read(self, attempts: Iterable[Attempt]) -> None:
        """Read the reports of those that have not ended, and keep their records; as many as the
        time permits, and at least one."""
        known, until_s = {*map(id, self._turns)}, self._clock() + READING_S
        self._turns.extend(one for one in attempts if id(one) not in known)
        for _ in range(len(self._turns)):
            attempt = self._turns.popleft()
            if attempt.exit is not None:
                continue
            attempt.metrics.poll()
            attempt.run.keep()
            self._turns.append(attempt)
            if self._clock() >= until_s:
                break
