"""To whom each service name belongs: the gateway sends the requests of a name to workers of one
user only.

A name belongs to the user whose open job took it first, until the last of that user's jobs with
the name has ended; where the site file lists its users, to them and to nobody else. Nothing of this
is on record: it follows from the open jobs and their numbers, so a restart changes no owner.
"""

from collections.abc import Iterable

from wattline_protocol.ids import JobId, UserName
from wattline_protocol.site.model import Service
from wattline_scheduler.core.model.jobs.job import Job


class ServiceNames:
    """Open services by name."""

    def __init__(self, services: Iterable[Service] = ()) -> None:
        self.listed: dict[str, tuple[str, ...]] = {one.name: one.users for one in services}
        """Users by name, of the names in the site file."""
        self.displaced: set[JobId] = set()
        """Jobs that a run found open though their name belongs to another user."""
        self._open: dict[str, dict[JobId, Job]] = {}

    def opened(self, job: Job) -> None:
        """The job has not ended; jobs of other kinds have no such name."""
        if job.spec.kind == "service":
            self._open.setdefault(job.spec.name, {})[job.id] = job

    def ended(self, job: Job) -> None:
        """Its name is free again, unless another open job has it."""
        jobs = self._open.get(job.spec.name, {})
        jobs.pop(job.id, None)
        if not jobs:
            self._open.pop(job.spec.name, None)

    def holder(self, name: str) -> Job | None:
        """The open job that took the name first."""
        jobs = self._open.get(name)
        return jobs[min(jobs)] if jobs else None

    def may_use(self, user: UserName, name: str) -> bool:
        """Whether requests to the name may reach workers of this user."""
        users = self.listed.get(name)
        if users is not None:
            return user in users
        first = self.holder(name)
        return first is None or first.record.owner == user

    def open(self) -> dict[str, list[Job]]:
        """All open services by name, in the order of their numbers."""
        return {name: [jobs[n] for n in sorted(jobs)] for name, jobs in self._open.items()}

    def routed(self) -> dict[str, list[Job]]:
        """Of these the ones that the gateway may send requests to."""
        return {
            name: [job for job in jobs if self.may_use(job.record.owner, name)]
            for name, jobs in self.open().items()
        }
