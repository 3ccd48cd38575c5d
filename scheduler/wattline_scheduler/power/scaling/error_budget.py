"""Error budget of an SLO, and how fast it burns; pure.

A request is bad if it failed, or was answered later than the SLO's time. The SLO allows 5 % bad
ones (p95), and `errors` failed ones; what it allows is the error budget. The burn rate is the share
of bad requests over the share allowed, the greater of both: at 1 the budget of a period lasts just
as long as the period.

Alerts follow the SRE workbook of Google, chapter 5: a long window shows that it matters, a short
one that it still happens. At 14.4 in an hour a budget for 30 days lasts 50 hours, at 6 in six hours
five days.
"""

from typing import NamedTuple

from wattline_protocol.ids import UnixTime
from wattline_protocol.job.spec import Slo
from wattline_protocol.wire.rollouts import plus_times
from wattline_scheduler.power.scaling.service_load import later_than, quantile_s
from wattline_scheduler.power.scaling.service_minutes import ServiceMinutes

LATE_SHARE = 0.05
"""Requests that may be late, since the time of an SLO is a p95."""

HOUR_S = 3_600.0
LONGEST_S = 6 * HOUR_S

PERIOD_S = 30 * 86_400.0
"""That an error budget is for."""

LEAST_BAD = 10.0
"""Requests in the long window; fewer are no alert, whatever their share."""

STAYS = 0.5
"""An alert ends below this part of the burn rate that begins it."""


class Alert(NamedTuple):
    """Windows and burn rate of an alert."""

    long_s: float
    short_s: float
    rate: float


ALERTS = Alert(HOUR_S, 300.0, 14.4), Alert(LONGEST_S, 1_800.0, 6.0)


class Window(NamedTuple):
    """Requests of a time up to now."""

    seconds: float = 0.0
    """In which the load was known."""
    requests: int = 0
    """Those that ended."""
    failed: int = 0
    bad: float = 0.0
    times: tuple[int, ...] = ()

    def burn(self, slo: Slo) -> float | None:
        """Burn rate; None: nothing is known of that time."""
        if not self.requests:
            return 0.0 if self.seconds else None
        late, failed = self.bad / self.requests, self.failed / self.requests
        return max(late / LATE_SHARE, failed / slo.errors)

    @property
    def p95_s(self) -> float | None:
        """Time to the answer; None = there was none."""
        return quantile_s(self.times, 0.95) or None


def window(minutes: ServiceMinutes, slo: Slo, length_s: float, now: UnixTime) -> Window:
    """The last minutes, with the one in progress."""
    seconds, requests, failed = 0.0, 0, 0
    times: tuple[int, ...] = ()
    for one in minutes.since(now - length_s):
        seconds += one.seconds
        requests += one.answered + one.failed + one.left
        failed += one.failed
        times = plus_times(times, one.times)
    bad = min(float(requests), failed + later_than(times, slo.p95_s))
    return Window(seconds, requests, failed, bad, times)


def burning(minutes: ServiceMinutes, slo: Slo, factor: float, now: UnixTime) -> Alert | None:
    """The first alert whose windows both burn at so many times its rate; None = none."""
    for alert in ALERTS:
        least = alert.rate * factor
        short = window(minutes, slo, alert.short_s, now)
        if (short.burn(slo) or 0.0) < least:
            continue
        long = window(minutes, slo, alert.long_s, now)
        if (long.burn(slo) or 0.0) >= least and long.bad >= LEAST_BAD:
            return alert
    return None
