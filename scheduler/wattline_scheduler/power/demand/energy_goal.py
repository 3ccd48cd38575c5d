"""Cap of a job whose goal is efficiency (`power.goal`): the least energy per result; pure.

The host draws its watts whatever the cap is, so the optimum lies above the knee of the GPU alone.
A cap that always binds hides the demand, from which it follows: so such a job runs uncapped while
it begins, and for a while of each hour. Its demand, and what a cap costs it, are measured then.
"""

from wattline_protocol.wire.agent_messages import GpuInfo
from wattline_scheduler.power.demand.useful_cap import MW_PER_W, Need, curve_of

BEGIN_S = 300.0
"""Run time without that cap at first: set-up and first steps do not show the job's draw."""

EVERY_S, MEASURE_S = 3_600.0, 120.0
"""In each such run time it is measured uncapped for so long: two windows of progress."""


def is_measuring(run_s: float) -> bool:
    """Whether a job that ran so long runs without the cap of its goal."""
    return run_s < BEGIN_S or run_s % EVERY_S < MEASURE_S


def efficient_cap_mw(
    gpu: GpuInfo, demand_mw: int, need: Need, host_mw: int, steepness: float = 1.0
) -> int:
    """Cap (GPU milliwatts) with the least energy per result of a job that draws `demand_mw`.

    `host_mw`: watts of the host for each of its GPUs.
    """
    expected_mw = min(demand_mw, need.watts_hint_mw or gpu.cap_max_mw)
    curve = curve_of(gpu, expected_mw, need)
    cap_w = curve.efficient_cap(expected_mw / MW_PER_W, host_mw / MW_PER_W, steepness)
    return round(cap_w * MW_PER_W)
