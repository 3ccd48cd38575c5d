"""What held a job up, from how its GPUs were used."""

from wattline_protocol.views.site_views import Verdict
from wattline_protocol.wire.agent_messages import TaskUsage

JUDGED_FROM_GPU_S = 1.0
"""Below this much GPU time nothing is said."""

IDLE_BELOW = 0.10
"""Mean utilisation under which the GPUs were taken but not used."""

CAPPED_FROM_SHARE = 0.25
"""Share of GPU time under a binding cap from which the cap is what held the job up."""

COMPUTE_BOUND_FROM = 0.80
"""Mean utilisation from which the GPUs were what held the job up."""


def utilisation(usage: TaskUsage, *, is_measured: bool = True) -> float | None:
    """Mean GPU utilisation 0..1; None where no GPU time was measured.

    `is_measured`: not for MIG devices, of which the driver tells none.
    """
    if usage.gpu_s <= 0 or not is_measured:
        return None
    # Samples straddle the start and the end, so a run of seconds may add up to a little more.
    return min(1.0, usage.util_gpu_s / usage.gpu_s)


def verdict(usage: TaskUsage, *, is_measured: bool = True) -> Verdict:
    """One word for what held the job up."""
    mean = utilisation(usage, is_measured=is_measured)
    if mean is None or usage.gpu_s < JUDGED_FROM_GPU_S:
        return "unknown"
    if mean < IDLE_BELOW:
        return "idle"
    if usage.cap_bound_gpu_s >= CAPPED_FROM_SHARE * usage.gpu_s:
        return "capped"
    return "compute-bound" if mean >= COMPUTE_BOUND_FROM else "mixed"
