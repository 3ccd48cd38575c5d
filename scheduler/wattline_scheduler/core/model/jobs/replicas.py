"""Replicas of a service. A removed one stays among its gangs, so that its number has one history: a
service that had 10,000 replicas and has one has 9,999 of them, and no tick looks at these."""

from wattline_scheduler.core.model.jobs.job import Gang, Job


def open_replicas(job: Job) -> list[Gang]:
    """Those that have not ended, by number."""
    return [job.gangs[number] for number in job.open]


def open_beyond_count(job: Job) -> list[Gang]:
    """Of these, those above the number of replicas that there are to be: stand-ins, and some that
    are being stopped."""
    return [job.gangs[number] for number in job.open.since(job.gang_count)]
