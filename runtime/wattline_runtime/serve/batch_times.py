"""Measured times of batches: how long a batch takes, and how many requests a worker should hold.

Costs are grouped by powers of two; inputs with lengths: `length_times`. A median of few samples
follows a model that changes its pace, and one stall or a slow first batch does not move it.
"""

from collections import deque
from dataclasses import dataclass, field
from statistics import median_low

from wattline_runtime.serve.length_times import LengthTimes

SAMPLES = 9
"""Newest batches of a group that count."""
EFFICIENT_SHARE = 0.9
"""Share of the best rate at which a smaller batch is as good as the best one."""
UNMEASURED_WINDOW = 8
"""Requests to hold before the first batch has ended."""
MIN_HOLD_S = 0.01
"""Work to hold at least: a fast model must not wait for the way to the gateway and back."""
FORGET_S = 30.0
"""A group without a batch for this long is forgotten: it may have been a bad moment."""
RECENT = 256
"""Newest batches that `limit_s` considers."""
LIMIT_FACTOR = 8
SHORTEST_LIMIT_S = 10.0
UNMEASURED_LIMIT_S = 120.0
"""For the first batch, which may compile the model."""
MEAN_COST_MEMORY = 0.9
SHORTEST_S = 1e-6
"""Clock resolution: a batch is never faster."""


@dataclass(slots=True)
class _Group:
    """Batches whose costs have the same number of bits."""

    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=SAMPLES))
    rates: deque[float] = field(default_factory=lambda: deque(maxlen=SAMPLES))
    newest_s: float = 0.0
    median_s: float = 0.0
    rate: float = 0.0
    """Cost per second."""


@dataclass(slots=True)
class BatchTimes:
    """What the batches of one model took."""

    by_length: LengthTimes = field(default_factory=LengthTimes)
    """For inputs with a length."""
    _groups: dict[int, _Group] = field(default_factory=dict)
    _recent_s: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    _mean_cost: float = 1.0
    """Of a request."""

    def note(self, cost: int, count: int, length: int, seconds: float, now_s: float) -> None:
        """A batch of `count` requests, the longest of `length`, has ended after `seconds`."""
        mean = cost / count
        self._mean_cost = (
            MEAN_COST_MEMORY * self._mean_cost + (1 - MEAN_COST_MEMORY) * mean
            if self._groups
            else mean
        )
        seconds = max(seconds, SHORTEST_S)
        self._recent_s.append(seconds)
        if length:
            self.by_length.note(cost, length, seconds)
        group = self._groups.setdefault(_group_of(cost), _Group())
        group.seconds.append(seconds)
        group.rates.append(cost / seconds)
        group.newest_s = now_s
        group.median_s = median_low(group.seconds)
        group.rate = median_low(group.rates)
        for number in [n for n, g in self._groups.items() if now_s - g.newest_s > FORGET_S]:
            del self._groups[number]

    def expected_s(self, cost: int, length: float = 0) -> float:
        """Time of a batch of `cost`, the longest input of `length`; 0 before the first measurement.

        Without lengths, of a group that was never measured: the next smaller one's, else the next
        larger one's. Only a run can show that more takes longer.
        """
        fitted_s = self.by_length.expected_s(cost, length) if length else None
        if fitted_s is not None:
            return fitted_s
        number = _group_of(cost)
        if number not in self._groups:
            smaller = [n for n in self._groups if n < number]
            if not self._groups:
                return 0.0
            number = max(smaller) if smaller else min(self._groups)
        return self._groups[number].median_s

    def window(self, budget: int) -> int:
        """Requests to hold: two batches, each twice the smallest that is efficient.

        Twice, so that the next larger size is measured as long as it might be better.
        """
        if not self._groups:
            return UNMEASURED_WINDOW
        best = max(group.rate for group in self._groups.values())
        efficient = min(n for n, g in self._groups.items() if g.rate >= EFFICIENT_SHARE * best)
        cost = max(2 * min(budget, 1 << (efficient + 1)), best * MIN_HOLD_S)
        return max(2, round(cost / self._mean_cost))

    def limit_s(self) -> float:
        """A batch that runs longer hangs: 8 times the p99 of the newest batches, at least 10 s."""
        if not self._recent_s:
            return UNMEASURED_LIMIT_S
        p99_s = sorted(self._recent_s)[int(0.99 * len(self._recent_s))]
        return max(SHORTEST_LIMIT_S, LIMIT_FACTOR * p99_s)

    def batch_s(self, requests: int) -> float:
        """Expected time of a batch of `requests` of mean cost and length."""
        return self.expected_s(
            max(1, round(requests * self._mean_cost)), self.by_length.mean_length
        )


def _group_of(cost: int) -> int:
    """0 for a cost of 1, 1 for 2, 2 for 3 and 4, 3 for 5 to 8."""
    return (cost - 1).bit_length()
