"""Number of open jobs per user, account and queue.

Each unit of start counts one until it has ended: a job, each index of an array, each replica of a
service. Counts follow every transition of a gang, so that a submission needs no scan.
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
        """Without zero entries."""
        self.bytes_of_user: Counter[UserName] = Counter()
        """Message size of their open jobs. Without zero entries."""
        self.gangs_of_user: Counter[UserName] = Counter()
        """Gangs of their open jobs, ended ones too: they stay in memory as long as their job is
        open. Without zero entries."""
        self._open: dict[JobId, tuple[int, int, int]] = {}
        """Open count, size and gangs of each job."""
        self._quotas = quotas

    def count(self, job: Job, more: int) -> None:
        """Adds to the open count of a job."""
        owner = job.record.owner
        self.of_user[owner] += more
        if not self.of_user[owner]:
            del self.of_user[owner]
        self._count_job(job, more)
        for number in self._quotas.of(job.account, job.spec.queue):
            self._quotas.all[number].open_jobs += more

    def _count_job(self, job: Job, more: int) -> None:
        """A job counts in full for as long as anything of it is open."""
        owner = job.record.owner
        open_before, size, gangs = self._open.pop(job.id, (0, 0, 0))
        is_open = open_before + more
        if not open_before and is_open:
            size = encoded_bytes(job.spec)
            _add(self.bytes_of_user, owner, size)
        if is_open:
            self._open[job.id] = (is_open, size, len(job.gangs))
        elif open_before:
            _add(self.bytes_of_user, owner, -size)
        _add(self.gangs_of_user, owner, (len(job.gangs) if is_open else 0) - gangs)


def _add(counts: Counter[UserName], user: UserName, more: int) -> None:
    """Adds without a zero entry."""
    counts[user] += more
    if not counts[user]:
        del counts[user]
