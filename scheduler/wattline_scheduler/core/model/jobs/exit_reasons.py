"""Meaning and text of the end of an attempt."""

from wattline_protocol.job.spec import RENDEZVOUS_LAUNCHERS, Launcher
from wattline_protocol.views.site_views import JobState
from wattline_protocol.wire.agent_messages import TaskExit
from wattline_protocol.wire.task_order import PORT_TAKEN_STATUS
from wattline_scheduler.records import Cause

WORDS = {
    "signaled": "killed by signal {signal}",
    "out_of_memory": "out of memory",
    "not_found": "command not found",
    "not_startable": "could not be started",
    "runtime_limit": "reached its runtime limit",
    "task_lease_expired": "its node was isolated for longer than the task lease",
    "keeper_lost": "the node's keeper died",
    "emergency": "killed to shed power",
    "cap_raised": "killed: the cap of its GPU was raised and the task had the rights to do so",
}

POINTLESS = frozenset({"not_found", "cap_raised"})
"""Ends that would recur on every node: not tried again."""


def meaning(end: TaskExit, launcher: Launcher) -> tuple[JobState, Cause]:
    """State of the attempt, and the cause for its gang."""
    match end.kind:
        case "exited" if launcher in RENDEZVOUS_LAUNCHERS and end.code == PORT_TAKEN_STATUS:
            return "CANCELLED", "requeued"
        case "exited" if end.code == 0:
            return "COMPLETED", "finished"
        case "runtime_limit":
            return "TIMEOUT", "timeout"
        case "task_lease_expired" | "keeper_lost" | "emergency":
            return "NODE_FAIL", "lost"
        case _:
            return "FAILED", "failed"


def describe_exit(end: TaskExit) -> str:
    """Formats an end as one sentence."""
    if end.detail:
        return end.detail
    if end.kind == "exited":
        return f"exit status {end.code}"
    return WORDS[end.kind].format(signal=end.signal)
