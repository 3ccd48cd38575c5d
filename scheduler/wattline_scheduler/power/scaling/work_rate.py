"""What a replica can do, learned from its load and the times that requests took; pure.

A queue that is served evenly answers in ``alone / (p × (1 - x / capacity))``: p is the performance
under the cap (1 = uncapped), x the work answered a second, per replica and unit of performance. So
``1 / (time × p)`` falls with x in a straight line, from 1 / alone to 0 at the capacity. Least
squares over windows of requests give both constants, whatever the caps were: another cap at the
same load is another x, which makes the slope known without a change of the load.
"""

from dataclasses import dataclass, field

from wattline_protocol.ids import Instant
from wattline_scheduler.power.topology.least_squares import LeastSquares

HALF_LIFE_S = 1_800.0
"""Of a window's weight."""

KNOWN_WINDOWS = 6
"""Windows before the constants are relied on."""

BEYOND_SEEN = 1.25
"""Capacity counts as no more than this times the highest load that was answered."""

SEEN_FADES = 0.995
"""Factor on that load for each window."""

SPREAD_SHARE = 0.05
"""Spread of x, over its mean, that a fit needs to outweigh the assumed capacity."""

STEEPEST = 3.0
"""Limit of the slope, in multiples of the one assumed."""


@dataclass(slots=True)
class WorkRate:
    """Constants of one service on one class of GPU."""

    windows: int = 0
    _line: LeastSquares = field(default_factory=lambda: LeastSquares(half_life_s=HALF_LIFE_S))
    _seen: float = 0.0
    """Highest x."""
    _constants: tuple[float, float] | None = None
    """As of the newest window; None = not computed yet."""

    def learn(self, done: float, time_s: float, performance: float, at: Instant) -> None:
        """Takes a window: x, a quantile of its times, and the performance under its caps."""
        self.windows += 1
        self._seen = max(self._seen * SEEN_FADES, done)
        self._line.add(done, 1.0 / (time_s * performance), at)
        self._constants = None

    @property
    def is_known(self) -> bool:
        """Whether there are enough windows."""
        return self.windows >= KNOWN_WINDOWS

    @property
    def constants(self) -> tuple[float, float]:
        """Capacity of a replica at full performance, work a second, and seconds alone."""
        if self._constants is None:
            self._constants = self._fitted()
        return self._constants

    def _fitted(self) -> tuple[float, float]:
        x, speed = self._line.means
        most = self._seen * BEYOND_SEEN
        assumed = -speed / max(most - x, most * SPREAD_SHARE)
        slope = self._line.slope(SPREAD_SHARE * x, assumed, (STEEPEST * assumed, 0.0))
        alone = speed - slope * x
        capacity = alone / -slope if slope < 0.0 else most
        return min(max(capacity, self._seen), most), 1.0 / alone
