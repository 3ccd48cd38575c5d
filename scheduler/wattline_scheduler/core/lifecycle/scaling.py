"""More or fewer replicas of a service that is there: those with the highest numbers come and go.

What is let go ends as cancelled, by its stop notice and with the job's grace, and keeps its number:
asked for again it is queued again. So a replica keeps its number whatever becomes of others.
"""

from wattline_protocol.ids import Now, UserName
from wattline_scheduler.core.lifecycle.ending import end_gangs
from wattline_scheduler.core.lifecycle.job_state import refresh, save_gang
from wattline_scheduler.core.model.jobs.job import Ended, Ending, Gang, Job, Pending
from wattline_scheduler.core.model.state import State


def scale(state: State, job: Job, before: int, user: UserName, now: Now) -> None:
    """Its specification names another number of replicas than `before`."""
    wanted = job.spec.gang_count
    if wanted == before or job.is_ended:
        return
    reason = f"{user} scaled it from {before} to {wanted}"
    end_gangs(state, job.gangs[wanted:before], "cancelled", reason, now)
    for number in range(before, wanted):
        if number < len(job.gangs):
            _again(state, job.gangs[number], reason, now)
        else:
            state.work.grow(job, Gang(job, number, Pending(now.mono_s)), now)
    refresh(state, job, now)


def _again(state: State, gang: Gang, reason: str, now: Now) -> None:
    """One that was let go: what is still being stopped is queued again once it has ended."""
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
