"""How long the allocator takes, and how much of the demand it satisfies, with every kind of limit.

Budgets (DESIGN 10): p50 ≤ 10 ms at 4,096 GPUs, ≤ 100 ms at 131,072; at least 0.99 of the demand
that the lexicographic max-min optimum satisfies (successive linear programs: seconds to solve, so
up to 4,096 GPUs). The demand of every GPU changes at every call.
"""

import time

import numpy as np

from wattline_bench.oracle import oracle
from wattline_bench.rig.hall import busy, hall
from wattline_bench.verdict import Figures, judged, over, under
from wattline_scheduler.power.allocation.allocator import (
    Allocation,
    GpuColumns,
    NodeColumns,
    allocate,
)
from wattline_scheduler.power.topology.domains import Domains
from wattline_scheduler.power.topology.matrix import Ints

SIZES = (512, 4_096, 32_768, 131_072)
ORACLE_GPUS_MAX = 4_096
MS_P50_MAX = {4_096: 10.0, 131_072: 100.0}
SATISFACTION_MIN = 0.99
FULL = 1.0 - 1e-6
"""A row with less than this share free counts as binding."""


class Division(Figures, frozen=True):
    """One size of fleet."""

    gpus: int
    levels: int
    """Of power domains; cooling has two more."""
    ms_p50: float
    ms_p99: float
    cpu_ms_p50: float
    """Without what other programs took of the processor meanwhile."""
    satisfaction: float | None
    """Σ min(allocation, demand) over that of the optimum; None: not solved at this size."""
    share_of_demand: float
    """Σ min(allocation, demand) over Σ demand: how scarce watts were."""
    rows: int
    power_rows_binding: int
    cooling_rows_binding: int
    calls: int

    def misses(self) -> tuple[str, ...]:
        """Time where a budget is set, satisfaction where the optimum is known."""
        name = f"at {self.gpus:,} GPUs"
        return (
            *over(f"p50 {name} in ms", self.ms_p50, MS_P50_MAX.get(self.gpus, np.inf)),
            *under(f"satisfaction {name}", self.satisfaction or 1.0, SATISFACTION_MIN),
        )


class Infeasible(AssertionError):
    """A row was given more than it has."""


def _division(gpus: int, calls: int, seed: int) -> Division:
    site = hall(gpus, seed)
    domains = Domains(site)
    matrix, free_mw = domains.matrix, domains.grantable_in_rows()
    draw = np.random.default_rng(seed)
    took_ms: list[float] = []
    cpu_ms: list[float] = []
    for _ in range(calls + 1):
        nodes, wants = busy(domains, draw)
        began_s, began_cpu_s = time.perf_counter(), time.thread_time()
        allocation = allocate(matrix, nodes, wants, free_mw)
        took_ms.append((time.perf_counter() - began_s) * 1000)
        cpu_ms.append((time.thread_time() - began_cpu_s) * 1000)
        used_mw = matrix.in_rows(allocation.lease_mw)
        if (used_mw > free_mw).any() or allocation.short_mw.any():
            raise Infeasible(f"a row of {gpus} GPUs is given more than it has")
    given = int(np.minimum(allocation.gpu_mw, wants.target_mw).sum())
    is_full = used_mw >= free_mw * FULL
    is_power = np.array([domains.by_id[row.domain].kind == "power" for row in domains.rows])
    return Division(
        gpus=gpus,
        levels=len(site.chains()[site.nodes[0].inputs[0]]),
        ms_p50=round(float(np.percentile(took_ms[1:], 50)), 2),
        ms_p99=round(float(np.percentile(took_ms[1:], 99)), 2),
        cpu_ms_p50=round(float(np.percentile(cpu_ms[1:], 50)), 2),
        satisfaction=_satisfaction(domains, nodes, wants, free_mw, allocation),
        share_of_demand=round(given / int(wants.target_mw.sum()), 4),
        rows=matrix.row_count,
        power_rows_binding=int(np.count_nonzero(is_full & is_power)),
        cooling_rows_binding=int(np.count_nonzero(is_full & ~is_power)),
        calls=calls,
    )


def _satisfaction(
    domains: Domains, nodes: NodeColumns, wants: GpuColumns, free_mw: Ints, ours: Allocation
) -> float | None:
    if len(wants.node) > ORACLE_GPUS_MAX:
        return None
    best = oracle(domains.matrix, nodes, wants, free_mw)
    satisfied = (float(np.minimum(mw, wants.target_mw).sum()) for mw in (ours.gpu_mw, best))
    return round(next(satisfied) / next(satisfied), 6)


@judged
def measure(*, calls: int, seed: int) -> tuple[Division, ...]:
    """All sizes; a first call of each warms up and is not counted."""
    return tuple(_division(gpus, calls, seed) for gpus in SIZES)
