"""Who is sent away for whom, by the records on disk alone.

Only work of lower priority may have to go, what it is told must be so, and nobody goes in vain:
once all have gone who were told to, each quota of GPUs has room for a gang of the job that they
make room for. Nothing here asks the scheduler what counts where, or whom it chose.
"""

import re
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from wattline_protocol.ids import JobId
from wattline_protocol.job.spec import WHOLE_GPU
from wattline_scheduler.records import AttemptRecord, GangRecord, JobRecord, Record
from wattline_sim.fleet.allowances import Allowances, each_milli, named
from wattline_sim.fleet.disk import Key, key_of

TOLD = re.compile(r"preempted by job (\d+) .* of higher priority(?: in the quotas? of (.*))?$")
LIVE = ("starting", "running", "paused")


class SentAwayInVain(AssertionError):
    """Work was sent back to the queue for a job that is not above it, or that cannot start then."""


class _Sent(NamedTuple):
    """A gang that was told to go by a transaction."""

    gang: GangRecord
    above: JobId
    """The job that it makes room for."""
    quotas: str
    """In which, as it is told; empty = in none."""


def check_preempted(
    allowances: Allowances, before: Mapping[Key, Record], written: Sequence[Record]
) -> None:
    """Raise if a transaction sends work away that need not go, or for nothing.

    `before`: what was on disk until then. A transaction that also changes what jobs ask for, or
    starts a try of the job above, is left out: what of it came first is not on record.
    """
    sent = list(_sent_by(before, written))
    if not sent:
        return
    after: Mapping[Key, Record] = ChainMap({key_of(r): r for r in written}, dict(before))
    changed = {r.id for r in written if isinstance(r, JobRecord) and _is_changed(before, r)}
    for one in sent:
        _check_told(allowances, after, one, changed)
    started = {r.job for r in written if isinstance(r, AttemptRecord) and key_of(r) not in before}
    for above in {one.above for one in sent} - started if not changed else ():
        _check_room(allowances, after, above)


def _sent_by(before: Mapping[Key, Record], written: Sequence[Record]) -> Iterator[_Sent]:
    for record in written:
        told = TOLD.match(record.reason) if isinstance(record, GangRecord) else None
        if told is None or not isinstance(record, GangRecord) or record.phase in LIVE:
            continue
        old = before.get(key_of(record))
        if isinstance(old, GangRecord) and old.phase in LIVE:
            yield _Sent(record, JobId(int(told[1])), told[2] or "")


def _is_changed(before: Mapping[Key, Record], record: JobRecord) -> bool:
    old = before.get(key_of(record))
    return isinstance(old, JobRecord) and old.spec != record.spec


def _job(records: Mapping[Key, Record], number: JobId) -> JobRecord:
    record = records.get(("JobRecord", (number,)))
    if not isinstance(record, JobRecord):
        raise SentAwayInVain(f"job {number}, which others make room for, is not on record")
    return record


def _check_told(
    allowances: Allowances, after: Mapping[Key, Record], one: _Sent, changed: set[JobId]
) -> None:
    above, below = _job(after, one.above), _job(after, one.gang.job)
    if {above.id, below.id} & changed:
        return
    if below.spec.priority >= above.spec.priority:
        raise SentAwayInVain(
            f"job {below.id} of priority {below.spec.priority} was sent away for job {above.id} "
            f"of priority {above.spec.priority}"
        )
    for name in re.split(", | and ", one.quotas) if one.quotas else ():
        for job in (above, below):
            if name not in map(named, allowances.counts_in(job)):
                raise SentAwayInVain(f"{one.gang.reason}, but job {job.id} does not count there")


def _check_room(allowances: Allowances, after: Mapping[Key, Record], above: JobId) -> None:
    job = _job(after, above)
    asked = job.spec.resources
    wants_milli = asked.least_nodes * asked.gpus_per_node * each_milli(job.spec)
    for key in allowances.counts_in(job):
        most_milli = allowances.quotas[key].gpus * WHOLE_GPU
        stays_milli = sum(
            len(record.gpus) * each_milli(_job(after, record.job).spec)
            for record in after.values()
            if isinstance(record, AttemptRecord) and record.ended_unix_s is None
            if not _is_ending(after, record)
            if key in allowances.counts_in(_job(after, record.job))
        )
        if most_milli and stays_milli + wants_milli > most_milli:
            raise SentAwayInVain(
                f"others were sent away for job {above}, which wants {wants_milli} thousandths of "
                f"GPUs of {key}: {stays_milli} of {most_milli} are still held then"
            )


def _is_ending(after: Mapping[Key, Record], one: AttemptRecord) -> bool:
    number = one.task // _job(after, one.job).spec.gang_size
    gang = after.get(("GangRecord", (one.job, number)))
    return isinstance(gang, GangRecord) and gang.phase == "ending"
