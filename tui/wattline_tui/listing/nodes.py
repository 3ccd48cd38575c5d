"""The columns of nodes in the terminal: those of all lists, and the domains above each node."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from wattline_protocol.ids import DomainId
from wattline_protocol.lists import kinds
from wattline_protocol.lists.column import Column
from wattline_protocol.lists.glob import escaped
from wattline_protocol.lists.node_table import node_table
from wattline_protocol.lists.table import Table
from wattline_protocol.lists.tokens import quoted
from wattline_protocol.views.site_views import DomainView, NodeView

Parents = Mapping[DomainId, DomainId | None]
"""The domain above each."""


def parents_of(domains: Sequence[DomainView]) -> Parents:
    """From the domains of a snapshot."""
    return {one.id: one.parent for one in domains}


def nodes_of_terminal(now_unix_s: float, parents: Parents) -> Table[NodeView]:
    """A node is found by each domain that its watts count in."""
    table = node_table(now_unix_s)
    above = Column[NodeView](
        "domains", kinds.TEXTS, lambda node: domains_of(node, parents), weight=9, is_usual=False
    )
    return replace(table, columns=(*table.columns[:-1], above, table.columns[-1]))


def domains_of(node: NodeView, parents: Parents) -> tuple[str, ...]:
    """Its inputs and its cooling zone, each with all domains above it."""
    found: dict[str, None] = {}
    for lowest in (*node.inputs, node.cooling_zone):
        domain = lowest
        while domain is not None:
            found[domain] = None
            domain = parents.get(domain)
    return tuple(found)


def nodes_below(domain: str) -> str:
    """The condition that selects the nodes of a domain."""
    return f"domains={quoted(escaped(domain))}"
