"""Nodes around their GPUs: processors, fans, power supplies, watts at the wall."""

import math

import numpy as np

from wattline_sim.facility.plant.dice import Floats
from wattline_sim.profiles import HostModel

_FAN_TAU_S = 5.0
CPU_SHARE_WHEN_LOADED = 0.7
"""Of the processors' range, in a host that feeds all its GPUs; never its worst case."""


class Hosts:
    """All hosts; every array is per node."""

    def __init__(self, host: HostModel, nodes: int, gpus_per_node: int) -> None:
        self._host = host
        self._gpus = gpus_per_node
        self.fan_duty: Floats = np.full(nodes, host.fan_min_duty)
        self.wall_w: Floats = np.zeros(nodes)
        self.other_w: Floats = np.zeros(nodes)
        """Everything but the GPUs, at the outputs of the supplies."""
        self._load_points, self._efficiency_points = np.array(host.psu_efficiency).T
        self._per_c = 1.0 / (host.fan_full_c - host.fan_start_c)

    def step(
        self, gpu_w: Floats, hottest_c: Floats, loaded_share: Floats, is_on: Floats, dt_s: float
    ) -> None:
        """Watts at the wall for those GPU watts; `loaded_share` of each node's GPUs have work."""
        host = self._host
        wanted = (hottest_c - host.fan_start_c) * self._per_c
        target = np.minimum(np.maximum(wanted, host.fan_min_duty), 1.0)
        self.fan_duty += (target - self.fan_duty) * (1.0 - math.exp(-dt_s / _FAN_TAU_S))
        cpu_range_w = CPU_SHARE_WHEN_LOADED * (host.cpu_max_w - host.cpu_idle_w)
        duty = self.fan_duty
        self.other_w = host.base_w + host.cpu_idle_w + cpu_range_w * loaded_share
        self.other_w += host.fan_max_w * (duty * duty * duty)
        output_w = self.other_w + gpu_w
        load = output_w / host.psu_rating_w
        efficiency = np.interp(load, self._load_points, self._efficiency_points)
        self.wall_w = output_w / efficiency * is_on
