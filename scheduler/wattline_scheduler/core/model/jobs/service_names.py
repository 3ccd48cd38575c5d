"""Ownership of service names: the gateway routes requests of a name to workers of one user only.

The owner is the user of the first open job with the name, until the last job of that user with the
name has ended. If the site file lists users of the name, it belongs to them only. Ownership is not
recorded: it follows from the open jobs and their numbers, so that a restart changes no owner. A
route has a name as a service does, and no two have the same.
"""

from collections import Counter
from collections.abc import Iterable, KeysView

from wattline_protocol.ids import JobId
from wattline_protocol.site.model import Service
from wattline_scheduler.core.model.jobs.job import Job


class ServiceNames:
    """Open services by name."""

    def __init__(self, services: Iterable[Service] = ()) -> None:
        self.listed: dict[str, tuple[str, ...]] = {one.name: one.users for one in services}
        """Users by name, of the names in the site file."""
        self.routes: dict[str, tuple[str, ...]] = {}
        """Users of routes by name; no service has such a name."""
        self.displaced: set[JobId] = set()
        """Jobs that a run found open though their name belongs to another user."""
        self.changes = 0
        """Raised whenever the owner of a name may have changed."""
        self.count = 0
        """Of open services, each revision counted."""
        self.count_of: Counter[str] = Counter()
        """The same by owner. Without zero entries."""
        self._open: dict[str, dict[JobId, Job]] = {}

    def opened(self, job: Job) -> None:
        """Adds an open service; ignores jobs of other kinds."""
        if job.spec.kind == "service":
            self.changes += 1
            self._open.setdefault(job.spec.name, {})[job.id] = job
            self._count(job, 1)

    def ended(self, job: Job) -> None:
        """Removes an ended service; the name is free unless another open job has it."""
        if job.spec.kind == "service":
            self.changes += 1
            jobs = self._open[job.spec.name]
            del jobs[job.id]
            if not jobs:
                del self._open[job.spec.name]
            self._count(job, -1)

    def _count(self, job: Job, by: int) -> None:
        owner = job.record.owner
        self.count += by
        self.count_of[owner] += by
        if not self.count_of[owner]:
            del self.count_of[owner]

    def names(self) -> KeysView[str]:
        """Of open services."""
        return self._open.keys()

    def has(self, name: str, number: JobId) -> bool:
        """Whether that job is an open service of the name."""
        return number in self._open.get(name, {})

    def holder(self, name: str) -> Job | None:
        """The first open job with the name."""
        jobs = self._open.get(name)
        return jobs[min(jobs)] if jobs else None

    def add_route(self, name: str, users: tuple[str, ...]) -> None:
        """The name is that of a route now."""
        self.changes += 1
        self.routes[name] = users

    def remove_route(self, name: str) -> None:
        """The name is free again, unless the site file lists users of it."""
        self.changes += 1
        self.routes.pop(name, None)

    def users_of(self, name: str) -> tuple[str, ...]:
        """Users to whom the name belongs; none: it is free, or of a route that only operators
        make keys for."""
        users = self.routes.get(name, self.listed.get(name))
        if users is not None:
            return users
        first = self.holder(name)
        return () if first is None else (first.record.owner,)

    def may_use(self, user: str, name: str) -> bool:
        """Whether the name, of a service or a route, is free or belongs to this user."""
        users = self.users_of(name)
        return user in users or not (users or name in self.routes)

    def may_serve(self, user: str, name: str) -> bool:
        """Whether requests to the name may be routed to workers of this user."""
        return name not in self.routes and self.may_use(user, name)

    def serving(self, name: str) -> list[Job]:
        """Open jobs of a name that requests may be routed to; without any, all of them."""
        jobs = self._open.get(name, {})
        found = [jobs[number] for number in sorted(jobs)]
        return [job for job in found if self.may_serve(job.record.owner, name)] or found

    def open(self) -> dict[str, list[Job]]:
        """All open services by name, in the order of their numbers."""
        return {name: [jobs[n] for n in sorted(jobs)] for name, jobs in self._open.items()}

    def routed(self) -> dict[str, list[Job]]:
        """Open services that the gateway may route requests to."""
        return {
            name: [job for job in jobs if self.may_serve(job.record.owner, name)]
            for name, jobs in self.open().items()
            if name not in self.routes
        }
