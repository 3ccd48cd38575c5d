"""Alarms: each job once at its newest time, whatever was set before, and no more kept than that."""

from wattline_protocol.ids import JobId, UnixTime
from wattline_scheduler.core.model.timers import KEPT_REPLACED, Alarms

NOW, LATER = UnixTime(1_000.0), UnixTime(1_000_000.0)


def test_times_that_were_replaced_do_not_pile_up() -> None:
    alarms = Alarms()
    jobs = [JobId(number) for number in range(1, 11)]
    for at in range(2 * KEPT_REPLACED):
        for job in jobs:  # as when an index of each moves: looked at now, and again at its deadline
            alarms.set(job, UnixTime(NOW + at))
        assert list(alarms.take_due(UnixTime(NOW + at))) == jobs
        for job in jobs:
            alarms.set(job, LATER)
        assert len(alarms) <= 2 * len(jobs) + KEPT_REPLACED
    assert list(alarms.take_due(LATER)) == jobs
    assert not list(alarms.take_due(LATER))


def test_only_the_newest_time_of_a_job_counts() -> None:
    alarms = Alarms()
    alarms.set(JobId(1), NOW)
    alarms.set(JobId(1), LATER)
    alarms.set(JobId(2), NOW)
    alarms.forget(JobId(2))
    assert list(alarms.take_due(NOW)) == []
    assert list(alarms.take_due(LATER)) == [1]


def test_what_was_not_taken_stays_due() -> None:
    alarms = Alarms()
    for number in (1, 2, 3):
        alarms.set(JobId(number), NOW)
    assert next(alarms.take_due(NOW)) == 1
    assert list(alarms.take_due(NOW)) == [2, 3]


def test_each_job_is_looked_at_once_however_often_it_was_set() -> None:
    looks = Alarms()
    for due_s in (5.0, 3.0, 7.0):
        looks.set(JobId(1), UnixTime(due_s))
    looks.set(JobId(2), UnixTime(6.0))
    looks.set(JobId(3), UnixTime(6.0))
    looks.forget(JobId(3))
    assert list(looks.take_due(UnixTime(6.5))) == [2]
    assert list(looks.take_due(UnixTime(7.0))) == [1]
    assert list(looks.take_due(UnixTime(99.0))) == []
