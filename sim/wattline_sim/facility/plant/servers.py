"""The host around a node's GPUs, from the scheduler's fitted node model.

The fit knows one constant base and one efficiency, in which fans that speed up are lost; the plant
tells fans, processors and supplies apart. So base and fan power are those with which the plant's
settled wall watts come nearest to the fitted ones (least squares, from idle to full draw).
"""

from dataclasses import replace
from functools import lru_cache

import numpy as np

from wattline_scheduler.power.demand.models import NodeModel, gpu_class, node_model, node_power
from wattline_sim.facility.plant.dice import Floats
from wattline_sim.facility.plant.hosts import CPU_SHARE_WHEN_LOADED
from wattline_sim.physics import DEFAULT_INLET_C
from wattline_sim.profiles import GpuModel, HostModel, host_model

_SHARES = np.array([0.0, 0.5, 0.6, 0.7, 0.85, 1.0])
"""Of the range between idle and TDP of the GPUs: where the two are compared."""
_NOT_IN_THE_FIT = ("a100",)
"""SXM A100 servers stand in no power submission with a stated limit: the profile's estimate."""
_ROUNDS = 20


@lru_cache(maxsize=16)
def host_of(model: GpuModel, gpus: int) -> HostModel:
    """The host of a node with that many of these GPUs."""
    estimate = host_model(model, gpus)
    name = gpu_class(model.display_name)
    if name in _NOT_IN_THE_FIT:
        return estimate
    return _fitted(estimate, node_model(model.display_name), model, gpus)


def _fitted(host: HostModel, fit: NodeModel, model: GpuModel, gpus: int) -> HostModel:
    scale = gpus / fit.gpus
    gpus_w = gpus * (model.idle_w + _SHARES * (model.limit_default_w - model.idle_w))
    busy = (_SHARES > 0.0).astype(float)
    wall_w = scale * node_power(fit, gpus_w / scale, busy)
    cpu_w = scale * fit.cpu_w * busy
    duty = _settled_duty(host, model, gpus_w / gpus)
    load_points, efficiency_points = np.array(host.psu_efficiency).T
    inner_w = wall_w * 0.95
    for _ in range(_ROUNDS):
        efficiency = np.interp(inner_w / host.psu_rating_w, load_points, efficiency_points)
        inner_w = wall_w * efficiency
    columns = np.stack([np.ones(len(duty)), duty**3], axis=1)
    base_w, fan_w = np.linalg.lstsq(columns, inner_w - gpus_w - cpu_w, rcond=None)[0]
    return replace(
        host,
        base_w=float(base_w),
        cpu_idle_w=0.0,
        cpu_max_w=scale * fit.cpu_w / CPU_SHARE_WHEN_LOADED,
        fan_max_w=max(0.0, float(fan_w)),
    )


def _settled_duty(host: HostModel, model: GpuModel, gpu_w: Floats) -> Floats:
    temp_c = DEFAULT_INLET_C + model.rth_c_per_w * gpu_w
    wanted = (temp_c - host.fan_start_c) / (host.fan_full_c - host.fan_start_c)
    return np.asarray(np.clip(wanted, host.fan_min_duty, 1.0))
