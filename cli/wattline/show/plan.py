"""A saved planning cycle, or the plan made from one."""

from rich.console import Group, RenderableType
from rich.text import Text

from wattline.acts.plan import CyclePlanned, GangPlaced, PlanSaved
from wattline.show.tables import Column, Listing, facts
from wattline_protocol.text.quantities import format_size
from wattline_protocol.text.wording import counted


def plan(value: PlanSaved | CyclePlanned) -> RenderableType:
    """What was saved, or placements, preemptions and wait reasons."""
    if isinstance(value, PlanSaved):
        size = format_size(value.size_bytes)
        return Text(f"saved the newest planning cycle to {value.file} ({size})")
    return Group(_summary(value), *_lists(value))


def _summary(value: CyclePlanned) -> RenderableType:
    return facts(
        [
            ("cycle", str(value.cycle)),
            ("snapshot", f"{counted(value.nodes, 'node')}, {counted(value.pending_jobs, 'job')}"),
            ("as the scheduler planned", "yes" if value.is_same else "no"),
            ("reached the end of the queue", "no" if value.is_cut else "yes"),
            ("effort", counted(value.effort, "step")),
        ]
    )


def _lists(value: CyclePlanned) -> list[RenderableType]:
    placed, preempting, pending = value.placements, value.preemptions, value.waits
    return [
        Text(""),
        Listing(
            (
                Column("STARTS", [_named(one.job, one.gang) for one in placed]),
                Column("TASKS", [_tasks(one) for one in placed], grows=True),
            ),
            empty="no job starts",
        ),
        Text(""),
        Listing(
            (
                Column("PREEMPTS", [_named(one.job, one.gang) for one in preempting]),
                Column("VICTIMS", [", ".join(one.victims) for one in preempting], grows=True),
                Column("NODES", [", ".join(one.nodes) for one in preempting], grows=True),
            ),
            empty="no job is preempted",
        ),
        Text(""),
        Listing(
            (
                Column("PENDING", [str(one.job) for one in pending]),
                Column("REASON", [one.reason for one in pending], grows=True),
            ),
            empty="no job that was evaluated stays pending",
        ),
    ]


def _named(job: int, gang: int) -> str:
    return f"{job}.{gang}"


def _tasks(one: GangPlaced) -> str:
    return "; ".join(
        f"{task.node} GPU {','.join(map(str, task.gpus))}" if task.gpus else task.node
        for task in one.tasks
    )
