"""Distribution of one kind of job's uncapped draw, in constant space and time per sample.

A histogram of 1 s samples over the GPU's range. Samples under a binding cap are censored (lower
bounds only) and excluded. A cap that binds although it lies above the job's known draw contradicts
the histogram: if that happens often, the histogram covers the lighter phases only and is not used.
Old samples decay: at `MAX_SAMPLES` all counts are halved.
"""

from dataclasses import dataclass, field

from wattline_protocol.site.wall_power import PERMILLE
from wattline_scheduler.records import DemandRecord

BINS = 64
RANGE_PERMILLE = 1_250
"""Range of the bins above the maximum cap, for overshoot and transients."""

MIN_BUSY = 30
"""Samples of a busy GPU before its quantiles count: half a minute of one GPU."""

MIN_IDLE = 600
"""Samples after which a job that is rarely busy is accepted as such."""

BEYOND_SHARE = 4
"""One contradiction to so many busy samples is normal for a job whose draw grows."""

MAX_SAMPLES = 8_192
"""A quarter of an hour of 8 GPUs; then all counts are halved."""

MAX_SWING_PERMILLE = 1_800

SWING_STEP_PERMILLE = 1_050
"""Next cap to try, relative to a cap that swings reached."""

SWING_KEPT_PERCENT = 98
"""Share of the learned swing retained each time that quantiles are computed."""

REFRESH_SHARE = 16
"""Quantiles are recomputed once this fraction (1/n) of the samples is new."""


def bin_width_mw(cap_max_mw: int) -> int:
    """Bin width for a GPU with this maximum cap."""
    return max(1, -(-cap_max_mw * RANGE_PERMILLE // (PERMILLE * BINS)))


def is_enough(samples: int, beyond: int) -> bool:
    """Whether the samples outweigh those that contradict them."""
    return samples >= MIN_BUSY and beyond * BEYOND_SHARE <= samples


@dataclass(slots=True)
class Draw:
    """Uncapped draw of one kind of job on one GPU model; all in GPU milliwatts."""

    width_mw: int
    busy_from: int
    """First bin above the GPU's idle draw."""
    bins: list[int] = field(default_factory=lambda: [0] * BINS)
    samples: int = 0
    sum_mw: int = 0
    beyond: int = 0
    """Samples under a cap that bound at or above the 95 % quantile; in no bin."""
    swing_permille: int = PERMILLE
    """Required cap over draw: above 1000 where the draw swings inside a second."""
    ramp_mw: int = 0
    """Largest rise between successive samples of a GPU."""
    p95_mw: int = 0
    p99_mw: int = 0
    is_known: bool = False
    """Whether enough uncapped samples exist for the quantiles to represent the job."""
    _busy: int = 0
    _refresh_at: int = 0

    def add(self, power_mw: int) -> None:
        """Add one uncapped sample."""
        at = power_mw // self.width_mw
        self.bins[at if at < BINS else BINS - 1] += 1
        self.samples += 1
        self.sum_mw += power_mw
        if self.samples >= self._refresh_at:
            self.refresh()

    def add_bound(self, cap_mw: int) -> None:
        """Add one sample under a binding cap."""
        if cap_mw < self.p95_mw:
            return  # within the known draw
        self.beyond += 1
        if self.beyond > MAX_SAMPLES:
            self._fade()
            self.refresh()
        self._judge()

    def add_swing(self, cap_mw: int, peak_mw: int) -> None:
        """Add a sample in which a cap above the average draw bound for part of the second."""
        needed = cap_mw * SWING_STEP_PERMILLE // max(peak_mw, self.p95_mw, 1)
        self.swing_permille = min(max(self.swing_permille, needed), MAX_SWING_PERMILLE)

    @property
    def mean_mw(self) -> int:
        """Mean of all uncapped samples; 0 before the first."""
        return self.sum_mw // self.samples if self.samples else 0

    @property
    def top_mw(self) -> int:
        """Draw that is rarely exceeded: one bin above the 99 % quantile."""
        return self.p99_mw + self.width_mw

    def refresh(self) -> None:
        """Recompute the quantiles, over the busy samples if there are enough of them."""
        if self.samples > MAX_SAMPLES:
            self._fade()
        excess = self.swing_permille - PERMILLE
        self.swing_permille = PERMILLE + excess * SWING_KEPT_PERCENT // 100
        self._busy = sum(self.bins[self.busy_from :])
        first = self.busy_from if self._busy >= MIN_BUSY else 0
        self._judge()
        self.p95_mw, self.p99_mw = self._quantile(950, first), self._quantile(990, first)
        self._refresh_at = self.samples + max(1, self.samples // REFRESH_SHARE)

    def _judge(self) -> None:
        is_seen = self._busy >= MIN_BUSY or self.samples >= MIN_IDLE
        self.is_known = is_seen and is_enough(self.samples, self.beyond)

    def _fade(self) -> None:
        self.bins = [count // 2 for count in self.bins]
        retained = sum(self.bins)
        self.sum_mw = self.sum_mw * retained // self.samples if self.samples else 0
        self.samples, self.beyond, self._refresh_at = retained, self.beyond // 2, 0

    def _quantile(self, permille: int, first: int) -> int:
        """Quantile, linearly interpolated within its bin."""
        counts = self.bins[first:]
        below, target = 0, sum(counts) * permille
        if not target:
            return 0
        for at, count in enumerate(counts, start=first):
            if count and (below + count) * PERMILLE >= target:
                part_mw = (target - below * PERMILLE) * self.width_mw // (count * PERMILLE)
                return at * self.width_mw + part_mw
            below += count
        return BINS * self.width_mw


def fresh_draw(cap_max_mw: int, idle_mw: int) -> Draw:
    """Distribution of an unknown job on a GPU with this maximum cap and idle draw."""
    width_mw = bin_width_mw(cap_max_mw)
    return Draw(width_mw, min(BINS - 1, idle_mw // width_mw + 1))


def restored_draw(fresh: Draw, record: DemandRecord) -> Draw:
    """The saved distribution in the bins of `fresh`: the GPU's limits may have changed."""
    for at, count in enumerate(record.bins):
        middle_mw = at * record.width_mw + record.width_mw // 2
        fresh.bins[min(BINS - 1, middle_mw // fresh.width_mw)] += count
    fresh.samples, fresh.sum_mw = sum(fresh.bins), record.sum_mw
    fresh.beyond, fresh.ramp_mw = record.beyond, record.ramp_mw
    fresh.swing_permille = record.swing_permille
    fresh.refresh()
    return fresh
