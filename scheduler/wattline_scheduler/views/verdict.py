"""What held a job up, from how its GPUs were used."""

from collections.abc import Iterable

from wattline_protocol.messages import TaskUsage
from wattline_protocol.site import Tariff
from wattline_protocol.views import Verdict

JUDGED_FROM_GPU_S = 1.0
"""Below this much GPU time nothing is said."""

IDLE_BELOW = 0.10
"""Mean utilisation under which the GPUs were taken but not used."""

CAPPED_FROM_SHARE = 0.25
"""Share of GPU time under a binding cap from which the cap is what held the job up."""

COMPUTE_BOUND_FROM = 0.80
"""Mean utilisation from which the GPUs were what held the job up."""

MJ_PER_KWH = 3_600_000_000
"""Millijoules."""

NO_USAGE = TaskUsage()


def add_usage(usages: Iterable[TaskUsage]) -> TaskUsage:
    """Sum over attempts; the resident size is the largest one."""
    total = NO_USAGE
    for u in usages:
        total = TaskUsage(
            run_s=total.run_s + u.run_s,
            gpu_s=total.gpu_s + u.gpu_s,
            gpu_energy_mj=total.gpu_energy_mj + u.gpu_energy_mj,
            node_energy_mj=total.node_energy_mj + u.node_energy_mj,
            util_gpu_s=total.util_gpu_s + u.util_gpu_s,
            cap_bound_gpu_s=total.cap_bound_gpu_s + u.cap_bound_gpu_s,
            cpu_s=total.cpu_s + u.cpu_s,
            max_rss_bytes=max(total.max_rss_bytes, u.max_rss_bytes),
        )
    return total


def utilisation(usage: TaskUsage) -> float | None:
    """Mean GPU utilisation 0..1; None where no GPU time was measured."""
    if usage.gpu_s <= 0:
        return None
    # Samples straddle the start and the end, so a run of seconds may add up to a little more.
    return min(1.0, usage.util_gpu_s / usage.gpu_s)


def verdict(usage: TaskUsage) -> Verdict:
    """One word for what held the job up."""
    mean = utilisation(usage)
    if mean is None or usage.gpu_s < JUDGED_FROM_GPU_S:
        return "unknown"
    if mean < IDLE_BELOW:
        return "idle"
    if usage.cap_bound_gpu_s >= CAPPED_FROM_SHARE * usage.gpu_s:
        return "capped"
    return "compute-bound" if mean >= COMPUTE_BOUND_FROM else "mixed"


def gpu_hours(usage: TaskUsage) -> float:
    """GPU time in hours."""
    return usage.gpu_s / 3600


def energy_kwh(usage: TaskUsage) -> float:
    """Energy at the wall, the job's share of its nodes included."""
    return usage.node_energy_mj / MJ_PER_KWH


def cost_usd(usage: TaskUsage, tariff: Tariff) -> float:
    """Energy and GPU time at the site's tariff."""
    energy_usd = energy_kwh(usage) * tariff.usd_per_kwh
    return energy_usd + gpu_hours(usage) * tariff.usd_per_gpu_hour
