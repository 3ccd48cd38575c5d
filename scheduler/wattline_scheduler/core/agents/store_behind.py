"""Agents that know of more than is on record: the store has lost its newest commits.

What an agent is given is on disk before it is sent (I8, I9). So an incarnation or an attempt above
all on record was given out by a run whose last commits are gone, as after a loss of power with a
disk that does not keep what it said it had. The marker beside the store tells of older ones.
"""

from wattline_protocol.ids import JobId, Now
from wattline_protocol.wire.agent_messages import Hello, TaskReport
from wattline_scheduler.core.model import problems
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State

PROBLEM = "store_behind"

NUMBERS_LOST = 10_000
"""Jobs that a lost second may have taken: numbers go on above one that is named, up to so many in a
run, whatever agents name after that."""


def look_at_hello(state: State, node: NodeNow, hello: Hello, now: Now) -> None:
    """Before it is given an incarnation of its own."""
    known = node.record.incarnation
    if hello.incarnation_seen > known:
        seen = hello.incarnation_seen
        _tell(state, node, f"was incarnation {seen}, the newest on record is {known}", now)


def look_at_stray(state: State, node: NodeNow, report: TaskReport, now: Now) -> None:
    """An attempt that is not on record."""
    ref, job = report.ref, state.work.jobs.get(report.ref.job)
    if ref.job >= state.next_job:
        _tell(state, node, f"has {ref}, the newest job on record is {state.next_job - 1}", now)
        state.numbers_lost = state.numbers_lost or JobId(state.next_job + NUMBERS_LOST)
        if ref.job < state.numbers_lost:
            state.next_job = JobId(ref.job + 1)
    elif job is not None:
        gang = ref.task // job.spec.gang_size
        if gang < len(job.gangs) and ref.attempt > job.gangs[gang].attempt:
            newest = job.gangs[gang].attempt
            _tell(state, node, f"has {ref}, the newest try on record is {newest}", now)


def _tell(state: State, node: NodeNow, what: str, now: Now) -> None:
    """A backup that was restored is known to lack its tail."""
    if state.is_recovering:
        return
    text = (
        f"{node.id} {what}: the store has lost its newest commits, and with them perhaps jobs that "
        "were accepted. Look for those of the last seconds before this run, and submit them again"
    )
    problems.begin(state, PROBLEM, node.id, text, now, node=node.id)
