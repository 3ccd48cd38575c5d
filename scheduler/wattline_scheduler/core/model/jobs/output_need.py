"""What a job needs of its nodes before it may start there, in names for the planner."""

from wattline_protocol.ids import UserName
from wattline_scheduler.core.model.jobs.job import Job


def slot_for(user: UserName) -> str:
    """The need of a job with an output; no data set is called so."""
    return f"an output slot for {user}"


def needs_of(job: Job) -> tuple[str, ...]:
    """What it reads, and a slot for its output: jobs of one user need the same."""
    own = (slot_for(job.record.owner),) if job.spec.data.has_output else ()
    return (*job.reads, *own)
