"""The node around its GPUs: processors, fans, power supplies and what the wall sees. Pure."""

from dataclasses import dataclass
from itertools import pairwise

from wattline_sim.physics import DEFAULT_INLET_C, STEP_MS, GpuInput, GpuPhysics, lag
from wattline_sim.profiles import GpuModel, HostModel, host_model

_FAN_LAG = lag(5.0)
_CPU_SHARE_WHEN_LOADED = 0.7  # a host that feeds all its GPUs; never its worst case


@dataclass(slots=True)
class NodeSample:
    """The node after a step; watts at the wall and at the supplies' outputs, RAPL in µJ."""

    wall_w: float = 0.0
    cpu_w: float = 0.0
    fan_w: float = 0.0
    fan_duty: float = 0.3
    cpu_energy_uj: int = 0


class NodePhysics:
    """One node: its GPUs, host, fans and power supplies."""

    def __init__(
        self, model: GpuModel, gpus: int, seed: int, inlet_c: float = DEFAULT_INLET_C
    ) -> None:
        self.host: HostModel = host_model(model, gpus)
        self.gpus = [GpuPhysics(model, seed * 1009 + index, inlet_c) for index in range(gpus)]
        self.sample = NodeSample(fan_duty=self.host.fan_min_duty)

    def step(self, inputs: list[GpuInput], inlet_c: float) -> NodeSample:
        """Advance everything by one step; ``inputs`` holds one entry per GPU, in order."""
        gpu_mw = loaded = 0
        hottest_c = inlet_c
        for gpu, given in zip(self.gpus, inputs, strict=True):
            state = gpu.step(given, inlet_c)
            gpu_mw += state.power_instant_mw
            loaded += state.gpu_percent > 0
            hottest_c = max(hottest_c, state.gpu_c)
        host, sample = self.host, self.sample
        share = loaded / len(self.gpus)
        sample.cpu_w = host.cpu_idle_w + _CPU_SHARE_WHEN_LOADED * share * (
            host.cpu_max_w - host.cpu_idle_w
        )
        sample.cpu_energy_uj += int(sample.cpu_w * STEP_MS * 1000)
        wanted = (hottest_c - host.fan_start_c) / (host.fan_full_c - host.fan_start_c)
        target = min(1.0, max(host.fan_min_duty, wanted))
        sample.fan_duty += (target - sample.fan_duty) * _FAN_LAG
        sample.fan_w = host.fan_max_w * sample.fan_duty**3
        output_w = host.base_w + sample.cpu_w + sample.fan_w + gpu_mw / 1000
        sample.wall_w = output_w / psu_efficiency(host, output_w)
        return sample


def psu_efficiency(host: HostModel, output_w: float) -> float:
    """Efficiency of the power supplies at that output, by interpolation over load."""
    load = output_w / host.psu_rating_w
    points = host.psu_efficiency
    for (x0, y0), (x1, y1) in pairwise(points):
        if load <= x1:
            return y0 + (y1 - y0) * (load - x0) / (x1 - x0)
    return points[-1][1]
