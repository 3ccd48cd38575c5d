"""Scales the replicas of an existing service: the highest numbers are added and removed.

A removed replica ends as CANCELLED, with its stop notice and the job's grace, and its number stays
reserved: scaled up again, it is queued again. Each replica thus has a stable number.
"""

from wattline_protocol.ids import Now
from wattline_scheduler.core.lifecycle.ending import end_gangs
from wattline_scheduler.core.lifecycle.job_state import refresh, save_gang
from wattline_scheduler.core.model.jobs.job import Ended, Ending, Gang, Job, Pending
from wattline_scheduler.core.model.state import State


def scale(state: State, job: Job, before: int, reason: str, now: Now) -> None:
    """Applies a change of the number of replicas from `before`."""
    wanted = job.gang_count
    if wanted == before or job.is_ended:
        return
    end_gangs(state, job.gangs[wanted:before], "cancelled", reason, now)
    for number in range(before, wanted):
        add_replica(state, job, number, reason, now)
    refresh(state, job, now)


def add_replica(state: State, job: Job, number: int, reason: str, now: Now) -> None:
    """Queues a replica, new or removed before."""
    if number < len(job.gangs):
        _again(state, job.gangs[number], reason, now)
    else:
        state.work.grow(job, Gang(job, number, Pending(now.mono_s)), now)
        save_gang(state, job.gangs[number], now)


def _again(state: State, gang: Gang, reason: str, now: Now) -> None:
    """Queues a removed replica again; one that is still being stopped follows once it has ended."""
    gang.failures = gang.losses = gang.crashes = gang.refusals = 0
    match gang.phase:
        case Ending():
            state.work.move(gang, Ending(gang.phase.since, "asked"), now)
        case Ended():
            gang.reason = reason
            state.work.move(gang, Pending(now.mono_s), now)
        case _:
            return
    save_gang(state, gang, now)
