"""The planner's view of a site, updated incrementally: each node's offer and its columns.

`core.admission.planner_view` puts an offer when a node changes; nothing else is rewritten.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from wattline_protocol.ids import Instant, NodeId
from wattline_protocol.site.labels import ANY_LAUNCHER
from wattline_protocol.site.model import Node, Site
from wattline_protocol.site.wall_power import PERMILLE
from wattline_scheduler.plan.mix.task_mix import Pricing, RecentMix
from wattline_scheduler.plan.model.column_writer import (
    change_yields,
    put_labels,
    put_node,
    put_places,
)
from wattline_scheduler.plan.model.columns import ENDLESS_MW, Columns
from wattline_scheduler.plan.model.shape import Waiting
from wattline_scheduler.plan.model.snapshot import NodeOffer, RowName, RunningGang, Snapshot
from wattline_scheduler.plan.search.score_cache import ScoreCache
from wattline_scheduler.power.books.books import Books
from wattline_scheduler.power.books.watt_admission import Booking, admission_headroom
from wattline_scheduler.power.topology.domains import Domains
from wattline_scheduler.power.topology.matrix import Bools, Ints


class HeadroomSource(NamedTuple):
    """What the headroom of the rows derives from."""

    books: Books
    budget_mw: Sequence[int]
    """[row]"""


class FleetView:
    """All nodes in site-file order; each is closed until its offer is put."""

    def __init__(self, site: Site, domains: Domains) -> None:
        nodes = [node.id for node in site.nodes]
        self.offers = [_closed(node) for node in site.nodes]
        self.position: dict[NodeId, int] = {node: at for at, node in enumerate(nodes)}
        self.rows = tuple(
            RowName(row.domain, row.name, domains.by_id[row.domain].kind) for row in domains.rows
        )
        above = [domains.rows_of[node] for node in nodes]
        self.columns = Columns.empty(len(nodes), 1, above, len(self.rows))
        put_places(self.columns, [o.rack for o in self.offers], [o.labels for o in self.offers])
        self.running: list[tuple[RunningGang, ...]] = [()] * len(nodes)
        """By node, as in `Snapshot`; current except for the nodes in `running_outdated`."""
        self.running_outdated: dict[int, Sequence[int]] = dict.fromkeys(range(len(nodes)), ())
        """To be described again: nodes, each with those of the gangs that it had when left out."""
        self.cache = ScoreCache()
        self.weights = site.weights
        self.recent = RecentMix()
        """Recent task requests; noted when a job is accepted."""
        self.pricing = Pricing()
        self._in_matrix = [domains.matrix.at[node] for node in nodes]
        self.booked_mw: Ints = np.zeros(len(nodes), np.int64)
        """In matrix order, as the next."""
        self.is_controlled: Bools = np.zeros(len(nodes), np.bool_)

    def put(self, offer: NodeOffer) -> None:
        """Replace the node's offer."""
        at = self.position[offer.node]
        change_yields(self.columns, at, self.offers[at], offer)
        put_node(self.columns, at, offer)
        if offer.labels != self.offers[at].labels:
            put_labels(self.columns, at, offer.labels)
        self.offers[at] = offer
        self.booked_mw[self._in_matrix[at]] = offer.booking.booked_mw
        self.is_controlled[self._in_matrix[at]] = offer.booking.is_controlled
        self.running_outdated.setdefault(at, ())
        self.cache.touch(at)

    def copy_all(self) -> "FleetView":
        """A separate view for hypothetical offers."""
        other = copy(self)
        other.offers, other.columns = list(self.offers), self.columns.copy_all()
        other.cache = ScoreCache()
        other.running, other.running_outdated = list(self.running), dict(self.running_outdated)
        other.booked_mw, other.is_controlled = self.booked_mw.copy(), self.is_controlled.copy()
        return other

    def renew_prices(self) -> None:
        """Before a planning cycle: adapt mix and prices to what was submitted and allocated."""
        mix = self.recent.mix(self.columns)
        if mix is not None:
            self.pricing.renew(self.columns, mix)

    def snapshot(
        self, now: Instant, source: HeadroomSource, waiting: tuple[Waiting, ...] = ()
    ) -> Snapshot:
        """For use before the next put."""
        headroom_mw = admission_headroom(source.books, self.booked_mw, self.is_controlled)
        return Snapshot(
            now,
            tuple(self.offers),
            self.position,
            self.rows,
            replace(
                self.columns,
                headroom_mw=np.append(headroom_mw, ENDLESS_MW),
                budget_mw=np.append(np.asarray(source.budget_mw, np.int64), ENDLESS_MW),
                yields_mw=self.columns.yields_mw.copy(),
            ),
            waiting,
            prices=self.pricing.prices_for(self.columns),
            weights=self.weights,
        )


def _closed(node: Node) -> NodeOffer:
    booking = Booking(node.id, 0, 0, PERMILLE, is_controlled=False)
    labels = ANY_LAUNCHER.union(node.labels.items())
    return NodeOffer(node.id, node.rack, "never heard", (), (), 0, 0, 0, 0, booking, labels=labels)
