"""Learned thermal resistance of each GPU; pure. Placement prefers cool air and cool GPUs.

In steady state a GPU is `power x resistance` warmer than its inlet air. Both sides are averaged
over several of its time constants, so that a step of power is not taken for a worse heatsink. An
unmeasured GPU has the usual resistance.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from wattline_protocol.ids import GpuIndex, Instant, NodeId
from wattline_protocol.wire.agent_messages import GpuInfo, GpuSample
from wattline_scheduler.power.sensing.inlets import is_plausible_c

USUAL_C_PER_W = 0.08
"""Air-cooled SXM modules: about 0.10 on an A100 fleet (400 W), less on larger heatsinks."""

RANGE_C_PER_W = (0.005, 0.5)
AVERAGE_S = 120.0
"""Die and heatsink settle in 20-60 s."""

LOADED_MW = 100_000
"""Below this draw the figure is mostly sensor error."""

USUAL_INLET_C = 25.0
COMFORT_C = 70.0
"""Lower predicted temperatures count as equal: throttling begins 10 °C and more above."""

STEP_C = 4.0
"""Closer temperatures count as equal too, so that noise moves no job."""


@dataclass(slots=True)
class _Track:
    power_mw: float
    above_c: float
    at: Instant


class Thermal:
    """Thermal resistance of every GPU of the site."""

    def __init__(self) -> None:
        self._tracks: dict[tuple[NodeId, GpuIndex], _Track] = {}

    def observe(self, node: NodeId, sample: GpuSample, inlet_c: float, at: Instant) -> None:
        """Add a sample of a busy GPU; implausible air and light load are ignored."""
        power_mw, temp_c = sample.power_mw, sample.temp_c
        if power_mw is None or temp_c is None or power_mw < LOADED_MW:
            return
        if not is_plausible_c(inlet_c) or temp_c <= inlet_c:
            return
        track = self._tracks.get((node, sample.index))
        if track is None:
            self._tracks[node, sample.index] = _Track(power_mw, temp_c - inlet_c, at)
            return
        decay = math.exp(-(at - track.at) / AVERAGE_S)
        track.power_mw = power_mw + (track.power_mw - power_mw) * decay
        track.above_c = temp_c - inlet_c + (track.above_c - (temp_c - inlet_c)) * decay
        track.at = at

    def c_per_w(self, node: NodeId, gpu: GpuIndex) -> float | None:
        """Learned °C per watt; None: not measured yet."""
        track = self._tracks.get((node, gpu))
        if track is None:
            return None
        least, most = RANGE_C_PER_W
        return min(most, max(least, track.above_c / (track.power_mw / 1000)))

    def warmth(self, node: NodeId, gpu: GpuInfo, inlet_c: float | None) -> int:
        """Steps above comfort at the GPU's maximum cap and present inlet air; 0 = cool."""
        is_known = inlet_c is not None and is_plausible_c(inlet_c)
        air_c = inlet_c if is_known and inlet_c is not None else USUAL_INLET_C
        resistance = self.c_per_w(node, gpu.index) or USUAL_C_PER_W
        predicted_c = air_c + resistance * gpu.cap_max_mw / 1000
        return max(0, math.ceil((predicted_c - COMFORT_C) / STEP_C))


def coolest_first(warmth: dict[GpuIndex, int], gpus: Iterable[GpuInfo]) -> tuple[GpuInfo, ...]:
    """The GPUs by warmth, otherwise in the given order."""
    return tuple(sorted(gpus, key=lambda gpu: warmth.get(gpu.index, 0)))
