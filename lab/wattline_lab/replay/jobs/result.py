"""What a replay says: completion times, makespan, utilisation, waits."""

from collections import defaultdict
from collections.abc import Sequence

import msgspec

from wattline_lab.replay.jobs.run import Run
from wattline_lab.replay.meter import Meter, ShareError, share_error


class Jct(msgspec.Struct, frozen=True):
    """Seconds from submission to end."""

    mean: float
    p50: float
    p99: float


class JobsReport(msgspec.Struct, frozen=True):
    """One trace under one policy."""

    policy: str
    jobs: int
    jct_s: Jct
    makespan_s: float
    """The last end, from the beginning of the trace's time."""
    utilisation: float
    """GPU-seconds held over GPUs × (last end - first submission)."""
    wait_s_by_size: dict[str, float]
    """Mean seconds in the queue, by GPUs asked for."""
    left_out: int = 0
    """Jobs that ask for no GPU, or for more than their cluster has."""
    deadlines: int = 0
    """Jobs that have one."""
    deadline_misses: int = 0
    stranded_gpus: float | None = None
    """Mean GPUs that were free while work of their cluster waited, until the last submission;
    None: this protocol does not count them."""
    share_error_pct: ShareError | None = None
    """Of accounts that share a cluster."""


def report(
    policy: str,
    runs: Sequence[Run],
    gpus: int,
    meters: Sequence[Meter] = (),
    *,
    left_out: int = 0,
) -> JobsReport:
    """Figures of all jobs, which have ended."""
    last_s = max(run.end_s for run in runs)
    span_s = last_s - min(run.job.submit_s for run in runs)
    due = [run for run in runs if run.job.deadline_s is not None]
    held_gpu_s = sum(run.held_s * run.job.gpus for run in runs)
    return JobsReport(
        policy=policy,
        jobs=len(runs),
        jct_s=jct(runs),
        makespan_s=round(last_s, 6),
        utilisation=round(held_gpu_s / (gpus * span_s), 4) if span_s else 1.0,
        wait_s_by_size=_waits(runs),
        left_out=left_out,
        deadlines=len(due),
        deadline_misses=sum(run.end_s > (run.job.deadline_s or 0.0) for run in due),
        stranded_gpus=_stranded(meters, runs) if meters else None,
        share_error_pct=share_error(meters) if meters else None,
    )


def _stranded(meters: Sequence[Meter], runs: Sequence[Run]) -> float:
    submitted_s = [run.job.submit_s for run in runs]
    span_s = max(1.0, max(submitted_s) - min(submitted_s))
    return round(sum(meter.stranded_gpu_s for meter in meters) / span_s, 2)


def jct(runs: Sequence[Run]) -> Jct:
    """Quantiles are the value at index ⌊q n⌋ of the sorted list, as published ones are."""
    sorted_s = sorted(run.jct_s for run in runs)
    return Jct(
        mean=round(sum(sorted_s) / len(sorted_s), 4),
        p50=round(sorted_s[len(sorted_s) // 2], 6),
        p99=round(sorted_s[int(0.99 * len(sorted_s))], 6),
    )


def _waits(runs: Sequence[Run]) -> dict[str, float]:
    by_size: dict[int, list[float]] = defaultdict(list)
    for run in runs:
        by_size[run.job.gpus].append(run.waited_s)
    return {str(size): round(sum(of) / len(of), 1) for size, of in sorted(by_size.items())}
