"""Bottleneck of a job, derived from its GPU usage."""

from wattline_protocol.views.site_views import Verdict
from wattline_protocol.wire.agent_messages import TaskUsage

JUDGED_FROM_GPU_S = 1.0
"""GPU time below which the verdict is "unknown"."""

IDLE_BELOW = 0.10
"""Mean utilisation below which the GPUs count as allocated but unused."""

CAPPED_FROM_SHARE = 0.25
"""Share of GPU time under a binding cap from which the cap is the bottleneck."""

COMPUTE_BOUND_FROM = 0.80
"""Mean utilisation from which the GPUs are the bottleneck."""


def utilisation(usage: TaskUsage, *, is_measured: bool = True) -> float | None:
    """Mean GPU utilisation 0..1; None where no GPU time was measured.

    `is_measured`: false for MIG devices, whose utilisation the driver does not report.
    """
    if usage.gpu_s <= 0 or not is_measured:
        return None
    # Samples straddle start and end, so the sum may slightly exceed the run time.
    return min(1.0, usage.util_gpu_s / usage.gpu_s)


def verdict(usage: TaskUsage, *, is_measured: bool = True) -> Verdict:
    """The bottleneck in one word."""
    mean = utilisation(usage, is_measured=is_measured)
    if mean is None or usage.gpu_s < JUDGED_FROM_GPU_S:
        return "unknown"
    if mean < IDLE_BELOW:
        return "idle"
    if usage.cap_bound_gpu_s >= CAPPED_FROM_SHARE * usage.gpu_s:
        return "capped"
    return "compute-bound" if mean >= COMPUTE_BOUND_FROM else "mixed"
