"""Bottleneck of a job, derived from its use of GPUs, CPUs, disks and network. Pure."""

from wattline_protocol.views.diagnosis import Diagnosis, Shares, Verdict
from wattline_protocol.wire.agent_messages import TaskUsage

JUDGED_FROM_GPU_S = 1.0
"""GPU time below which the verdict is "unknown"."""

IDLE_BELOW = 0.10
"""Mean utilisation below which the GPUs count as allocated but unused."""

CAPPED_FROM_SHARE = 0.25
"""Share of GPU time under a binding cap from which the cap is the bottleneck."""

COMPUTE_BOUND_FROM = 0.80
"""Mean utilisation from which the GPUs are the bottleneck."""

CPU_BUSY_FROM = 0.85
DISK_BUSY_FROM = 0.70
NETWORK_BUSY_FROM = 0.70
"""Shares from which GPUs that wait are taken to wait for these."""


MORE_CPUS = "more `cpus_per_gpu`, or less work per sample"
MORE_DISK = "a faster disk, or a cache in memory"


def utilisation(usage: TaskUsage, *, is_measured: bool = True) -> float | None:
    """Mean GPU utilisation 0..1; None where no GPU time was measured.

    `is_measured`: false for MIG devices, whose utilisation the driver does not report.
    """
    if usage.gpu_s <= 0 or not is_measured:
        return None
    # Samples straddle start and end, so the sum may slightly exceed the run time.
    return min(1.0, usage.util_gpu_s / usage.gpu_s)


def verdict(usage: TaskUsage, *, is_measured: bool = True, is_hung: bool = False) -> Verdict:
    """The bottleneck in one word."""
    mean = utilisation(usage, is_measured=is_measured)
    if is_hung:
        return "hung"
    if mean is None or usage.gpu_s < JUDGED_FROM_GPU_S:
        return "unknown"
    if mean >= IDLE_BELOW and usage.cap_bound_gpu_s >= CAPPED_FROM_SHARE * usage.gpu_s:
        return "capped"
    if mean >= COMPUTE_BOUND_FROM:
        return "compute-bound"
    if _is(usage.network_busy_s, usage.network_s, NETWORK_BUSY_FROM):
        return "network-bound"
    if _has_busy_input(usage):
        return "input-bound"
    return "idle" if mean < IDLE_BELOW else "mixed"


def diagnosis(
    usage: TaskUsage,
    *,
    is_measured: bool = True,
    is_hung: bool = False,
    has_goal: bool = False,
    slow: str = "",
) -> Diagnosis:
    """The bottleneck, in a sentence that rests on what was measured.

    `has_goal`: its goal is efficiency, which caps it whatever watts there are. `slow`: which rank
    the others of its gang wait for, and why.
    """
    word = verdict(usage, is_measured=is_measured, is_hung=is_hung)
    mean = utilisation(usage, is_measured=is_measured)
    shares = Shares(
        gpu=mean,
        input=None if mean is None else (1 - mean if word == "input-bound" else 0.0),
        cpu=_share(usage.cpu_s, usage.cpu_capacity_s),
        disk=_share(usage.disk_busy_s, usage.disk_s),
        network=_share(usage.network_busy_s, usage.network_s),
        capped=_share(usage.cap_bound_gpu_s, usage.gpu_s),
    )
    sentence = _sentence(word, usage, shares)
    if word == "capped" and has_goal:
        sentence += '; its goal is "efficiency"'
    return Diagnosis(word, f"{sentence}; {slow}" if slow else sentence, shares)


def _sentence(word: Verdict, usage: TaskUsage, shares: Shares) -> str:
    waits = f"GPUs wait {_percent(None if shares.gpu is None else 1 - shares.gpu)} of the time"
    match word:
        case "hung":
            return "no progress for its no_progress: stacks of all ranks are in the log"
        case "input-bound":
            return f"{waits} for input: {_input(usage, shares)}"
        case "network-bound":
            return f"{waits}, and the busiest link is {_percent(shares.network)} full"
        case "capped":
            return f"the power cap slows the GPUs {_percent(shares.capped)} of the time"
        case "compute-bound":
            return f"the GPUs work {_percent(shares.gpu)} of the time"
        case "idle":
            return f"{waits}; {_quiet(shares)}"
        case "mixed":
            return f"{waits}; no single cause was measured"
        case _:
            return "too little was measured"


def _input(usage: TaskUsage, shares: Shares) -> str:
    run_s = max(usage.run_s, 1.0)
    busy, have = usage.cpu_s / run_s, usage.cpu_capacity_s / run_s
    cores = f"{busy:.3g} of {have:.3g} CPU cores busy"
    is_cpu = _is(usage.cpu_s, usage.cpu_capacity_s, CPU_BUSY_FROM)
    if shares.disk is None:
        disk = "disk not measured"
    else:
        disk = f"disk {_percent(shares.disk)} busy" if shares.disk >= IDLE_BELOW else "disk idle"
    return f"{cores}, {disk}; {MORE_CPUS if is_cpu else MORE_DISK}"


def _quiet(shares: Shares) -> str:
    """What is not busy either, as far as it was measured."""
    found = {"CPU": shares.cpu, "disk": shares.disk, "network": shares.network}
    unknown = [name for name, share in found.items() if share is None]
    if not unknown:
        return "neither CPU, disk nor network is busy"
    known = [f"{name} not busy" for name in found if name not in unknown]
    return ", ".join([*known, f"{' and '.join(unknown)} not measured"])


def _has_busy_input(usage: TaskUsage) -> bool:
    is_cpu = _is(usage.cpu_s, usage.cpu_capacity_s, CPU_BUSY_FROM)
    return is_cpu or _is(usage.disk_busy_s, usage.disk_s, DISK_BUSY_FROM)


def _is(part: float, whole: float, at_least: float) -> bool:
    return whole > 0 and part >= at_least * whole


def _share(part: float, whole: float) -> float | None:
    return min(1.0, part / whole) if whole > 0 else None


def _percent(share: float | None) -> str:
    return "an unknown part" if share is None else f"{share * 100:.3g} %"
