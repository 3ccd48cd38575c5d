"""Attempts whose output a client may read: logs, and records of runs."""

from wattline_protocol.ids import JobId, TaskNo, UserName
from wattline_protocol.wire.client_messages import Denied
from wattline_scheduler.core.model.not_found import no_job
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.records import AttemptRecord, JobRecord
from wattline_scheduler.store.store import Store


class ReadableAttempts:
    """Finds attempts in memory and on disk, for their owner and for operators."""

    def __init__(self, state: State, store: Store) -> None:
        self._state, self._store = state, store

    def of_gang(
        self, number: JobId, task: TaskNo, asker: Asker
    ) -> tuple[JobRecord, list[AttemptRecord]] | Denied:
        """The job, and the attempts of the gang of `task`, or of all gangs."""
        job = self._state.work.jobs.get(number)
        if job is not None:
            gang = task // job.spec.gang_size
            if not self._may_read(asker, job.record.owner):
                return _not_yours(number, job.record.owner)
            if not 0 <= gang < len(job.gangs):
                return Denied("not_found", f"job {number} has no task {task}")
            return job.record, [a.record for a in job.gangs[gang].attempts]
        on_record = self._store.job(number)
        if on_record is None:
            return no_job(number, self._state.next_job)
        record, _, attempts = on_record
        if not self._may_read(asker, record.owner):
            return _not_yours(number, record.owner)
        return record, list(attempts)

    def _may_read(self, asker: Asker, owner: UserName) -> bool:
        return asker.may_read_logs(owner, self._state.site.logs)


def _not_yours(number: JobId, owner: UserName) -> Denied:
    text = f"job {number} belongs to {owner}; only its owner or an operator may read its output"
    return Denied("not_allowed", f"{text} (logs in the site file)")
