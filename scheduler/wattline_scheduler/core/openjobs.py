"""How many jobs each user, account and queue has open.

What starts together counts one: a job, each index of an array, each replica of a service, until
it has ended. Counts follow every move of a gang, so that a submission looks nothing over.
"""

from collections import Counter

from wattline_protocol.ids import UserName
from wattline_scheduler.core.jobs import Job
from wattline_scheduler.core.quotas import QuotaBook


class OpenJobs:
    """The counts: by user here, by account and queue in their quotas."""

    def __init__(self, quotas: QuotaBook) -> None:
        self.of_user: Counter[UserName] = Counter()
        """None of 0."""
        self._quotas = quotas

    def count(self, job: Job, more: int) -> None:
        """So many more of it are open, or fewer."""
        owner = job.record.owner
        self.of_user[owner] += more
        if not self.of_user[owner]:
            del self.of_user[owner]
        for number in self._quotas.of(job.account, job.spec.queue):
            self._quotas.all[number].open_jobs += more
