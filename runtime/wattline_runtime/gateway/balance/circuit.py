"""Circuit of a worker: whether it is trusted with requests, or gets probes only.

It opens when the worker's answers fail, or when it is far slower than its peers. While it is open,
new requests go to the others; now and then one of them is sent here too, as a probe, whose answer
is not waited for. It closes when probes show that the worker has recovered.
"""

from collections.abc import Collection
from dataclasses import dataclass
from statistics import median_low

MEMORY = 0.8
"""Weight of the previous answers, per answer."""
FAILING_SHARE = 0.5
"""Weighted share of failed answers that opens a circuit: four in a row."""
RECOVERED_SHARE = 0.2
"""Below it a failing worker has recovered: after six good answers in a row."""
SLOW_FACTOR = 5
SLOW_AT_LEAST_S = 0.02
"""Far slower: a lone request takes 5 times as long as with the median of them, and so much more."""
PROBE_PERIOD_S = 1.0


@dataclass(slots=True)
class Circuit:
    """Of one worker."""

    is_failing: bool = False
    is_slow: bool = False
    probe_at_s: float = 0.0
    """When the next probe is due."""
    noted_open: bool = False
    """Whether the log says that it is open."""
    _failed_share: float = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the worker gets probes only."""
        return self.is_failing or self.is_slow

    @property
    def why(self) -> str:
        """Why it is open; empty: it is not."""
        if self.is_failing:
            return "its answers fail"
        return "it is far slower than the others" if self.is_slow else ""

    def note(self, *, failed: bool) -> bool:
        """An answer of the model, or its failure; whether the circuit has changed."""
        if not failed and not self._failed_share:
            return False  # nearly always
        self._failed_share = MEMORY * self._failed_share + (1 - MEMORY) * failed
        was_failing = self.is_failing
        limit = RECOVERED_SHARE if was_failing else FAILING_SHARE
        self.is_failing = self._failed_share > limit
        return self.is_failing != was_failing

    def compare(self, lone_s: float, lone_s_of_all: Collection[float]) -> None:
        """Times of a lone request that the worker and all of its service measured."""
        usual_s = median_low(lone_s_of_all) if len(lone_s_of_all) > 1 else lone_s
        self.is_slow = lone_s > SLOW_FACTOR * usual_s and lone_s - usual_s > SLOW_AT_LEAST_S
