"""Wrong API keys by address of their clients: counts, and how much later each is answered.

Memory is bounded: of more addresses the one that failed longest ago is forgotten. Its next failures
are answered at once again; what 256 bits cannot be guessed by, no address needs to be remembered.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

MAX_ADDRESSES = 4_096
FREE = 5
"""Failures that are answered at once."""
STEP_S = 0.2
"""Delay of the next one; it doubles with each further failure."""
MAX_DELAY_S = 5.0
FORGIVE_S = 10.0
"""One failure fewer for each such time without one."""


@dataclass(slots=True)
class _Failures:
    count: float
    at_s: float


@dataclass(slots=True)
class FailedKeys:
    """Failures by address."""

    total: int = 0
    _by_address: OrderedDict[str, _Failures] = field(default_factory=OrderedDict)

    def delay_s(self, address: str, now_s: float) -> float:
        """Counts a failure; how long its answer is to wait."""
        self.total += 1
        known = self._by_address.setdefault(address, _Failures(0.0, now_s))
        self._by_address.move_to_end(address)
        if len(self._by_address) > MAX_ADDRESSES:
            self._by_address.popitem(last=False)
        known.count = max(0.0, known.count - (now_s - known.at_s) / FORGIVE_S) + 1
        known.at_s = now_s
        over = known.count - FREE
        return min(MAX_DELAY_S, STEP_S * 2 ** min(over, 16) / 2) if over > 0 else 0.0

    def worst(self, most: int) -> dict[str, int]:
        """Addresses with the most failures, for the log."""
        ranked = sorted(self._by_address.items(), key=lambda one: one[1].count, reverse=True)
        return {address: round(failures.count) for address, failures in ranked[:most]}
