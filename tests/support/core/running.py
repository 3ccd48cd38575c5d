"""Work that runs on the nodes of a snapshot, and may be sent away."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from wattline_protocol.ids import GpuIndex, JobId
from wattline_protocol.job.spec import PRIORITIES
from wattline_scheduler.plan.model.columns import PRIORITY_LEVELS
from wattline_scheduler.plan.model.snapshot import RunningGang, Snapshot, TaskAllocation

RISE_MW = 280_000


def runs(
    number: int,
    *places: tuple[int, Sequence[int]],
    priority: str = "low",
    lost: float = 1.0,
    quotas: Sequence[int] = (),
    each_mw: int = 0,
) -> RunningGang:
    """Job `number` holds GPUs at these (position of the node, GPUs), which count in `quotas`, with
    so many watts each."""
    tasks = tuple(
        TaskAllocation(
            at=at,
            gpus=tuple(GpuIndex(i) for i in gpus),
            counts_mw=(RISE_MW,) * len(gpus),
            milli=1000,
            cpus=len(gpus),
            memory_bytes=0,
        )
        for at, gpus in places
    )
    gpus = sum(len(gpus) for _, gpus in places)
    counted = 1000 * gpus, each_mw * gpus
    return RunningGang(
        (JobId(number), 0), PRIORITIES[priority], lost, tasks, tuple(quotas), *counted
    )


def on_nodes(busy: Sequence[RunningGang]) -> Callable[[int], Sequence[RunningGang]]:
    return lambda at: [one for one in busy if any(task.at == at for task in one.tasks)]


def with_work(snap: Snapshot, busy: Sequence[RunningGang]) -> Snapshot:
    """The same, in which these run."""
    for one in busy:
        for task in one.tasks:
            least = int(snap.columns.least_priority[task.at])
            snap.columns.least_priority[task.at] = min(least, one.priority)
    least = min((one.priority for one in busy), default=PRIORITY_LEVELS)
    on = on_nodes(busy)
    running = tuple(tuple(on(at)) for at in range(len(snap.nodes)))
    return replace(snap, running=running, least_priority=least)
