"""Alarms: each job once at its newest time, whatever was set before, and no more kept than that."""

from wattline_protocol.ids import JobId, UnixTime
from wattline_scheduler.core.model.timers import KEPT_REPLACED, Timers

NOW, LATER = UnixTime(1_000.0), UnixTime(1_000_000.0)


def test_times_that_were_replaced_do_not_pile_up() -> None:
    timers = Timers()
    jobs = [JobId(number) for number in range(1, 11)]
    for at in range(2 * KEPT_REPLACED):
        for job in jobs:  # as when an index of each moves: looked at now, and again at its deadline
            timers.set(job, UnixTime(NOW + at))
        assert list(timers.take_due(UnixTime(NOW + at))) == jobs
        for job in jobs:
            timers.set(job, LATER)
        assert len(timers) <= 2 * len(jobs) + KEPT_REPLACED
    assert list(timers.take_due(LATER)) == jobs
    assert not list(timers.take_due(LATER))


def test_only_the_newest_time_of_a_job_counts() -> None:
    timers = Timers()
    timers.set(JobId(1), NOW)
    timers.set(JobId(1), LATER)
    timers.set(JobId(2), NOW)
    timers.forget(JobId(2))
    assert list(timers.take_due(NOW)) == []
    assert list(timers.take_due(LATER)) == [1]


def test_what_was_not_taken_stays_due() -> None:
    timers = Timers()
    for number in (1, 2, 3):
        timers.set(JobId(number), NOW)
    assert next(timers.take_due(NOW)) == 1
    assert list(timers.take_due(NOW)) == [2, 3]


def test_each_job_is_looked_at_once_however_often_it_was_set() -> None:
    looks = Timers()
    for due_s in (5.0, 3.0, 7.0):
        looks.set(JobId(1), UnixTime(due_s))
    looks.set(JobId(2), UnixTime(6.0))
    looks.set(JobId(3), UnixTime(6.0))
    looks.forget(JobId(3))
    assert list(looks.take_due(UnixTime(6.5))) == [2]
    assert list(looks.take_due(UnixTime(7.0))) == [1]
    assert list(looks.take_due(UnixTime(99.0))) == []
