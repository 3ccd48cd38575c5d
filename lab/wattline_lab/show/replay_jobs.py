"""Figures of a replayed trace."""

from rich.console import RenderableType

from wattline.show.tables import facts
from wattline_lab.replay.jobs.result import JobsReport


def jobs_report(r: JobsReport) -> RenderableType:
    """One line a figure."""
    waits = ", ".join(f"{size}: {wait_s:,.0f}" for size, wait_s in r.wait_s_by_size.items())
    due = f"{r.deadline_misses} of {r.deadlines} missed" if r.deadlines else "none"
    return facts(
        [
            ("run", f"{r.jobs} jobs under {r.policy}"),
            (
                "completion",
                f"mean {r.jct_s.mean:,.1f} s, p50 {r.jct_s.p50:,.1f}, p99 {r.jct_s.p99:,.1f}",
            ),
            ("makespan", f"{r.makespan_s:,.1f} s"),
            ("utilisation", f"{r.utilisation:.1%} of GPU time held"),
            ("mean wait by GPUs", f"{waits} s"),
            ("deadlines", due),
            *_shared(r),
            ("left out", f"{r.left_out} jobs"),
        ]
    )


def _shared(r: JobsReport) -> list[tuple[str, str]]:
    if r.stranded_gpus is None or r.share_error_pct is None:
        return []
    error = r.share_error_pct
    return [
        ("stranded", f"{r.stranded_gpus:,.1f} GPUs"),
        ("share error", f"at most {error.max:.2f} % of a day, mean {error.mean:.3f} %"),
    ]
