"""Slowdown of a job under a cap, from the progress that it reports itself; pure.

Progress is compared between windows in which no cap bound and windows in which one did. Given the
fitted curve p, the job's own curve is modelled as p^s: each capped window gives s = ln(ratio) /
ln(p). Windows end at a change of the value, so that a job that reports every ten seconds is not
misread. A change within a window (another cap, a pause, a counter that jumped back) restarts it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from wattline_protocol.ids import Instant

RATE_SUFFIX = "_per_s"

NAMES = (
    "steps_per_s",
    "samples_per_s",
    "tokens_per_s",
    "images_per_s",
    "progress",
    "step",
    "steps",
    "iteration",
    "samples",
    "tokens",
    "images",
)
"""Default progress metrics where the job names none, in order of preference. A name that ends in
`_per_s` is a rate, any other an increasing counter."""

MIN_WINDOW_S = 60.0
"""A beat of error at either end is then 3 %."""

MIN_CHANGES = 5
"""A counter that rises in fewer steps is too coarse."""

FREE_FROM = 0.995
CAPPED_TO = 0.97
"""Modelled performance: above the first no cap matters, below the second one does."""

SAME_WITHIN = 0.03
"""Maximum variation of the modelled performance within a window."""

STALLED_BELOW = 0.3
"""Share of the modelled performance below which the job is limited by something else."""

FREE_WEIGHT = 0.3
STEEPNESS_WEIGHT = 0.2
"""Weight of the newest window."""

MIN_STEEPNESS, MAX_STEEPNESS = 250, 4_000
"""Permille. A metric may be wrong; a more strongly bent curve is no longer a model."""


def progress_name(metrics: Mapping[str, float], named: str) -> str:
    """The metric that counts as progress; empty if there is none."""
    if named:
        return named if named in metrics else ""
    return next((name for name in NAMES if name in metrics), "")


def corrected_permille(steepness_permille: int, seen: float) -> int:
    """The steepness after one more window, within its bounds."""
    mixed = (1 - STEEPNESS_WEIGHT) * steepness_permille + STEEPNESS_WEIGHT * 1000 * seen
    return min(max(round(mixed), MIN_STEEPNESS), MAX_STEEPNESS)


@dataclass(slots=True)
class Progress:
    """Progress of one attempt: the current window, and the uncapped rate."""

    name: str
    free_rate: float = 0.0
    """Units per second while no cap bound; 0 = not measured yet."""
    value: float = 0.0
    began: Instant | None = None
    """None: waits for the value to change."""
    began_value: float = 0.0
    performance: float = 0.0
    changes: int = 0
    beats: int = 0
    performance_sum: float = 0.0
    rate_sum: float = 0.0

    def reset(self) -> None:
        """Discard the window: later values are unrelated to earlier ones."""
        self.began = None

    def watch(self, value: float, performance: float, at: Instant) -> float | None:
        """Process one beat: the metric, and the performance under the cap according to the model.

        Returns the steepness that a finished capped window shows, else None.
        """
        before, self.value = self.value, value
        is_change = value != before
        is_steady = performance >= FREE_FROM or performance <= CAPPED_TO
        is_reset = value < before and not self._is_rate
        if self.began is None or not self._is_same(performance) or is_reset:
            self.began = None
            if is_change and is_steady:
                self._begin(value, performance, at)
            return None
        self.beats += 1
        self.changes += is_change
        self.performance_sum += performance
        self.rate_sum += value
        is_over = is_change and at - self.began >= MIN_WINDOW_S and self.changes >= MIN_CHANGES
        if not is_over and not (self._is_rate and at - self.began >= MIN_WINDOW_S):
            return None
        seen = self._finish(at - self.began)
        self._begin(value, performance, at)
        return seen

    @property
    def _is_rate(self) -> bool:
        return self.name.endswith(RATE_SUFFIX)

    def _is_same(self, performance: float) -> bool:
        if self.performance >= FREE_FROM:
            return performance >= FREE_FROM
        return abs(performance - self.performance) <= SAME_WITHIN

    def _begin(self, value: float, performance: float, at: Instant) -> None:
        self.began, self.began_value, self.performance = at, value, performance
        self.changes = self.beats = 0
        self.performance_sum = self.rate_sum = 0.0

    def _finish(self, seconds: float) -> float | None:
        rate = self.rate_sum / self.beats if self._is_rate else self._risen / seconds
        performance = self.performance_sum / self.beats
        if not 0.0 < rate < math.inf or performance <= 0.0:
            return None
        if performance >= FREE_FROM:
            weight = FREE_WEIGHT if self.free_rate else 1.0
            self.free_rate += weight * (rate - self.free_rate)
            return None
        ratio = rate / self.free_rate if self.free_rate else 0.0
        if ratio < STALLED_BELOW * performance:
            return None
        return math.log(min(ratio, 1.0)) / math.log(performance)

    @property
    def _risen(self) -> float:
        return self.value - self.began_value
