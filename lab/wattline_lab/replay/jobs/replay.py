"""One trace under one policy."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from wattline_lab.replay.jobs.fleet import GPUS_PER_NODE, serve_all
from wattline_lab.replay.jobs.formats import (
    Queue,
    columns_of,
    is_chronus,
    is_philly,
    read_chronus,
    read_philly,
)
from wattline_lab.replay.jobs.learned import Learned
from wattline_lab.replay.jobs.muri import Rule, replay
from wattline_lab.replay.jobs.pool import Counted, Nodes, Pool
from wattline_lab.replay.jobs.result import JobsReport, report
from wattline_lab.replay.jobs.rules import Tiresias, fifo, srsf, srtf
from wattline_lab.replay.jobs.trace import (
    OVERHEAD_FILE,
    TraceUnreadable,
    read_muri,
    read_overheads,
)

MURI_NODES = 8

_MURI: dict[str, Callable[[], Rule]] = {
    "srtf": srtf,
    "srsf": srsf,
    "tiresias": Tiresias,
    "wattline": Learned,
    "wattline-progress": partial(Learned, hears_progress=True),
}
_FLEET: dict[str, tuple[Callable[[], Rule], bool]] = {
    "fifo": (fifo, False),
    "backfill": (fifo, True),
    "wattline": (partial(Learned, sends_back=False), True),
}


def replay_jobs(trace: Path, policy: str, overheads: Path | None) -> JobsReport:
    """Raises TraceUnreadable, also for a policy that the trace's protocol does not have. Without
    `overheads`, the table beside a trace of Muri's counts."""
    columns = columns_of(trace)
    if is_philly(columns):
        return _fleet(trace, policy, read_philly(trace))
    if is_chronus(columns):
        return _fleet(trace, policy, read_chronus(trace))
    if policy not in _MURI:
        raise TraceUnreadable(f"{trace}: on a trace of Muri's run one of {', '.join(_MURI)}")
    seconds = read_overheads(overheads or trace.parent / OVERHEAD_FILE)
    jobs, pool = read_muri(trace, seconds), _pool(policy)
    return report(policy, replay(jobs, pool, _MURI[policy]()), pool.gpus)


def _fleet(trace: Path, policy: str, queue: Queue) -> JobsReport:
    if policy not in _FLEET:
        raise TraceUnreadable(f"{trace}: on this trace run one of {', '.join(_FLEET)}")
    rule, passes_over = _FLEET[policy]
    served = serve_all(queue, rule, passes_over=passes_over)
    if not served.runs:
        raise TraceUnreadable(f"{trace}: no job that its cluster could run")
    gpus = sum(queue.nodes.values()) * GPUS_PER_NODE
    left_out = len(queue.jobs) - len(served.runs)
    return report(policy, served.runs, gpus, served.meters, left_out=left_out)


def _pool(policy: str) -> Pool:
    """Tiresias's results count GPUs only; all others place."""
    if policy == "tiresias":
        return Counted(MURI_NODES * GPUS_PER_NODE)
    return Nodes(MURI_NODES, GPUS_PER_NODE)
