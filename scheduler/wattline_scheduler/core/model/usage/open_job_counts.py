"""How many jobs each user, account and queue has open.

What starts together counts one: a job, each index of an array, each replica of a service, until
it has ended. Counts follow every move of a gang, so that a submission looks nothing over.
"""

from collections import Counter

from wattline_protocol.ids import JobId, UserName
from wattline_protocol.job.spec import encoded_bytes
from wattline_scheduler.core.model.jobs.job import Job
from wattline_scheduler.core.model.usage.quota_book import QuotaBook


class OpenJobs:
    """The counts: by user here, by account and queue in their quotas."""

    def __init__(self, quotas: QuotaBook) -> None:
        self.of_user: Counter[UserName] = Counter()
        """None of 0."""
        self.bytes_of_user: Counter[UserName] = Counter()
        """Of their open jobs, as messages carry them. None of 0."""
        self._open: dict[JobId, tuple[int, int]] = {}
        """How much of each job is open, and its size."""
        self._quotas = quotas

    def count(self, job: Job, more: int) -> None:
        """So many more of it are open, or fewer."""
        owner = job.record.owner
        self.of_user[owner] += more
        if not self.of_user[owner]:
            del self.of_user[owner]
        self._count_bytes(job, more)
        for number in self._quotas.of(job.account, job.spec.queue):
            self._quotas.all[number].open_jobs += more

    def _count_bytes(self, job: Job, more: int) -> None:
        """A job counts in full for as long as anything of it is open."""
        owner = job.record.owner
        open_before, size = self._open.pop(job.id, (0, 0))
        is_open = open_before + more
        if not open_before and is_open:
            size = encoded_bytes(job.spec)
            self.bytes_of_user[owner] += size
        if is_open:
            self._open[job.id] = (is_open, size)
        elif open_before:
            self.bytes_of_user[owner] -= size
            if not self.bytes_of_user[owner]:
                del self.bytes_of_user[owner]
