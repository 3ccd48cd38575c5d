"""Bad requests, burn rates, and the alerts that follow from them."""

from bisect import bisect_left

import pytest

from wattline_protocol.ids import UnixTime, UserName
from wattline_protocol.job.spec import Slo
from wattline_protocol.wire.rollouts import BUCKETS_S, ServiceTraffic
from wattline_scheduler.power.scaling.error_budget import (
    HOUR_S,
    LEAST_BAD,
    LONGEST_S,
    STAYS,
    burning,
    window,
)
from wattline_scheduler.power.scaling.service_load import later_than
from wattline_scheduler.power.scaling.service_minutes import RECENT_MINUTES, ServiceMinutes

SLO = Slo(p95_s=0.256, errors=0.001)
BEGIN = 1.7e9 // 60 * 60
FAST_S, SLOW_S = 0.1, 0.5


def counts(fast: int = 0, slow: int = 0, failed: int = 0) -> ServiceTraffic:
    times = [0] * (len(BUCKETS_S) + 1)
    times[bisect_left(BUCKETS_S, FAST_S)] += fast
    times[bisect_left(BUCKETS_S, SLOW_S)] += slow
    total = fast + slow
    return ServiceTraffic("svc", total + failed, total, failed, work=total, times=tuple(times))


def minutes(*each: ServiceTraffic | None, begin: float = BEGIN) -> ServiceMinutes:
    """One minute each; None = the load of it is not known."""
    found = ServiceMinutes("svc", UserName("ada"))
    for number, one in enumerate(each):
        rate = None if one is None else one.requests / 60.0
        at = UnixTime(begin + 60.0 * number)
        found.add(one or counts(), rate, 60.0, at)
    return found


def end_of(count: int) -> UnixTime:
    return UnixTime(BEGIN + 60.0 * count - 1.0)


def test_failed_and_late_requests_are_bad() -> None:
    seen = window(minutes(counts(fast=88, slow=10, failed=2)), SLO, HOUR_S, end_of(1))
    assert (seen.requests, seen.failed, seen.bad) == (100, 2, 12.0)
    assert seen.burn(SLO) == pytest.approx(0.02 / 0.001)
    lenient = Slo(SLO.p95_s, errors=0.5)
    assert seen.burn(lenient) == pytest.approx(0.12 / 0.05)
    assert seen.p95_s == pytest.approx(0.5, rel=0.2)


def test_a_window_has_its_minutes_only() -> None:
    known = minutes(*[counts(slow=100)] * 60, *[counts(fast=100)] * 60)
    assert window(known, SLO, HOUR_S, end_of(120)).bad == 0.0
    assert window(known, SLO, LONGEST_S, end_of(120)).bad == 6_000.0
    assert window(known, SLO, HOUR_S, end_of(240)).requests == 0


def test_without_history_the_burn_rate_is_not_known_and_without_requests_it_is_none() -> None:
    assert window(minutes(), SLO, HOUR_S, end_of(1)).burn(SLO) is None
    assert window(minutes(None), SLO, HOUR_S, end_of(1)).burn(SLO) is None
    assert window(minutes(counts()), SLO, HOUR_S, end_of(1)).burn(SLO) == 0.0


@pytest.mark.parametrize(
    ("limit_s", "late"), [(BUCKETS_S[3], 10.0), (BUCKETS_S[4], 0.0), (1e4, 0.0), (0.0, 10.0)]
)
def test_requests_later_than_a_bound(limit_s: float, late: float) -> None:
    times = tuple(10 if at == 4 else 0 for at in range(len(BUCKETS_S) + 1))
    assert later_than(times, limit_s) == late
    between_s = (BUCKETS_S[3] + BUCKETS_S[4]) / 2.0
    assert later_than(times, between_s) == pytest.approx(5.0)


def test_the_last_bucket_is_later_than_every_bound_below_it() -> None:
    times = (0,) * len(BUCKETS_S) + (7,)
    assert later_than(times, BUCKETS_S[-1]) == 7.0
    assert later_than((), 0.2) == 0.0


def test_an_alert_needs_both_windows_and_some_requests() -> None:
    good, bad = counts(fast=100), counts(failed=3, fast=97)
    begun = minutes(*[good] * 60, *[bad] * 5)
    assert burning(begun, SLO, 1.0, end_of(65)) is None  # an hour has burnt little so far
    fast = minutes(*[good] * 20, *[bad] * 40)
    alert = burning(fast, SLO, 1.0, end_of(60))
    assert alert is not None
    assert alert.long_s == HOUR_S
    over = minutes(*[bad] * 29, *[good] * 31)
    assert burning(over, SLO, 1.0, end_of(60)) is None  # it no longer happens
    few = minutes(counts(failed=int(LEAST_BAD) - 1))
    assert burning(few, SLO, 1.0, end_of(1)) is None


def test_a_slow_burn_is_an_alert_of_six_hours() -> None:
    slow = minutes(*[counts(failed=8, fast=992)] * 360)
    alert = burning(slow, SLO, 1.0, end_of(360))
    assert alert is not None
    assert alert.long_s == LONGEST_S


def test_an_alert_stays_until_the_burn_rate_is_far_below() -> None:
    less = minutes(*[counts(failed=4, fast=996)] * 360)
    assert burning(less, SLO, 1.0, end_of(360)) is None
    assert burning(less, SLO, STAYS, end_of(360)) is not None
    assert burning(minutes(*[counts(failed=2, fast=998)] * 360), SLO, STAYS, end_of(360)) is None


def test_a_clock_that_is_set_back_leaves_no_minutes_ahead() -> None:
    known = minutes(counts(fast=5))
    known.add(counts(fast=1), 1.0, 1.0, UnixTime(BEGIN + 1e8))
    known.add(counts(fast=2), 1.0, 1.0, UnixTime(BEGIN + 60.0))
    assert [one.answered for one in known.recent] == [5, 2]
    known.add(counts(fast=3), 1.0, 1.0, UnixTime(BEGIN))  # a little back: it counts in the newest
    assert [one.answered for one in known.recent] == [5, 5]


def test_six_hours_are_in_memory() -> None:
    assert len(minutes(*[counts(fast=1)] * 400).recent) == RECENT_MINUTES
