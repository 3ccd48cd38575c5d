"""Budgets as they really are during a run, and how soon a lowered one is enforced.

A step down is enforced once the limits in the plant no longer allow more than the new budget; until
the 1 s average has followed, draw above it is counted apart. A ramp is judged by where it stood a
second before: no more than that is promised.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wattline_protocol.ids import DomainId
from wattline_scheduler.power.topology.domains import Domains

if TYPE_CHECKING:
    from wattline_sim.facility.run import Facility

RAMP_LAG_S = 1.0
AVERAGE_S = 1.0


@dataclass(frozen=True, slots=True)
class Fall:
    """A budget on its way down."""

    domain: DomainId
    full_w: float
    low_w: float
    since_s: float
    ramp_s: float

    def budget_w(self, now_s: float) -> float:
        """What the domain is judged by."""
        if self.ramp_s <= 0.0:
            return self.low_w
        done = min(1.0, max(0.0, (now_s - RAMP_LAG_S - self.since_s) / self.ramp_s))
        return self.full_w + (self.low_w - self.full_w) * done


class Lowering:
    """All falls of a run."""

    def __init__(self) -> None:
        self._falls: dict[DomainId, Fall] = {}
        self._waits: dict[DomainId, Fall] = {}
        """Steps not enforced yet."""
        self.excused_until_s = -1.0
        """Draw above a budget until then is the lowering's own."""

    def lower(self, facility: "Facility", domain: DomainId, share: float, ramp_s: float) -> None:
        """The budget falls by `share` of what it is."""
        full_w = facility.full_budget_w(domain)
        fall = Fall(domain, full_w, full_w * (1.0 - share), facility.now_s, ramp_s)
        self._falls[domain] = fall
        if ramp_s <= 0.0:
            self._waits[domain] = fall

    def raise_again(self, facility: "Facility", domain: DomainId) -> None:
        """The budget is what it was."""
        fall = self._falls.pop(domain)
        self._waits.pop(domain, None)
        facility.set_budget_w(domain, fall.full_w)

    def step(self, facility: "Facility") -> None:
        """Move the budgets; note what has been enforced."""
        for fall in self._falls.values():
            facility.set_budget_w(fall.domain, fall.budget_w(facility.now_s))
        for domain, fall in list(self._waits.items()):
            if could_draw_w(facility, domain) <= fall.low_w:
                del self._waits[domain]
                facility.score.enforced_s.append(facility.now_s - fall.since_s)
                self.excused_until_s = facility.now_s + AVERAGE_S

    def is_excused(self, now_s: float) -> bool:
        """A step is being enforced."""
        return bool(self._waits) or now_s <= self.excused_until_s


def could_draw_w(facility: "Facility", domain: DomainId) -> float:
    """Most that all nodes of the domain can draw under the limits in force, with its fixed load."""
    site = facility.building.site
    below = set(Domains(site).members[domain])
    could_mw = facility.watch.could_draw_mw(facility.hosts)
    fixed_mw = next(d.fixed_load_mw for d in site.domains if d.id == domain)
    nodes_mw = sum(mw for node, mw in zip(site.nodes, could_mw, strict=True) if node.id in below)
    return (nodes_mw + fixed_mw) / 1000
