"""Rows: each power domain and cooling zone in each case that I1 must hold in, with its shares.

A node with one input, or with redundant inputs and no stated shares, counts in full in every domain
above each input, whatever fails. With shares, normal operation and every loss of one domain that
takes some of its inputs are separate cases: the other inputs take over the load of the lost ones.
In a case a node never counts for less than in normal operation (a feed may return at any moment),
so only those cases of a domain are retained that no other case of it covers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wattline_protocol.ids import DomainId, NodeId
from wattline_protocol.site.model import Node, Site
from wattline_protocol.site.wall_power import PERMILLE, ceil_div

Shares = dict[NodeId, int]
"""Permille of each node's wall watts that count."""

Entries = dict[DomainId, int]
"""The same for one node, by domain."""


@dataclass(frozen=True, slots=True)
class Row:
    """One constraint: the shares of these nodes' leases fit the domain's limit."""

    domain: DomainId
    lost: DomainId | None
    """The lost domain; None = normal operation."""
    shares: Mapping[NodeId, int]

    @property
    def name(self) -> str:
        """Display name."""
        return self.domain if self.lost is None else f"{self.domain} when {self.lost} is lost"


def counted_mw(wall_mw: int, share_permille: int) -> int:
    """Part of a node's wall milliwatts that counts in a row; rounded to the safe side."""
    return ceil_div(wall_mw * share_permille, PERMILLE)


def growth_mw(now_mw: int, share_permille: int, headroom_mw: int) -> int:
    """Maximum growth of `now_mw` in a row with this headroom; negative while it is exceeded."""
    return (counted_mw(now_mw, share_permille) + headroom_mw) * PERMILLE // share_permille - now_mw


def rows_of_site(site: Site) -> tuple[Row, ...]:
    """All rows, by domain in site-file order; a domain without nodes has one empty row."""
    chains = site.chains()
    normal: dict[DomainId, Shares] = {domain.id: {} for domain in site.domains}
    cases: dict[DomainId, dict[DomainId, Shares]] = {domain.id: {} for domain in site.domains}
    for node in site.nodes:
        usual = _entries(node, chains, _usual_shares(node))
        for domain, share in usual.items():
            normal[domain][node.id] = share
        for lost, shares in _losses(node, chains).items():
            for domain, share in _entries(node, chains, shares).items():
                if share > usual.get(domain, 0):
                    cases[domain].setdefault(lost, {})[node.id] = share
    return tuple(row for domain in site.domains for row in _rows(domain.id, normal, cases))


def _rows(
    domain: DomainId,
    normal: Mapping[DomainId, Shares],
    cases: Mapping[DomainId, Mapping[DomainId, Shares]],
) -> list[Row]:
    usual, chosen = normal[domain], list[tuple[DomainId, Shares]]()
    for lost, more in sorted(cases[domain].items(), key=lambda item: -len(item[1])):
        if not any(_covers(other, more) for _, other in chosen):
            chosen.append((lost, more))
    if not chosen:
        return [Row(domain, None, usual)]
    return [Row(domain, lost, usual | more) for lost, more in chosen]


def _covers(one: Shares, other: Shares) -> bool:
    return all(one.get(node, 0) >= share for node, share in other.items())


def _usual_shares(node: Node) -> list[int]:
    return [share.share_permille for share in node.shares] or [PERMILLE] * len(node.inputs)


def _losses(node: Node, chains: Mapping[DomainId, Sequence[DomainId]]) -> dict[DomainId, list[int]]:
    """Shares of the node's inputs after each loss that leaves it one; empty without shares."""
    if not node.shares:
        return {}
    above = dict.fromkeys(domain for name in node.inputs for domain in chains[name])
    losses: dict[DomainId, list[int]] = {}
    for lost in above:
        dead = [name for name in node.inputs if lost in chains[name]]
        if len(dead) < len(node.inputs):
            losses[lost] = [
                0 if name in dead else share.after(lost, dead)
                for name, share in zip(node.inputs, node.shares, strict=True)
            ]
    return losses


def _entries(
    node: Node, chains: Mapping[DomainId, Sequence[DomainId]], shares: Sequence[int]
) -> Entries:
    """Share of the node in each domain above it."""
    entries: Entries = {}
    for name, share in zip(node.inputs, shares, strict=True):
        for domain in chains[name]:
            entries[domain] = min(PERMILLE, entries.get(domain, 0) + share)
    if node.cooling_zone is not None:
        entries.update(dict.fromkeys(chains[node.cooling_zone], PERMILLE))
    return entries
