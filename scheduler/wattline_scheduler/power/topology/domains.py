"""Membership of nodes in power domains and cooling zones, and the watts grantable there.

Power and cooling are one membership relation, not two trees: a node counts in every domain above
each of its inputs and in every zone above its own (heat = wall watts); in full, unless the site
file states shares for redundant inputs (`rows`).
"""

from collections.abc import Iterable
from typing import TypeVar

import numpy as np

from wattline_protocol.ids import DomainId, Instant, NodeId
from wattline_protocol.site.model import Domain, Site
from wattline_scheduler.power.topology.budgets import Limit, Limits
from wattline_scheduler.power.topology.matrix import Ints, Matrix
from wattline_scheduler.power.topology.rows import Row, rows_of_site

K = TypeVar("K")
V = TypeVar("V")


def _frozen(lists: dict[K, list[V]]) -> dict[K, tuple[V, ...]]:
    return {key: tuple(values) for key, values in lists.items()}


class Domains:
    """Membership, which is fixed, and budgets as of the last change or `refresh`."""

    def __init__(self, site: Site) -> None:
        self.by_id: dict[DomainId, Domain] = {domain.id: domain for domain in site.domains}
        self.rows: tuple[Row, ...] = rows_of_site(site)
        """By domain in site-file order; all rows of a domain count the same nodes."""
        rows_in: dict[DomainId, list[int]] = {domain: [] for domain in self.by_id}
        rows_of: dict[NodeId, list[tuple[int, int]]] = {node.id: [] for node in site.nodes}
        for number, row in enumerate(self.rows):
            rows_in[row.domain].append(number)
            for node, share in row.shares.items():
                rows_of[node].append((number, share))
        self.rows_in: dict[DomainId, tuple[int, ...]] = _frozen(rows_in)
        self.rows_of: dict[NodeId, tuple[tuple[int, int], ...]] = _frozen(rows_of)
        """Per node: (number of the row, permille of its wall watts that count there)."""
        self.of: dict[NodeId, tuple[DomainId, ...]] = {
            node: tuple(dict.fromkeys(self.rows[row].domain for row, _ in rows))
            for node, rows in rows_of.items()
        }
        self.members: dict[DomainId, tuple[NodeId, ...]] = {
            domain: tuple(self.rows[rows[0]].shares) for domain, rows in rows_in.items()
        }
        self.matrix = Matrix(self.rows_of, len(self.rows))
        self.limits = Limits({domain.id: domain.budget_mw for domain in site.domains})
        self._budget_mw = {domain.id: domain.budget_mw for domain in site.domains}
        self._granted_mw = dict(self._budget_mw)
        self._extra_mw: dict[DomainId, int] = {}
        self._grantable: Ints = np.zeros(len(self.rows), dtype=np.int64)
        for domain in self.by_id:
            self._note_grantable(domain)

    def budget_mw(self, domain: DomainId) -> int:
        """Budget in force: rating x derate, or less where a limit is in force."""
        return self._budget_mw[domain]

    def reserved_mw(self, domain: DomainId) -> int:
        """Part of the budget that no lease may use (I1)."""
        return self.declared_mw(domain) + self._extra_mw.get(domain, 0)

    def declared_mw(self, domain: DomainId) -> int:
        """The reserve declared in the site file; the metered part may be released again."""
        d = self.by_id[domain]
        return d.fixed_load_mw + d.transient_margin_mw + d.foreign_reserve_mw

    def extra_mw(self, domain: DomainId) -> int:
        """Undeclared load that a meter shows; part of the reserve."""
        return self._extra_mw.get(domain, 0)

    def set_extra(self, domain: DomainId, extra_mw: int) -> None:
        """Reserve watts for an undeclared load."""
        self._extra_mw[domain] = max(0, extra_mw)
        self._note_grantable(domain)

    def usable_mw(self, domain: DomainId) -> int:
        """Limit on the sum of all leases below the domain now (I1)."""
        return self._budget_mw[domain] - self.reserved_mw(domain)

    def grantable_mw(self, domain: DomainId) -> int:
        """Limit on the sum of leases granted now: less than usable while a ramp falls."""
        return self._granted_mw[domain] - self.reserved_mw(domain)

    def grantable_in_rows(self) -> Ints:
        """As `grantable_mw`, for every row."""
        return self._grantable.copy()

    def _note_grantable(self, domain: DomainId) -> None:
        self._grantable[list(self.rows_in[domain])] = self.grantable_mw(domain)

    def is_falling(self, domain: DomainId) -> bool:
        """Whether the budget will be lower within the next step."""
        return self._granted_mw[domain] < self._budget_mw[domain]

    def falls_mw(self, domain: DomainId, now: Instant, ahead_s: float) -> int:
        """Decrease of the grantable watts in `ahead_s` seconds; 0 where no ramp falls."""
        then_mw = self.limits.granted_mw(domain, Instant(now + ahead_s))
        return max(0, self._granted_mw[domain] - then_mw)

    def put(self, limit: Limit, now: Instant) -> Limit:
        """Put a limit in force; see `Limits.put`."""
        known = self.limits.put(limit, now)
        self._set(limit.domain, now)
        return known

    def withdraw(self, domain: DomainId, name: str, now: Instant) -> Limit | None:
        """Withdraw a limit at once; None if there is no such limit."""
        withdrawn = self.limits.withdraw(domain, name)
        self._set(domain, now)
        return withdrawn

    def refresh(self, now: Instant) -> bool:
        """Advance the ramps to `now`; returns whether the limits on lease sums have changed."""
        limited = dict.fromkeys(limit.domain for limit in self.limits)
        before = [self._granted_mw[domain] for domain in limited]
        for domain in limited:
            self._set(domain, now)
        return before != [self._granted_mw[domain] for domain in limited]

    def _set(self, domain: DomainId, now: Instant) -> None:
        self._budget_mw[domain] = self.limits.budget_mw(domain, now)
        self._granted_mw[domain] = self.limits.granted_mw(domain, now)
        self._note_grantable(domain)

    def roots(self) -> Iterable[DomainId]:
        """Domains without a parent, in site-file order."""
        return (domain.id for domain in self.by_id.values() if domain.parent is None)
