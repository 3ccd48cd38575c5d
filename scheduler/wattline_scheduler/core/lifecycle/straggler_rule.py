"""Which ranks of a gang are slower than the others, and why. Pure."""

from collections.abc import Collection, Mapping, Sequence
from statistics import median, median_low

from wattline_protocol.views.training_views import SlowCause
from wattline_protocol.wire.task_reports.rank_steps import RankSteps
from wattline_scheduler.core.model.usage.rank_watch import Signals

SLOWER, KEEPS_UP = 1.10, 1.05
"""Busy time over the median from which a rank is a straggler, and below which it is none again."""

LEAST_STEPS = 12
"""Steps that a rank's medians, of up to 20, must be of before it is judged."""

SUSPECTED_S = 5.0
"""Time for which a rank must be slower: of short steps 20 pass in no time, on a busy host also by
chance."""

MOSTLY = 0.25
"""Share of heartbeats with a reduction of clocks from which that is the cause."""

LOWER_CLOCK, LOWER_USE = 0.95, 0.90
"""Clock and utilisation over the median of the others, below which they are the cause."""

SAME_CLOCK = 0.97
"""Clock over that median from which a reduction is no cause: it reduces those of the others too."""


def judged(steps: Mapping[int, RankSteps], ranks: int) -> dict[int, float]:
    """Busy time of each rank; empty while most of a gang's `ranks` have done too few steps."""
    known = {rank: one.busy_s for rank, one in steps.items() if one.count >= LEAST_STEPS}
    return known if len(known) >= 2 and 2 * len(known) > ranks else {}


def slow_ranks(busy_s: Mapping[int, float], known: Collection[int]) -> dict[int, float]:
    """Ranks that are slower than the median, and their time over it. `known`: those until now."""
    if len(busy_s) < 2:
        return {}
    usual_s = median_low(busy_s.values())  # of two ranks: the faster one
    limits = ((rank, s, KEEPS_UP if rank in known else SLOWER) for rank, s in busy_s.items())
    return {rank: s / usual_s for rank, s, limit in limits if 0 < usual_s * limit <= s}


def usual_of(others: Sequence[Signals]) -> Signals:
    """Medians of the ranks that are not slow."""
    return Signals(
        capped=0.0,
        hot=0.0,
        clock_mhz=_median([one.clock_mhz for one in others]),
        util=_median([one.util for one in others]),
    )


def cause_of(slow: Signals | None, usual: Signals) -> SlowCause:
    """From its GPUs and the usual clock and utilisation of the other ranks.

    A cap that leaves it the clock of the others explains nothing. Heat comes before caps: a hot GPU
    gains nothing by watts. Ranks that wait for others on the GPU show full use, so lower use than
    theirs means that its work does not arrive.
    """
    if slow is None:
        return "unknown"
    is_known = slow.clock_mhz is not None and usual.clock_mhz is not None
    if not is_known or _is_lower(slow.clock_mhz, usual.clock_mhz, SAME_CLOCK):
        if slow.hot >= MOSTLY:
            return "hot"
        if slow.capped >= MOSTLY:
            return "capped"
    if _is_lower(slow.clock_mhz, usual.clock_mhz, LOWER_CLOCK):
        return "clocks"
    if _is_lower(slow.util, usual.util, LOWER_USE):
        return "input"
    return "unknown"


def _is_lower(value: float | None, usual: float | None, below: float) -> bool:
    return value is not None and usual is not None and value < below * usual


def _median(values: Sequence[float | None]) -> float | None:
    known = [one for one in values if one is not None]
    return median(known) if known else None
