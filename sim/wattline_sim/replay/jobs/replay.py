"""One trace under one policy."""

from collections.abc import Callable
from pathlib import Path

from wattline_sim.replay.jobs.learned import Learned
from wattline_sim.replay.jobs.muri import Rule, replay
from wattline_sim.replay.jobs.pool import Counted, Nodes, Pool
from wattline_sim.replay.jobs.result import JobsReport, report
from wattline_sim.replay.jobs.rules import Tiresias, srsf, srtf
from wattline_sim.replay.jobs.trace import OVERHEAD_FILE, read_muri, read_overheads

NODES, GPUS_PER_NODE = 8, 8
"""The cluster of Muri's protocol."""

_RULES: dict[str, Callable[[], Rule]] = {
    "srtf": srtf,
    "srsf": srsf,
    "tiresias": Tiresias,
    "wattline": Learned,
}


def replay_jobs(trace: Path, policy: str, overheads: Path | None) -> JobsReport:
    """Raises TraceUnreadable. Without `overheads`, the table beside the trace counts."""
    seconds = read_overheads(overheads or trace.parent / OVERHEAD_FILE)
    jobs = read_muri(trace, seconds)
    pool = _pool(policy)
    return report(policy, replay(jobs, pool, _RULES[policy]()), pool.gpus)


def _pool(policy: str) -> Pool:
    """Tiresias's results count GPUs only; all others place."""
    if policy == "tiresias":
        return Counted(NODES * GPUS_PER_NODE)
    return Nodes(NODES, GPUS_PER_NODE)
