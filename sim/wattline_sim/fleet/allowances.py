"""What accounts and queues hold and have used, by the records on disk alone.

No transaction may take more of a quota than there is of it; and what a try used must stand in the
books of its account and its queue from the transaction on that puts its end, or more of its use,
on record. Nothing here asks the scheduler what counts where: the sums are its own.
"""

from collections.abc import Iterable, Mapping, Sequence

from wattline_protocol.ids import JobId, TaskRef
from wattline_protocol.job import WHOLE_GPU
from wattline_protocol.site import Quota, Site
from wattline_protocol.wall import wall_mw
from wattline_scheduler.core.records import (
    AttemptRecord,
    JobRecord,
    Record,
    UseKind,
    UseRecord,
)
from wattline_sim.fleet.scenario import EFFICIENCY_PERMILLE, KNEE_MW

Key = tuple[UseKind, str]
Use = tuple[float, float]
"""GPU seconds, and millijoules at the wall."""

EXACT = 1e-6
"""Of what was used: sums in another order differ by less."""


class OverQuota(AssertionError):
    """The tries on disk hold more of a quota than there is, and a transaction took of it."""


class UseMiscounted(AssertionError):
    """An account or a queue has other use on record than its ended tries."""


class Allowances:
    """Follows the scheduler's disk, transaction by transaction."""

    def __init__(self, site: Site) -> None:
        self._quotas: dict[Key, Quota] = {("queue", q.name): q.quota for q in site.queues}
        self._quotas |= {("account", a.name): a.quota for a in site.accounts}
        self._above = {account.name: account.parent for account in site.accounts}
        self._jobs: dict[JobId, JobRecord] = {}
        self._tries: dict[TaskRef, AttemptRecord] = {}
        self._holds: Mapping[Key, tuple[int, int]] = {}
        self._used: dict[Key, Use] = {}
        """By ended tries, added up here."""
        self._written: dict[Key, Use] = {}
        """What the books on disk say. No run sees the end of a month."""

    def found(self, records: Iterable[Record]) -> None:
        """A scheduler starts on this: there is nothing else."""
        for of in (self._jobs, self._tries, self._written):
            of.clear()
        self._take(records)
        self._used, self._holds = dict(self._written), self._held()

    def committed(self, records: Sequence[Record]) -> None:
        """Raise if the transaction took what there is not, or left use out of the books."""
        before = self._holds
        self._take(records)
        self._holds = self._held()
        for key, (milli, mw) in self._holds.items():
            quota, (old_milli, old_mw) = self._quotas[key], before.get(key, (0, 0))
            if quota.gpus and milli > max(quota.gpus * WHOLE_GPU, old_milli):
                raise OverQuota(f"{key} holds {milli} thousandths of GPUs, allowed: {quota.gpus}")
            if quota.power_mw and mw > max(quota.power_mw, old_mw):
                raise OverQuota(f"{key} holds {mw} mW at least, allowed: {quota.power_mw}")
        for key, used in self._used.items():
            written = self._written.get(key, (0.0, 0.0))
            if any(abs(a - b) > EXACT * (1 + a) for a, b in zip(used, written, strict=True)):
                raise UseMiscounted(f"{key} used {used}, on record are {written}")

    def _take(self, records: Iterable[Record]) -> None:
        for record in records:
            if isinstance(record, JobRecord):
                self._jobs[record.id] = record
            elif isinstance(record, AttemptRecord):
                self._add_use(record, self._tries.get(record.ref))
                self._tries[record.ref] = record
            elif isinstance(record, UseRecord):
                self._written[record.kind, record.name] = record.month_gpu_s, record.month_energy_mj

    def _add_use(self, record: AttemptRecord, before: AttemptRecord | None) -> None:
        if record.ended_unix_s is None:
            return
        new, old = _use_of(record), (0.0, 0.0)
        if before is not None and before.ended_unix_s is not None:
            old = _use_of(before)
        for key in (self._account(record.job), self._queue(record.job)):
            gpu_s, energy_mj = self._used.get(key, (0.0, 0.0))
            self._used[key] = gpu_s + new[0] - old[0], energy_mj + new[1] - old[1]

    def _held(self) -> Mapping[Key, tuple[int, int]]:
        """Thousandths of GPUs, and the least that is found for them at the wall, of each quota."""
        held: dict[Key, tuple[int, int]] = {}
        for record in self._tries.values() if self._quotas else ():
            if record.ended_unix_s is None:
                share = self._jobs[record.job].spec.resources.gpu_share_permille
                milli = len(record.gpus) * share
                mw = wall_mw(KNEE_MW * milli // WHOLE_GPU, EFFICIENCY_PERMILLE)
                for key in self._counts_in(record.job):
                    had = held.get(key, (0, 0))
                    held[key] = had[0] + milli, had[1] + mw
        return held

    def _counts_in(self, job: JobId) -> list[Key]:
        """Quotas of the site that count the job."""
        keys, account = [self._queue(job)], self._account(job)
        name: str | None = account[1]
        while name is not None:
            keys.append(("account", name))
            name = self._above.get(name)
        return [key for key in keys if key in self._quotas]

    def _account(self, job: JobId) -> Key:
        record = self._jobs[job]
        return "account", record.spec.account or record.owner

    def _queue(self, job: JobId) -> Key:
        return "queue", self._jobs[job].spec.queue


def _use_of(record: AttemptRecord) -> Use:
    return record.usage.gpu_s, float(record.usage.node_energy_mj)
