"""Alarms: each job once at its newest time, whatever was set before, and no more kept than that."""

from wattline_protocol.ids import JobId, UnixTime
from wattline_scheduler.core.alarms import KEPT_REPLACED, Alarms

NOW, LATER = UnixTime(1_000.0), UnixTime(1_000_000.0)


def test_times_that_were_replaced_do_not_pile_up() -> None:
    alarms = Alarms()
    jobs = [JobId(number) for number in range(1, 11)]
    for at in range(2 * KEPT_REPLACED):
        for job in jobs:  # as when an index of each moves: looked at now, and again at its deadline
            alarms.set(job, UnixTime(NOW + at))
        assert alarms.take_due(UnixTime(NOW + at)) == jobs
        for job in jobs:
            alarms.set(job, LATER)
        assert len(alarms) <= 2 * len(jobs) + KEPT_REPLACED
    assert alarms.take_due(LATER) == jobs
    assert not alarms.take_due(LATER)


def test_only_the_newest_time_of_a_job_counts() -> None:
    alarms = Alarms()
    alarms.set(JobId(1), NOW)
    alarms.set(JobId(1), LATER)
    alarms.set(JobId(2), NOW)
    alarms.forget(JobId(2))
    assert alarms.take_due(NOW) == []
    assert alarms.take_due(LATER) == [1]
