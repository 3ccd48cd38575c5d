"""The fleet simulation's own look at who is sent away for whom."""

from collections.abc import Mapping, Sequence

import msgspec
import pytest

from support.core import records
from support.core.sites import site
from wattline_protocol.job.spec import Resources
from wattline_protocol.site.model import Queue, Quota
from wattline_scheduler.records import GangPhase, GangRecord, Record
from wattline_sim.fleet.allowances import Allowances
from wattline_sim.fleet.disk import Key, key_of
from wattline_sim.fleet.preempted import SentAwayInVain, check_preempted

NIGHT = "in the quota of queue night"
FOUR = Resources(gpus_per_node=4)


def running(number: int, priority: int, queue: str = "night") -> list[Record]:
    """A job of one task on four GPUs."""
    job = records.job(number, priority=priority, queue=queue, resources=FOUR)
    live = msgspec.structs.replace(
        records.attempt(number), state="RUNNING", ended_unix_s=None, exit=None, mig=None
    )
    return [job, gang(number, "running"), live]


def waiting(number: int, priority: int, queue: str = "night") -> list[Record]:
    return [records.job(number, priority=priority, queue=queue, resources=FOUR)]


def gang(number: int, phase: GangPhase, reason: str = "") -> GangRecord:
    return msgspec.structs.replace(records.gang(number, attempt=1), phase=phase, reason=reason)


def sent(number: int, above: int, where: str = "") -> GangRecord:
    """It is ordered to end."""
    reason = f"preempted by job {above} ('train') of higher priority{' ' if where else ''}{where}"
    return gang(number, "ending", reason)


def check(gpus: int, before: Sequence[Sequence[Record]], *written: Record) -> None:
    queues = Queue("night", Quota(gpus=gpus)), Queue("day")
    there = msgspec.structs.replace(site().rack("a", 1).build(), queues=queues)
    on_disk: Mapping[Key, Record] = {key_of(one): one for some in before for one in some}
    check_preempted(Allowances(there, lambda: 0.0), on_disk, written)


def test_who_makes_room_in_a_quota_and_is_below_goes_rightly() -> None:
    check(8, [running(1, 25), running(2, 75), waiting(3, 75)], sent(1, 3, NIGHT))


def test_work_of_no_lower_priority_must_not_go() -> None:
    with pytest.raises(SentAwayInVain, match="was sent away for job 3 of priority 75"):
        check(8, [running(1, 25), running(2, 75), waiting(3, 75)], sent(2, 3, NIGHT))


def test_work_of_another_queue_makes_no_room_in_this_one() -> None:
    before = [running(1, 25, "day"), running(2, 25), waiting(3, 75)]
    with pytest.raises(SentAwayInVain, match="4000 of 4000 are still held"):
        check(4, before, sent(1, 3))
    with pytest.raises(SentAwayInVain, match="job 1 does not count there"):
        check(8, before, sent(1, 3, NIGHT))


def test_two_have_to_go_where_one_is_not_enough() -> None:
    before = [running(1, 25), running(2, 25), running(4, 25, "day"), waiting(3, 75)]
    with pytest.raises(SentAwayInVain, match="4000 of 4000 are still held"):
        check(4, before, sent(1, 3, NIGHT))
    check(4, before, sent(1, 3, NIGHT), sent(2, 3, NIGHT))


def test_a_job_that_makes_room_for_none_on_record_goes_in_vain() -> None:
    with pytest.raises(SentAwayInVain, match="job 3, which others make room for, is not on record"):
        check(8, [running(1, 25)], sent(1, 3))


def test_what_started_or_changed_in_the_same_transaction_is_left_out() -> None:
    before = [running(1, 25), running(2, 25), waiting(3, 75)]
    started = running(3, 75)[-1]
    check(4, before, sent(1, 3, NIGHT), started)
    raised = records.job(1, priority=90, queue="night", resources=FOUR)
    check(8, before, sent(1, 3, NIGHT), raised)


def test_who_was_told_before_is_not_looked_at_again() -> None:
    """Its end comes in another transaction, when the job above may run already."""
    first: list[Record] = [*running(1, 25)[:1], sent(1, 3, NIGHT)]
    before = [first, running(2, 75), running(3, 75)]
    check(8, before, msgspec.structs.replace(sent(1, 3, NIGHT), phase="pending"))
