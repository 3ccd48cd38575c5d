"""The log of a task."""

from collections.abc import Iterator

from wattline import exits
from wattline.acts.jobs import one_number
from wattline.client import Client
from wattline.failures import ActFailed
from wattline.first_failure import FirstFailure, first_failure
from wattline_protocol.views.site_views import JobView
from wattline_protocol.wire.client_messages import Log

FIRST_FAILED = "first-failed"
MAX_DIGITS = 9


def logs(
    client: Client,
    *,
    job: str,
    task: int,
    attempt: int,
    rank: str | None,
    follow: bool,
    tail: int | None,
) -> Iterator[Log]:
    """Output of the task, or of one rank of its gang, piece by piece."""
    if tail is not None and tail < 0:
        raise ActFailed(f"--tail {tail}: expected a number of lines from 0", exits.USAGE)
    number = one_number(client, job)
    wanted = None if rank is None else _number_of(rank)
    if rank == FIRST_FAILED:
        failure = _first_failure(client.job(number), attempt)
        task, attempt, wanted = failure.attempt.task, failure.attempt.attempt, failure.rank
    return client.log(number, task=task, attempt=attempt, rank=wanted, follow=follow, tail=tail)


def _number_of(rank: str) -> int | None:
    if rank == FIRST_FAILED:
        return None
    if not (rank.isascii() and rank.isdigit() and len(rank) <= MAX_DIGITS):
        raise ActFailed(f"--rank {rank}: expected a number from 0, or {FIRST_FAILED}", exits.USAGE)
    return int(rank)


def _first_failure(job: JobView, attempt: int) -> FirstFailure:
    attempts = [a for a in job.attempts if attempt in (0, a.attempt)]
    failure = first_failure(attempts, job.spec)
    if failure is None:
        where = f" in attempt {attempt}" if attempt else ""
        raise ActFailed(f"no rank of job {job.id} has failed{where}: it is {job.state}")
    return failure
