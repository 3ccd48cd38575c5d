"""Selects jobs to run at locked SM clocks, where that saves energy at almost no cost.

A lock never lowers a node's commitment (I2): the allocator knows nothing of it.
"""

from wattline_protocol.site.wall_power import PERMILLE
from wattline_protocol.wire.agent_messages import GpuInfo
from wattline_scheduler.power.demand.useful_cap import Need

EFFICIENT_PERMILLE = 700
"""Share of the highest clock up to which the core voltage stays at its minimum: lower clocks save
little more than in proportion, higher ones need more voltage as well."""

DECODE_MIN_PERFORMANCE_PERMILLE = 900
"""Decoding is memory-bound and loses no more than a tenth at `EFFICIENT_PERMILLE`; a service that
requires more than this is not locked."""

WEAK_CAP_PERMILLE = 600
"""Caps cannot limit cards whose minimum cap is above this share of their maximum."""


def clock_permille(need: Need, gpu: GpuInfo) -> int:
    """Ceiling of the SM clock for such a job on this GPU, as a share of the highest; 1000 = none.

    Only if the user declared a tolerated slowdown. Services are assumed to decode. On cards that
    caps do not limit, work slows down no more than the clock does.
    """
    least = need.min_performance_permille
    if not gpu.can_lock_clocks or not 0 < least < PERMILLE:
        return PERMILLE
    if need.is_service and least <= DECODE_MIN_PERFORMANCE_PERMILLE:
        return EFFICIENT_PERMILLE
    if not gpu.can_cap or gpu.cap_min_mw * PERMILLE > gpu.cap_max_mw * WEAK_CAP_PERMILLE:
        return max(EFFICIENT_PERMILLE, least)
    return PERMILLE
