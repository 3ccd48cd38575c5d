"""What the ranks of one try report of their steps, and what their GPUs show."""

from dataclasses import dataclass
from typing import NamedTuple

from wattline_protocol.ids import AttemptNo, GpuIndex, Instant, NodeId
from wattline_protocol.views.training_views import SlowCause
from wattline_protocol.wire.agent_messages import SW_POWER_CAP, GpuSample
from wattline_protocol.wire.task_reports.rank_steps import RankSteps

SMOOTHING = 0.2
"""Weight of the newest heartbeat in `Signals`."""

MIN_BOUND_MS = 50
"""A cap that limited clocks for less of a heartbeat cost next to nothing."""

HOT_REASONS = 0x8 | 0x20 | 0x40
"""NVML's clock event reasons: hardware slowdown, and thermal slowdown by software and hardware."""

RankGpu = tuple[NodeId, GpuIndex]


class Signals(NamedTuple):
    """Means over the newest heartbeats of a rank's GPUs; None = not measured."""

    capped: float
    """Share of heartbeats in which a power cap reduced the clocks."""
    hot: float
    """The same for heat."""
    clock_mhz: float | None = None
    util: float | None = None
    """0..1."""


class Straggler(NamedTuple):
    """A rank that is slower than the median of its gang."""

    factor: float
    """Its busy time over the median."""
    cause: SlowCause


def signals_of(samples: list[GpuSample]) -> Signals | None:
    """Of one heartbeat; None without a sample."""
    if not samples:
        return None
    return Signals(
        capped=float(any(_is_capped(one) for one in samples)),
        hot=float(any(one.reasons & HOT_REASONS for one in samples)),
        clock_mhz=min((float(s.sm_clock_mhz) for s in samples if s.sm_clock_mhz), default=None),
        util=min((s.util_pct / 100 for s in samples if s.util_pct is not None), default=None),
    )


def smoothed(before: Signals | None, new: Signals) -> Signals:
    """The means with one more heartbeat."""
    if before is None:
        return new
    return Signals(
        capped=before.capped + SMOOTHING * (new.capped - before.capped),
        hot=before.hot + SMOOTHING * (new.hot - before.hot),
        clock_mhz=_smooth(before.clock_mhz, new.clock_mhz),
        util=_smooth(before.util, new.util),
    )


def _smooth(before: float | None, new: float | None) -> float | None:
    if before is None or new is None:
        return before if new is None else new
    return before + SMOOTHING * (new - before)


def _is_capped(sample: GpuSample) -> bool:
    return sample.cap_bound_ms >= MIN_BOUND_MS or bool(sample.reasons & SW_POWER_CAP)


@dataclass(slots=True)
class Shift:
    """The newest shift of watts inside the gang, which may be none, to be judged by the steps
    that follow."""

    slowest_s: float
    """Busy time of the slowest before it."""
    sum_mw: float
    """Watts of the gang in the row that limits it."""
    before: dict[RankGpu, int]
    """Weights before it."""


class RankWatch:
    """Follows one try."""

    def __init__(self, attempt: AttemptNo) -> None:
        self.attempt = attempt
        """The try of its gang that it follows."""
        self.steps: dict[int, RankSteps] = {}
        self.signals: dict[int, Signals] = {}
        self.slow_since: dict[int, Instant] = {}
        self.slow: dict[int, Straggler] = {}
        """Ranks that are stragglers now."""
        self.noted_at: dict[int, Instant] = {}
        """When a rank was last named in an event."""
        self.named: set[int] = set()
        """Ranks that an event has named and none has reported to keep up since."""
        self.weights: dict[RankGpu, int] = {}
        """Permille of an even share of the gang's watts; empty = all have an even share."""
        self.shift: Shift | None = None
        self.next_step = 0
        """Step of all ranks from which another one is considered."""
        self.next_at = Instant(0.0)
        """Time from which it is."""
        self.gain = 1.0
        """Part of a computed shift that is done at once."""

    def weight_of(self, attempt: AttemptNo, at: RankGpu) -> int | None:
        """Weight of a GPU in this try; None = an even share."""
        return self.weights.get(at) if attempt == self.attempt else None
