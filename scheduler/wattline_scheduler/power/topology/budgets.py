"""Budgets in force: the minimum of rating x derate and every limit on a domain; pure.

A limit is a function of time: from its start it falls linearly from `from_mw` (the budget in force
when it began) to its value, stays there, and from its end rises to the full budget. So the budget
is known ahead of time, and leases are shrunk before a ramp reaches them: what may be granted
(`granted_mw`) is the least budget up to the end of the next step. A ramp that is acknowledged
within `STEP_S` never puts a domain above its budget.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from wattline_protocol.ids import DomainId, Instant
from wattline_protocol.views.site_views import LimitSource

STEP_S = 1.0
"""On a ramp leases change once a step, and are sized for the end of the next one."""

MAX_LIMITS_PER_DOMAIN = 100


@dataclass(frozen=True, slots=True)
class Limit:
    """A budget below the full one, with a reason. Wall milliwatts, monotonic time."""

    domain: DomainId
    name: str
    """Unique per domain: a limit replaces another of the same name."""
    source: LimitSource
    value_mw: int
    """Budget once the ramp is over."""
    start: Instant
    from_mw: int | None = None
    """Budget at `start`, where the ramp begins; set by `Limits.put`."""
    ramp_s: float = 0.0
    """Duration of the fall; 0 = a step."""
    end: Instant | None = None
    """None: until it is withdrawn."""
    release_s: float = 0.0
    """Duration of the rise after `end`; 0 = a step."""
    requester: str = ""
    why: str = ""

    @property
    def over_at(self) -> Instant | None:
        """When it has no effect any more; None: not before it is withdrawn."""
        return None if self.end is None else Instant(self.end + self.release_s)

    def at_mw(self, now: Instant, full_mw: int) -> int:
        """The budget it allows; `full_mw` before its start and when it is over."""
        if now < self.start:
            return full_mw
        if self.end is None or now < self.end:
            return min(full_mw, self._falling_mw(now))
        if self.release_s <= 0 or now >= self.end + self.release_s:
            return full_mw
        from_mw = min(full_mw, self._falling_mw(self.end))
        return from_mw + math.floor((full_mw - from_mw) * (now - self.end) / self.release_s)

    def _falling_mw(self, now: Instant) -> int:
        if self.from_mw is None or self.from_mw <= self.value_mw or self.ramp_s <= 0:
            return self.value_mw
        share = min(1.0, (now - self.start) / self.ramp_s)
        return self.from_mw - math.ceil((self.from_mw - self.value_mw) * share)


class Limits:
    """All limits of a site, and the resulting budgets."""

    def __init__(self, full_mw: Mapping[DomainId, int]) -> None:
        """`full_mw`: rating x derate of each domain, which no limit can raise."""
        self._full_mw = dict(full_mw)
        self._of: dict[DomainId, dict[str, Limit]] = {}

    def put(self, limit: Limit, now: Instant) -> Limit:
        """Put a limit in force, replacing one of the same name; returns it with `from_mw`.

        Raises KeyError for an unknown domain and ValueError beyond MAX_LIMITS_PER_DOMAIN.
        """
        if limit.from_mw is None:
            limit = replace(limit, from_mw=self.budget_mw(limit.domain, now))
        limits = self._of.setdefault(limit.domain, {})
        if limit.name not in limits and len(limits) >= MAX_LIMITS_PER_DOMAIN:
            raise ValueError(f"{limit.domain} has {len(limits)} limits, which is the most")
        limits[limit.name] = limit
        return limit

    def withdraw(self, domain: DomainId, name: str) -> Limit | None:
        """Withdraw a limit at once; None if there is no such limit."""
        return self._of.get(domain, {}).pop(name, None)

    def get(self, domain: DomainId, name: str) -> Limit | None:
        """The limit of this name, if it exists."""
        return self._of.get(domain, {}).get(name)

    def of(self, domain: DomainId) -> tuple[Limit, ...]:
        """The domain's limits, including those not yet begun, in the order of `put`."""
        return tuple(self._of.get(domain, {}).values())

    def __iter__(self) -> Iterator[Limit]:
        return (limit for limits in self._of.values() for limit in limits.values())

    def full_mw(self, domain: DomainId) -> int:
        """Rating x derate."""
        return self._full_mw[domain]

    def budget_mw(self, domain: DomainId, now: Instant) -> int:
        """Budget in force at `now`: the minimum of rating x derate and every limit."""
        full_mw = self._full_mw[domain]
        limits = self._of.get(domain)
        if not limits:
            return full_mw
        return max(0, min(limit.at_mw(now, full_mw) for limit in limits.values()))

    def granted_mw(self, domain: DomainId, now: Instant) -> int:
        """Budget for sizing leases: the minimum until the end of the next step."""
        if not self._of.get(domain):
            return self._full_mw[domain]
        begun = math.floor(now / STEP_S) * STEP_S
        ahead = (Instant(begun + STEP_S), Instant(begun + 2 * STEP_S))
        return min(self.budget_mw(domain, at) for at in (now, *ahead))

    def binding(self, domain: DomainId, now: Instant) -> Limit | None:
        """The limit that sets the budget; None while the full budget is in force."""
        full_mw = self._full_mw[domain]
        lowest = min(self.of(domain), key=lambda one: one.at_mw(now, full_mw), default=None)
        return lowest if lowest is not None and lowest.at_mw(now, full_mw) < full_mw else None
