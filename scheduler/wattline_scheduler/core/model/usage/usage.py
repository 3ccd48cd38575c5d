"""Arithmetic of usage: energy, GPU time, cost."""

from collections.abc import Iterable

import msgspec

from wattline_protocol.site.model import Tariff
from wattline_protocol.wire.agent_messages import TaskUsage
from wattline_protocol.wire.task_order import MJ_PER_KWH as MJ_PER_KWH

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
            cap_gpu_s=total.cap_gpu_s + u.cap_gpu_s,
            cap_gpu_mj=total.cap_gpu_mj + u.cap_gpu_mj,
            cpu_s=total.cpu_s + u.cpu_s,
            max_rss_bytes=max(total.max_rss_bytes, u.max_rss_bytes),
            cpu_capacity_s=total.cpu_capacity_s + u.cpu_capacity_s,
            disk_s=total.disk_s + u.disk_s,
            disk_busy_s=total.disk_busy_s + u.disk_busy_s,
            network_s=total.network_s + u.network_s,
            network_busy_s=total.network_busy_s + u.network_busy_s,
        )
    return total


def most(usage: TaskUsage, other: TaskUsage) -> TaskUsage:
    """Maximum of two reports of the same attempt: one may have lost a part, and none exceeds what
    was used."""
    pairs = zip(msgspec.structs.astuple(usage), msgspec.structs.astuple(other), strict=True)
    return TaskUsage(*(max(pair) for pair in pairs))


def less(usage: TaskUsage, before: TaskUsage) -> TaskUsage:
    """Usage since an earlier report; the resident size is the newer one."""
    return TaskUsage(
        run_s=usage.run_s - before.run_s,
        gpu_s=usage.gpu_s - before.gpu_s,
        gpu_energy_mj=usage.gpu_energy_mj - before.gpu_energy_mj,
        node_energy_mj=usage.node_energy_mj - before.node_energy_mj,
        util_gpu_s=usage.util_gpu_s - before.util_gpu_s,
        cap_bound_gpu_s=usage.cap_bound_gpu_s - before.cap_bound_gpu_s,
        cap_gpu_s=usage.cap_gpu_s - before.cap_gpu_s,
        cap_gpu_mj=usage.cap_gpu_mj - before.cap_gpu_mj,
        cpu_s=usage.cpu_s - before.cpu_s,
        max_rss_bytes=usage.max_rss_bytes,
        cpu_capacity_s=usage.cpu_capacity_s - before.cpu_capacity_s,
        disk_s=usage.disk_s - before.disk_s,
        disk_busy_s=usage.disk_busy_s - before.disk_busy_s,
        network_s=usage.network_s - before.network_s,
        network_busy_s=usage.network_busy_s - before.network_busy_s,
    )


def gpu_hours(usage: TaskUsage) -> float:
    """GPU time in hours."""
    return usage.gpu_s / 3600


def energy_kwh(usage: TaskUsage) -> float:
    """Energy at the wall, the job's share of its nodes included."""
    return usage.node_energy_mj / MJ_PER_KWH


def cost_usd(usage: TaskUsage, tariff: Tariff) -> float:
    """Cost of energy and GPU time at the site's tariff."""
    energy_usd = energy_kwh(usage) * tariff.usd_per_kwh
    return energy_usd + gpu_hours(usage) * tariff.usd_per_gpu_hour
