"""Learned time of a batch by its cost and its longest input, and the runs that take least time.

For models with `length`. The time is fitted as `fixed + per length + per cost + per cost and
length`, each part at least 0: that covers a transformer, which reads all padding, and a model that
works step by step, whose time follows the length alone. Errors count relative to the time, so one
stall has little weight. Where the measurements show nothing, the fit keeps what it had; at first
all time is fixed, so that larger batches are tried. Batches of other sizes are probed when all
recent ones had about the same.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median_low

MEMORY = 0.98
"""Weight of the previous batches, per batch (about the newest 50 count)."""
SAMPLES = 9
"""Newest batches that set the level of the fitted times: 5 at a new pace move it."""
SWEEPS = 8
"""Of coordinate descent, from the previous fit."""
PROBE_AFTER = 16
"""Batches whose costs differ by less than factor 2: they do not show what other sizes take."""
PROBE_FACTOR = 4
WORTH_CUTTING_S = 0.002
"""A shorter batch takes less than the search for a better one."""

Parts = tuple[float, float, float, float]
"""Seconds of 1, of the length, of the cost, and of their product."""
UNKNOWN: Parts = (0.0, 0.0, 0.0, 0.0)
ALL_FIXED: Parts = (1.0, 0.0, 0.0, 0.0)


@dataclass(slots=True)
class LengthTimes:
    """What batches took, by cost and longest input."""

    mean_length: float = 0.0
    """Of the longest inputs of recent batches."""
    _products: list[list[float]] = field(default_factory=lambda: [[0.0] * 4 for _ in UNKNOWN])
    _sums: list[float] = field(default_factory=lambda: [0.0] * 4)
    _newest: deque[tuple[int, int, float]] = field(default_factory=lambda: deque(maxlen=SAMPLES))
    _costs: deque[int] = field(default_factory=lambda: deque(maxlen=PROBE_AFTER))
    _shape: Parts = UNKNOWN
    """The newest fit; `_parts` are the same at the level of the newest batches."""
    _parts: Parts | None = UNKNOWN
    """None: to be fitted again."""

    def note(self, cost: int, length: int, seconds: float) -> None:
        """A batch has ended."""
        weight = MEMORY if self._newest else 0.0
        self.mean_length = weight * self.mean_length + (1 - weight) * length
        row = [part / seconds for part in (1.0, length, cost, cost * length)]
        for products, value in zip(self._products, row, strict=True):
            products[:] = [
                MEMORY * p + value * other for p, other in zip(products, row, strict=True)
            ]
        self._sums = [MEMORY * total + value for total, value in zip(self._sums, row, strict=True)]
        self._newest.append((cost, length, seconds))
        self._costs.append(cost)
        self._parts = None

    def expected_s(self, cost: int, length: float) -> float | None:
        """Time of a batch; None while nothing is known."""
        return _time(self.parts(), cost, length) if self._newest else None

    def parts(self) -> Parts:
        """The fitted time, at the level of the newest batches."""
        if self._parts is None:
            self._shape = self._fitted()
            ratios = (s / _time(self._shape, cost, length) for cost, length, s in self._newest)
            level = median_low(ratios)
            fixed, per_length, per_cost, per_both = self._shape
            self._parts = level * fixed, level * per_length, level * per_cost, level * per_both
        return self._parts

    def _fitted(self) -> Parts:
        """Least squares with parts of at least 0."""
        parts = list(self._shape)
        rows = list(zip(self._products, self._sums, strict=True))
        for _ in range(SWEEPS):
            for index, ((a, b, c, d), total) in enumerate(rows):  # no generator: for each batch
                own = (a, b, c, d)[index]
                rest = a * parts[0] + b * parts[1] + c * parts[2] + d * parts[3]
                if own > 0:
                    parts[index] = max(0.0, (total - rest + own * parts[index]) / own)
        fixed, per_length, per_cost, per_both = parts
        return fixed, per_length, per_cost, per_both

    def best_run(
        self, sizes: Sequence[tuple[int, int]], oldest: int, budget: int
    ) -> tuple[int, int] | None:
        """First and last index of the batch to run, of items (length, cost) in order of length.

        All are cut into runs of neighbours, each of at most `budget`, that take least time in
        total; the batch is the run of `oldest`, so that none starves. None: not worth a search.
        """
        whole_s = self.expected_s(min(budget, sum(cost for _, cost in sizes)), sizes[-1][0])
        if whole_s is None or whole_s < WORTH_CUTTING_S or sizes[0][0] == sizes[-1][0]:
            return None
        first, last = _run_of(oldest, _cuts(sizes, budget, self.parts()))
        if not self._must_probe():
            return first, last
        cost = sum(cost for _, cost in sizes[first : last + 1])
        if first < last:
            return _run_of(oldest, _cuts(sizes, max(1, cost // PROBE_FACTOR), self.parts()))
        return _run_of(oldest, _cuts(sizes, min(budget, PROBE_FACTOR * cost), ALL_FIXED))

    def _must_probe(self) -> bool:
        return len(self._costs) == PROBE_AFTER and max(self._costs) < 2 * min(self._costs)


def _time(parts: Parts, cost: int, length: float) -> float:
    fixed, per_length, per_cost, per_both = parts
    return fixed + per_length * length + cost * (per_cost + per_both * length)


def _cuts(sizes: Sequence[tuple[int, int]], budget: int, parts: Parts) -> list[int]:
    """For each item the first one of the run that ends with it, where the first items up to it are
    cut into runs of least total time. An item over the budget is a run of its own."""
    fixed, per_length, per_cost, per_both = parts
    least_s = [0.0]
    starts: list[int] = []
    for end, (length, cost) in enumerate(sizes):
        run_s = fixed + per_length * length
        cost_s = per_cost + per_both * length
        start, best_s = end, least_s[end] + run_s + cost * cost_s
        for begin in range(end - 1, -1, -1):
            cost += sizes[begin][1]
            if cost > budget:
                break
            total_s = least_s[begin] + run_s + cost * cost_s
            if total_s <= best_s:
                start, best_s = begin, total_s
        starts.append(start)
        least_s.append(best_s)
    return starts


def _run_of(item: int, starts: Sequence[int]) -> tuple[int, int]:
    last = len(starts) - 1
    while starts[last] > item:
        last = starts[last] - 1
    return starts[last], last
