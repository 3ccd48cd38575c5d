"""Marks of nodes and jobs: while a mark is equal, the row is not built again.

A mark has what usually changes a row, and costs a tenth of it. What it does not have (a reason of
one gang, learned thermal resistance, texts with times) appears with the next full turn: each
picture builds some rows whatever their marks (`site_feed`).
"""

from collections.abc import Hashable

from wattline_protocol.ids import Now
from wattline_scheduler.core.leases.measured_draw import Draw
from wattline_scheduler.core.model.jobs.job import Job
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State

LATE_S = 3.0
"""A node heard within it is on time: that its last beat is a second older changes no row."""

Mark = tuple[Hashable | tuple[object, ...], ...]


def node_mark(state: State, node: NodeNow, draw: Draw, now: Now) -> Mark:
    """Of the row of a node."""
    beat = node.beat if node.is_reachable else None
    heard_at = node.heard_at
    is_late = heard_at is not None and now.mono_s - heard_at > LATE_S
    return (
        node.record,
        node.state,
        state.books.committed_mw(node.id),
        state.books.newest_lease_mw(node.id),
        (draw.mw, draw.is_measured),
        beat and (beat.gpus, beat.inlet_c, beat.cpu_pct, beat.problems),
        heard_at if is_late else None,
        node.id in state.contradicted,
        (*node.gpus.values(),),
        (*node.attempts,),
        (*node.holders, *node.holders.values()),
        (*node.idle,),
        (*node.lost,),
        (*node.foreign.values(),),
    )


def job_mark(job: Job) -> Mark:
    """Of the row of a job whose record is the same."""
    of_class = job.job_class.wait_reason if job.job_class is not None else ""
    return (
        (*job.count.values(),),
        len(job.gangs),
        job.wait_reason,
        of_class,
        (job.closed, job.outside, job.unstaged, job.barred),
        (job.late, job.at_risk, job.unsaved),
        (len(job.parents), len(job.held), len(job.ready)),
    )
