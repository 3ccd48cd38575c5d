"""What a job needs of its nodes before it may start there, in names for the planner."""

from wattline_scheduler.core.model.jobs.job import Job

OUTPUT_OF = "room for another output of "
"""Begins the need of a job with an output; no data set is called so."""


def needs_of(job: Job) -> tuple[str, ...]:
    """What it reads, and room for its output: jobs of one user need the same."""
    own = (f"{OUTPUT_OF}{job.record.owner}",) if job.spec.data.has_output else ()
    return (*job.reads, *own)
