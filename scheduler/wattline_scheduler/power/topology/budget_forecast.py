"""The budget of a domain over the next minutes, as its limits are known now; pure."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

from wattline_protocol.ids import Instant
from wattline_scheduler.power.topology.budgets import Limit

EXACT_S = 0.001
"""Resolution of a crossing."""


@dataclass(frozen=True, slots=True)
class BudgetAhead:
    """Piecewise linear between the kinks of its limits, with steps at some of them."""

    full_mw: int
    limits: tuple[Limit, ...]
    """Each with `from_mw`."""

    @classmethod
    def of(cls, full_mw: int, begun: Iterable[Limit], planned: Iterable[Limit]) -> "BudgetAhead":
        """A planned limit falls from the budget that the others leave at its start."""
        ahead = cls(full_mw, tuple(begun))
        for limit in sorted(planned, key=lambda one: (one.start, one.name)):
            known = replace(limit, from_mw=ahead.at_mw(limit.start))
            ahead = cls(full_mw, (*ahead.limits, known))
        return ahead

    def at_mw(self, at: Instant) -> int:
        """The budget in force at a moment."""
        allowed_mw = (one.at_mw(at, self.full_mw) for one in self.limits)
        return max(0, min(allowed_mw, default=self.full_mw))

    def binding(self, at: Instant) -> Limit | None:
        """The limit that sets it; None while the full budget is in force."""
        lowest = min(self.limits, key=lambda one: one.at_mw(at, self.full_mw), default=None)
        return None if lowest is None or self.at_mw(at) >= self.full_mw else lowest

    def lowest_mw(self, begin: Instant, until: Instant) -> int:
        """The lowest budget in a span."""
        return min(self.at_mw(at) for at in self._kinks(begin, until))

    def falls_to(self, level_mw: int, begin: Instant, until: Instant) -> Instant | None:
        """When it is at or below a level for the first time in a span; None = never.

        Between kinks it is the minimum of lines, so that it crosses a level at most once from
        above, unless it is below at an end.
        """
        kinks = self._kinks(begin, until)
        if self.at_mw(kinks[0]) <= level_mw:
            return kinks[0]
        for above, at in pairwise(kinks):
            if self.at_mw(at) <= level_mw:
                return self._crossing(level_mw, above, at)
        return None

    def _crossing(self, level_mw: int, above: Instant, below: Instant) -> Instant:
        while below - above > EXACT_S:
            middle = Instant((above + below) / 2)
            above, below = (above, middle) if self.at_mw(middle) <= level_mw else (middle, below)
        return below

    def _kinks(self, begin: Instant, until: Instant) -> list[Instant]:
        """Begin, end, and each moment between at which a limit changes its course, in order."""
        found = {begin, until}
        for one in self.limits:
            found |= {one.start, Instant(one.start + one.ramp_s)}
            if one.end is not None:  # the last moment before a step upward
                before = Instant(math.nextafter(one.end, -math.inf))
                found |= {before, one.end, Instant(one.end + one.release_s)}
        return sorted(at for at in found if begin <= at <= until)
