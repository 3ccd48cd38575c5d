"""One trace under one policy."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from wattline_lab.replay.jobs.fleet import InOrder, serve_all
from wattline_lab.replay.jobs.formats import (
    Queue,
    columns_of,
    is_chronus,
    is_philly,
    read_chronus,
    read_philly,
)
from wattline_lab.replay.jobs.learned import Learned
from wattline_lab.replay.jobs.muri import Cluster, Kept, Refilled, Rule, Starter, replay
from wattline_lab.replay.jobs.planned import Planned
from wattline_lab.replay.jobs.pool import GPUS_PER_NODE, Counted, Nodes
from wattline_lab.replay.jobs.result import JobsReport, report
from wattline_lab.replay.jobs.rules import Tiresias, fifo, srsf, srtf
from wattline_lab.replay.jobs.trace import OVERHEAD_FILE, TraceUnreadable, read_muri, read_overheads

MURI_NODES = 8
MURI_GPUS = MURI_NODES * GPUS_PER_NODE


def _refilled(rule: Rule) -> Cluster:
    return Refilled(Nodes(MURI_NODES, GPUS_PER_NODE), rule)


_MURI: dict[str, Callable[[], Cluster]] = {
    "srtf": lambda: _refilled(srtf()),
    "srsf": lambda: _refilled(srsf()),
    # Its published results count GPUs only; all others place.
    "tiresias": lambda: Refilled(Counted(MURI_GPUS), Tiresias()),
    "wattline": lambda: Kept(Planned(MURI_NODES)),
    "learned-preemptive": lambda: _refilled(Learned()),
    "learned-preemptive-progress": lambda: _refilled(Learned(hears_progress=True)),
}


def _in_order(rule: Callable[[], Rule], nodes: int, *, passes_over: bool = True) -> Starter:
    return InOrder(Nodes(nodes, GPUS_PER_NODE), rule(), passes_over=passes_over)


_FLEET: dict[str, Callable[[int], Starter]] = {
    "fifo": partial(_in_order, fifo, passes_over=False),
    "backfill": partial(_in_order, fifo),
    "wattline": Planned,
    "learned": partial(_in_order, partial(Learned, preempts=False)),
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
    jobs = read_muri(trace, read_overheads(overheads or trace.parent / OVERHEAD_FILE))
    return report(policy, replay(jobs, _MURI[policy]()), MURI_GPUS)


def _fleet(trace: Path, policy: str, queue: Queue) -> JobsReport:
    if policy not in _FLEET:
        raise TraceUnreadable(f"{trace}: on this trace run one of {', '.join(_FLEET)}")
    served = serve_all(queue, _FLEET[policy])
    if not served.runs:
        raise TraceUnreadable(f"{trace}: no job that its cluster could run")
    gpus = sum(queue.nodes.values()) * GPUS_PER_NODE
    left_out = len(queue.jobs) - len(served.runs)
    return report(policy, served.runs, gpus, served.meters, left_out=left_out)
