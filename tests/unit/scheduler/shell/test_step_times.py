"""How busy the loop was: worst steps of the seconds that were asked for, and no older ones."""

from wattline_protocol.ids import Instant
from wattline_protocol.views.load_views import MAX_LOAD_S
from wattline_scheduler.shell.step_times import StepTimes


def test_the_worst_step_of_the_last_seconds_is_known() -> None:
    times = StepTimes()
    times.add(Instant(100.2), 0.4, 0.1)
    times.add(Instant(100.9), 0.2, 0.15)
    times.add(Instant(101.5), 0.1, 0.05)
    load = times.load(Instant(101.7), 2)
    assert (load.steps, load.worst_step_s, load.worst_step_cpu_s) == (3, 0.4, 0.15)
    assert load.busy_share == (0.4 + 0.2 + 0.1) / 2


def test_older_seconds_do_not_count() -> None:
    times = StepTimes()
    times.add(Instant(100.2), 9.0, 8.0)
    times.add(Instant(110.0), 0.1, 0.05)
    load = times.load(Instant(110.5), 10)
    assert (load.steps, load.worst_step_s, load.worst_step_cpu_s) == (1, 0.1, 0.05)


def test_a_scheduler_that_just_began_was_not_busy() -> None:
    load = StepTimes().load(Instant(5.0), 60)
    assert (load.steps, load.busy_share, load.worst_step_s) == (0, 0.0, 0.0)


def test_no_more_seconds_are_kept_than_may_be_asked_for() -> None:
    times = StepTimes()
    for second in range(3 * MAX_LOAD_S):
        times.add(Instant(float(second)), 0.001, 0.001)
    assert times.load(Instant(3.0 * MAX_LOAD_S), 10 * MAX_LOAD_S).steps == MAX_LOAD_S
