"""Energy of a service over the last hour, from reports in any rhythm."""

from wattline_protocol.ids import Instant, JobId, Now, UnixTime
from wattline_protocol.wire.rollouts import NO_ENERGY, MeasuredEnergy
from wattline_scheduler.core.model.service_energy import ServiceEnergy

FIRST, NEXT = JobId(1), JobId(2)


def at(mono_s: float) -> Now:
    return Now(Instant(mono_s), UnixTime(mono_s))


def test_minutes_leave_the_hour_one_by_one_and_memory_with_them() -> None:
    energy = ServiceEnergy()
    for second in range(0, 7_200, 5):
        energy.add("echo", FIRST, MeasuredEnergy(1, 2, 3, 4), at(float(second)))
    total, seconds = energy.last_hour("echo", [FIRST], at(7_199.0))
    assert seconds == 3_600.0
    assert 720 <= total.requests_uj <= 732
    assert total == MeasuredEnergy(*(total.requests_uj * factor for factor in (1, 2, 3, 4)))
    assert energy.last_hour("echo", [FIRST], at(20_000.0))[0] == NO_ENERGY
    energy.add("echo", FIRST, MeasuredEnergy(5), at(20_000.0))
    assert energy.last_hour("echo", [FIRST], at(20_000.0))[0] == MeasuredEnergy(5)


def test_revisions_add_up_and_those_that_ended_do_not() -> None:
    energy = ServiceEnergy()
    energy.add("echo", FIRST, MeasuredEnergy(5), at(0.0))
    energy.add("echo", NEXT, MeasuredEnergy(7), at(60.0))
    energy.add("other", FIRST, MeasuredEnergy(9), at(60.0))
    assert energy.last_hour("echo", [FIRST, NEXT], at(90.0)) == (MeasuredEnergy(12), 90.0)
    energy.forget(("echo", FIRST))
    assert energy.last_hour("echo", [FIRST, NEXT], at(90.0)) == (MeasuredEnergy(7), 30.0)
    assert energy.last_hour("echo", [], at(90.0)) == (NO_ENERGY, 0.0)
