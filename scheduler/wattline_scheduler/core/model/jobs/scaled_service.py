"""Scaling of services in memory: nothing of it is on record but the number of replicas.

After a restart watts are at their maximum until the scaler has learned again what a replica can do,
and no replica is stopped before that.
"""

from dataclasses import dataclass, field

from wattline_protocol.ids import Instant, Now
from wattline_scheduler.core.model.jobs.job import LONG_AGO
from wattline_scheduler.power.scaling.scaler import Scaler

FIRST_READY_S = 600.0
"""Time for a replica to become ready while none of the job has."""

LEAST_READY_S, READY_FACTOR = 60.0, 3.0
"""Then so many times the longest that one took, but no less than the first."""

RISE_GAP_S = 0.4
"""A rise that follows that of the same process sooner is ignored: a gateway reports twice a second
at most."""

RISE_S = 1.0
"""Rises of several gateways within this time are of one load; later, the seconds show them."""


@dataclass(slots=True)
class Scaling:
    """Of the job that serves."""

    scaler: Scaler | None = None
    """None before a replica of it has a GPU."""
    why: str = ""
    """Of the number of replicas."""
    unready_since: dict[int, Instant] = field(default_factory=dict)
    """By replica that runs without being ready."""
    ready_s: float = 0.0
    """Longest time from running to ready; 0 = none was."""
    was_ready: bool = False
    """One of its replicas has been ready since the scheduler started."""
    asked_at: Instant = LONG_AGO
    """Time of the last request, or since when none is known to have come."""
    is_waking: bool = False
    """It sleeps, or none of its replicas has been ready since."""
    rises: dict[tuple[str, int], tuple[Instant, float]] = field(default_factory=dict)
    """By gateway and process: when it reported a rise last, and of how many requests a second."""
    is_slo_reported: bool = False
    """That its SLO is less than a request needs."""

    def has_just_risen(self, gateway: str, process: int, now: Now) -> bool:
        """Whether this process reported a rise less than `RISE_GAP_S` ago."""
        heard = self.rises.get((gateway, process))
        return heard is not None and now.mono_s - heard[0] < RISE_GAP_S

    def rise_per_s(self, gateway: str, process: int, per_s: float, now: Now) -> float:
        """Requests a second of this rise, and of those that others reported just now."""
        self.rises[gateway, process] = now.mono_s, per_s
        self.rises = {k: one for k, one in self.rises.items() if now.mono_s - one[0] < RISE_S}
        return sum(one for _, one in self.rises.values())

    @property
    def overdue_s(self) -> float:
        """Time after which a replica that is not ready counts no more."""
        if not self.ready_s:
            return FIRST_READY_S
        return max(LEAST_READY_S, READY_FACTOR * self.ready_s)
