"""Which attempts end on a node that cannot reach the scheduler; their gang starts elsewhere.

Such an attempt has a task lease, enforced by its keeper: once that has run out it has ended (I7). A
job that continues from a checkpoint loses less by that than by waiting for its node; one without a
checkpoint would lose all its work, and waits. `recovery.on_isolation` takes precedence.
"""

from wattline_protocol.wire.agent_messages import TaskReport
from wattline_scheduler.core.model.jobs.job import Attempt, Gang
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State
from wattline_scheduler.records import AttemptRecord


def ends_isolated(state: State, gang: Gang) -> bool:
    """Whether its attempts should have a task lease."""
    spec = gang.job.spec
    if spec.recovery.on_isolation or spec.stops_on_isolation:
        return spec.stops_on_isolation
    # A checkpoint in the state directory of one agent is of no use on another node.
    is_shared = bool(state.site.checkpoint_root or spec.recovery.checkpoints)
    return (is_shared and gang.has_saved) or gang.stored is not None


def needs_lease(state: State, node: NodeNow, attempt: Attempt) -> bool:
    """Whether a running attempt should have a task lease, and its keeper has not listed one yet."""
    record = attempt.record
    return (
        not record.has_task_lease
        and node.takes_recovery
        and ("task_lease", record.ref) not in node.outbox
        and ends_isolated(state, attempt.gang)
    )


def has_lease(record: AttemptRecord, report: TaskReport) -> bool:
    """Whether it certainly has one: it started with it, or its keeper has listed it. An order for
    one proves nothing, and none is taken back."""
    return record.has_task_lease or report.has_task_lease
