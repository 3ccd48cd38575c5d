"""Which nodes count in which power domains and cooling zones, and what those may be given.

Power and cooling are one membership relation, not two trees: a node counts in full in every
domain above each of its inputs and in every zone above its own (heat = wall watts).
"""

from collections.abc import Iterable

from wattline_protocol.ids import DomainId, NodeId
from wattline_protocol.site import Domain, Site


class Domains:
    """Membership, which is fixed, and budgets, which operators lower and restore."""

    def __init__(self, site: Site) -> None:
        self.by_id: dict[DomainId, Domain] = {domain.id: domain for domain in site.domains}
        self.of: dict[NodeId, tuple[DomainId, ...]] = {
            node.id: site.domains_of(node) for node in site.nodes
        }
        self.members: dict[DomainId, tuple[NodeId, ...]] = {
            domain: tuple(node for node, above in self.of.items() if domain in above)
            for domain in self.by_id
        }
        self._lowered_mw: dict[DomainId, int] = {}

    def budget_mw(self, domain: DomainId) -> int:
        """Budget in force: rating x derate, or less while it is lowered."""
        full_mw = self.by_id[domain].budget_mw
        return min(full_mw, self._lowered_mw.get(domain, full_mw))

    def reserved_mw(self, domain: DomainId) -> int:
        """Part of the budget that no lease may use (I1)."""
        d = self.by_id[domain]
        return d.fixed_load_mw + d.transient_margin_mw + d.foreign_reserve_mw

    def usable_mw(self, domain: DomainId) -> int:
        """What all leases below the domain may add up to."""
        return self.budget_mw(domain) - self.reserved_mw(domain)

    def lower(self, domain: DomainId, budget_mw: int) -> None:
        """Put a lower budget in force; replaces an earlier one."""
        self._lowered_mw[domain] = budget_mw

    def restore(self, domain: DomainId) -> None:
        """Put the full budget in force again."""
        self._lowered_mw.pop(domain, None)

    def roots(self) -> Iterable[DomainId]:
        """Domains without a parent, in site-file order."""
        return (domain.id for domain in self.by_id.values() if domain.parent is None)
