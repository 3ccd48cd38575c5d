"""What each GPU would draw if nothing capped it.

Measured where the cap does not bind; where it binds, the measurement says only "at least this",
so the user's figure or the GPU's maximum stands in. The largest draw of a window is kept, so that
a training job's swings inside an iteration are not mistaken for spare watts.
"""

from collections import deque
from dataclasses import dataclass, field

from wattline_protocol.ids import GpuIndex, Instant, NodeId
from wattline_protocol.messages import GpuInfo, GpuSample

WINDOW_BEATS = 15
"""Longer than the usual training iteration and short enough to free watts within seconds."""

RAMP_MARGIN_PERMILLE = 100
"""Room above the measured demand, so that a ramp is covered while a new lease is on its way."""

SW_POWER_CAP = 0x4
"""Clock event reason: clocks held down by the software power cap (NVML)."""


@dataclass(slots=True)
class _Track:
    drawn_mw: deque[int] = field(default_factory=lambda: deque(maxlen=WINDOW_BEATS))
    bound_until: Instant = field(default=Instant(0.0))


class Demand:
    """Recent draw of every GPU that has a task."""

    def __init__(self, beat_period_s: float) -> None:
        self._hold_s = WINDOW_BEATS * beat_period_s
        self._tracks: dict[tuple[NodeId, GpuIndex], _Track] = {}

    def observe(self, node: NodeId, sample: GpuSample, at: Instant) -> None:
        """Take one sample of a GPU with a task. A sample without power changes nothing."""
        if sample.power_mw is None:
            return
        track = self._tracks.setdefault((node, sample.index), _Track())
        track.drawn_mw.append(sample.power_mw)
        if sample.cap_bound_ms > 0 or sample.reasons & SW_POWER_CAP:
            track.bound_until = Instant(at + self._hold_s)

    def forget(self, node: NodeId, gpu: GpuIndex) -> None:
        """The GPU's task is gone; its past says nothing about the next one."""
        self._tracks.pop((node, gpu), None)

    def of(self, node: NodeId, gpu: GpuInfo, watts_hint_mw: int, at: Instant) -> int:
        """Uncapped demand in GPU milliwatts, between the GPU's minimum and maximum cap."""
        unknown_mw = watts_hint_mw or gpu.cap_max_mw
        track = self._tracks.get((node, gpu.index))
        if track is None or len(track.drawn_mw) < WINDOW_BEATS:
            demand_mw = unknown_mw
        elif at < track.bound_until:
            demand_mw = max(unknown_mw, max(track.drawn_mw))
        else:
            demand_mw = max(track.drawn_mw) * (1000 + RAMP_MARGIN_PERMILLE) // 1000
        return min(max(demand_mw, gpu.cap_min_mw), gpu.cap_max_mw)
