"""Intervals of checkpoints that follow the failures of nodes (`checkpoint_every = "auto"`).

Failures are attempts that were lost with their node. They count from the attempts in memory, so a
restart keeps those of all jobs that it loads.
"""

from wattline_protocol.job.spec import JobSpec
from wattline_protocol.text.quantities import MAX_DURATION_S
from wattline_scheduler.core.model.jobs.job import Gang, Job
from wattline_scheduler.core.model.state import State
from wattline_scheduler.plan.learning.checkpoint_interval import failure_free_s, interval_s
from wattline_scheduler.records import AttemptRecord


def note_ended(state: State, record: AttemptRecord) -> None:
    """Counts an ended attempt for its node."""
    node = state.nodes.get(record.node)
    if node is not None:
        node.seen_s += record.usage.run_s
        node.failures += record.state == "NODE_FAIL"


def note_failures(state: State, gang: Gang) -> None:
    """Notes the time between failures of a gang's nodes with its job, if it saves by that."""
    if gang.job.spec.recovery.checkpoint_every_s == "auto" and gang.live:
        nodes = [state.nodes[attempt.node] for attempt in gang.live]
        seen = [(node.failures, node.seen_s) for node in nodes]
        gang.job.failure_free_s = min(failure_free_s(seen), MAX_DURATION_S)


def checkpoint_every_s(job: Job, spec: JobSpec) -> float:
    """Interval that an attempt of it begins with; 0 = none."""
    every_s = spec.recovery.checkpoint_every_s
    if every_s != "auto":
        return every_s
    known = (a.checkpoint for gang in job.gangs for a in gang.attempts)
    saves = [one for one in known if one is not None]
    newest = max(saves, key=lambda one: one.unix_s, default=None)
    if newest is None:
        return interval_s(0.0, job.failure_free_s)
    return interval_s(newest.waited_s, job.failure_free_s, newest.save_s)
