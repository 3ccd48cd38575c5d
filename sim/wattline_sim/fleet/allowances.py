"""What accounts and queues hold and have used, by the records on disk alone.

No transaction may take more of a quota than there is of it; and what a try used must stand in the
books of its account and its queue from the transaction on that puts its end, or more of its use,
on record. Nothing here asks the scheduler what counts where: the sums are its own.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from wattline_protocol.ids import JobId, NodeId, TaskRef
from wattline_protocol.job.spec import WHOLE_GPU, JobSpec
from wattline_protocol.site.model import Quota, Site
from wattline_protocol.site.wall_power import wall_mw
from wattline_scheduler.records import AttemptRecord, JobRecord, Record, UseKind, UseRecord
from wattline_sim.fleet.machine import CAP_MIN_MW
from wattline_sim.fleet.users.mig import slices_permille
from wattline_sim.fleet.users.scenario import EFFICIENCY_PERMILLE, KNEE_MW

Key = tuple[UseKind, str]
Use = tuple[float, float]
"""GPU seconds, and millijoules at the wall."""

EXACT = 1e-6
"""Of what was used: sums in another order differ by less."""

LEARNED_AFTER_GPU_S = 30.0
"""On GPUs before anything is learned of a kind of jobs (docs/power.md): so long its next try counts
the knee. After that it may count as little as the smallest cap."""


@dataclass(slots=True)
class _Stay:
    """A try since it was first on record."""

    kind: Hashable
    gpus: int
    since_s: float
    until_s: float | None = None

    def gpu_s(self, now_s: float) -> float:
        """On its GPUs at most."""
        return self.gpus * ((now_s if self.until_s is None else self.until_s) - self.since_s)


class OverQuota(AssertionError):
    """The tries on disk hold more of a quota than there is, and a transaction took of it."""


class UseMiscounted(AssertionError):
    """An account or a queue has other use on record than its ended tries."""


class Allowances:
    """Follows the scheduler's disk, transaction by transaction."""

    def __init__(self, site: Site, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self.quotas: dict[Key, Quota] = {("queue", q.name): q.quota for q in site.queues}
        self.quotas |= {("account", a.name): a.quota for a in site.accounts}
        self.liars: Collection[NodeId] = ()
        """Nodes that lied of their GPUs: what those count is theirs."""
        self._above = {account.name: account.parent for account in site.accounts}
        self._jobs: dict[JobId, JobRecord] = {}
        self._tries: dict[TaskRef, AttemptRecord] = {}
        self._holds: Mapping[Key, tuple[int, int]] = {}
        self._stays: dict[TaskRef, _Stay] = {}
        """Also of tries that a backup knows nothing of: what was learned from them may be known."""
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
            quota, (old_milli, old_mw) = self.quotas[key], before.get(key, (0, 0))
            if quota.gpus and milli > max(quota.gpus * WHOLE_GPU, old_milli):
                raise OverQuota(f"{key} holds {milli} thousandths of GPUs, allowed: {quota.gpus}")
            if quota.power_mw and mw > max(quota.power_mw, old_mw):
                raise OverQuota(f"{key} holds {mw} mW at least, allowed: {quota.power_mw}")
        for key, used in self._used.items():
            written = self._written.get(key, (0.0, 0.0))
            if any(abs(a - b) > EXACT * (1 + a) for a, b in zip(used, written, strict=True)):
                raise UseMiscounted(f"{key} used {used}, on record are {written}")

    def _take(self, records: Iterable[Record]) -> None:
        tries: list[AttemptRecord] = []
        for record in records:
            if isinstance(record, JobRecord):
                self._jobs[record.id] = record
            elif isinstance(record, AttemptRecord):
                self._add_use(record, self._tries.get(record.ref))
                self._tries[record.ref] = record
                tries.append(record)
            elif isinstance(record, UseRecord):
                self._written[record.kind, record.name] = record.month_gpu_s, record.month_energy_mj
        for record in tries:  # once their jobs are known too
            self._note_stay(record)

    def _add_use(self, record: AttemptRecord, before: AttemptRecord | None) -> None:
        if record.ended_unix_s is None:
            return
        new, old = _use_of(record), (0.0, 0.0)
        if before is not None and before.ended_unix_s is not None:
            old = _use_of(before)
        job = self._jobs[record.job]
        for key in (_account(job), _queue(job)):
            gpu_s, energy_mj = self._used.get(key, (0.0, 0.0))
            self._used[key] = gpu_s + new[0] - old[0], energy_mj + new[1] - old[1]

    def _note_stay(self, record: AttemptRecord) -> None:
        stay = self._stays.get(record.ref)
        if stay is None:
            kind, count = self._kind(record.job), len(record.gpus)
            stay = self._stays[record.ref] = _Stay(kind, count, self._now_s())
        if record.ended_unix_s is not None and stay.until_s is None:
            stay.until_s = self._now_s()

    def _kind(self, job: JobId) -> Hashable:
        """What is learned holds for jobs that have at least this in common."""
        record = self._jobs[job]
        asked = record.spec.resources
        return record.owner, asked.nodes, asked.gpus_per_node, asked.gpu_share_permille

    def _learned(self) -> set[Hashable]:
        """Kinds of which something may be known."""
        worked: dict[Hashable, float] = {}
        for stay in self._stays.values():
            worked[stay.kind] = worked.get(stay.kind, 0.0) + stay.gpu_s(self._now_s())
        return {kind for kind, gpu_s in worked.items() if gpu_s >= LEARNED_AFTER_GPU_S}

    def _held(self) -> Mapping[Key, tuple[int, int]]:
        """Thousandths of GPUs, and the least that is found for them at the wall, of each quota."""
        held: dict[Key, tuple[int, int]] = {}
        if not self.quotas:
            return held
        learned = self._learned()
        for record in self._tries.values():
            if record.ended_unix_s is None and record.node not in self.liars:
                job = self._jobs[record.job]
                milli = len(record.gpus) * each_milli(job.spec)
                least_mw = CAP_MIN_MW if self._kind(record.job) in learned else KNEE_MW
                mw = wall_mw(least_mw * milli // WHOLE_GPU, EFFICIENCY_PERMILLE)
                for key in self.counts_in(job):
                    had = held.get(key, (0, 0))
                    held[key] = had[0] + milli, had[1] + mw
        return held

    def counts_in(self, job: JobRecord) -> list[Key]:
        """Quotas of the site that count the job."""
        keys = [_queue(job)]
        name: str | None = _account(job)[1]
        while name is not None:
            keys.append(("account", name))
            name = self._above.get(name)
        return [key for key in keys if key in self.quotas]


def each_milli(spec: JobSpec) -> int:
    """Thousandths of a GPU that each of its GPUs or MIG devices counts as."""
    asked = spec.resources
    return slices_permille(asked.mig) if asked.mig else asked.gpu_share_permille


def named(key: Key) -> str:
    """As people are told of a quota."""
    return " ".join(key)


def _account(job: JobRecord) -> Key:
    return "account", job.spec.account or job.owner


def _queue(job: JobRecord) -> Key:
    return "queue", job.spec.queue


def _use_of(record: AttemptRecord) -> Use:
    return record.usage.gpu_s, float(record.usage.node_energy_mj)
