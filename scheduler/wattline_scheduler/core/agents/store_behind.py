"""Detects agents that know more than the records: the store has lost its newest commits.

Data for an agent is on disk before it is sent (I8, I9). A higher incarnation or attempt than
recorded was thus issued by a run whose last commits are lost, as after a power loss with a disk
that does not store what it acknowledged. The marker beside the store detects older losses.
"""

from wattline_protocol.ids import JobId, Now
from wattline_protocol.wire.agent_messages import Hello, TaskReport
from wattline_scheduler.core.model import problems
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State

PROBLEM = "store_behind"

NUMBERS_LOST = 10_000
"""Upper bound of job numbers skipped per run: numbers continue above any that an agent names, up to
this many, as the lost commits may have issued them."""


def check_hello(state: State, node: NodeNow, hello: Hello, now: Now) -> None:
    """Compares the incarnation in a Hello with the record, before a new one is issued."""
    known = node.record.incarnation
    if hello.incarnation_seen > known:
        seen = hello.incarnation_seen
        _report(state, node, f"has incarnation {seen}, the newest on record is {known}", now)


def check_stray(state: State, node: NodeNow, report: TaskReport, now: Now) -> None:
    """Compares an unrecorded attempt with the newest numbers on record."""
    ref, job = report.ref, state.work.jobs.get(report.ref.job)
    if ref.job >= state.next_job:
        _report(state, node, f"has {ref}, the newest job on record is {state.next_job - 1}", now)
        state.numbers_lost = state.numbers_lost or JobId(state.next_job + NUMBERS_LOST)
        if ref.job < state.numbers_lost:
            state.next_job = JobId(ref.job + 1)
    elif job is not None:
        gang = ref.task // job.spec.gang_size
        if gang < len(job.gangs) and ref.attempt > job.gangs[gang].attempt:
            newest = job.gangs[gang].attempt
            _report(state, node, f"has {ref}, the newest attempt on record is {newest}", now)


def _report(state: State, node: NodeNow, what: str, now: Now) -> None:
    """Raises the problem; not in recovery, where the backup is known to lack its tail."""
    if state.is_recovering:
        return
    text = (
        f"{node.id} {what}: the store lost its newest commits, perhaps with accepted "
        "jobs. Check the jobs of the last seconds before this run and submit lost ones again"
    )
    problems.begin(state, PROBLEM, node.id, text, now, node=node.id)
