"""The books: the maximum draw of each node that the scheduler must assume (I1, I3, I9).

Theory. A lease that was sent may be in force at any later time, whatever was lost on the way, until
the agent acknowledges a newer one; then no older lease can take effect, because the agent ignores
lower sequences. So a node is committed for the largest of the newest acknowledged lease and every
lease sent after it. Nothing else lowers it: no time-out, no report. Three exceptions, each with its
own proof: a newer incarnation read its caps back (`adopted`), an operator declares that the host is
off (`declare_off`), or the books themselves are distrusted (`distrust`), which only raises it.
"""

from collections.abc import Callable

import msgspec
import numpy as np

from wattline_protocol.ids import DomainId, Epoch, Incarnation, NodeId, Sequence
from wattline_protocol.site.model import Site
from wattline_scheduler.power.topology.domains import Domains
from wattline_scheduler.power.topology.matrix import Bools, Ints
from wattline_scheduler.power.topology.rows import counted_mw, growth_mw
from wattline_scheduler.records import BookRecord, SentLease

MAX_SENT = 8
"""Unacknowledged leases per node. A node that acknowledges none of so many shrinks gets no more."""


class Books:
    """One entry per node; every change returns the record that must be on disk before it counts."""

    def __init__(self, site: Site, domains: Domains, saved: tuple[BookRecord, ...]) -> None:
        self.domains = domains
        self._nameplate_mw = {node.id: node.nameplate_mw for node in site.nodes}
        self._entries: dict[NodeId, BookRecord] = {}
        self._committed_mw: dict[NodeId, int] = {node.id: 0 for node in site.nodes}
        self._in_row_mw = [0] * len(domains.rows)
        self.committed: Ints = np.zeros(len(site.nodes), dtype=np.int64)
        """`committed_mw` of each node, in the order of `Domains.matrix`."""
        self.newest: Ints = np.zeros(len(site.nodes), dtype=np.int64)
        """`newest_lease_mw` of each node, in the same order; 0 = none."""
        on_record = {record.node: record for record in saved}
        for node in site.nodes:
            fresh = BookRecord(node=node.id, standing="off" if node.is_off else "nameplate")
            self._put(on_record.get(node.id, fresh))

    def entry(self, node: NodeId) -> BookRecord:
        """The node's entry as recorded."""
        return self._entries[node]

    def committed_mw(self, node: NodeId) -> int:
        """Maximum wall draw of the node."""
        return self._committed_mw[node]

    def committed_in(self, domain: DomainId) -> int:
        """Share of all nodes' `committed_mw` that counts in the domain, in its worst case."""
        return max(self._in_row_mw[row] for row in self.domains.rows_in[domain])

    def committed_in_row(self, row: int) -> int:
        """Share of all nodes' `committed_mw` that counts in one row."""
        return self._in_row_mw[row]

    def headroom_mw(self, domain: DomainId) -> int:
        """Uncommitted budget; negative while the budget is exceeded (I1)."""
        return self.domains.usable_mw(domain) - self.committed_in(domain)

    def headroom_in_row(self, row: int) -> int:
        """Watts that may still be granted below the row, with a falling ramp anticipated."""
        return self.domains.grantable_mw(self.domains.rows[row].domain) - self._in_row_mw[row]

    def free_for(self, is_set: Bools) -> Ints:
        """Watts that each row may grant these nodes: its total less other nodes' commitments."""
        others = np.where(is_set, 0, self.committed)
        return self.domains.grantable_in_rows() - self.domains.matrix.in_rows(others)

    def full_rows(self) -> Bools:
        """Rows in which more is committed than may be granted."""
        return self.headroom_in_rows() < 0

    def headroom_in_rows(self) -> Ints:
        """As `headroom_in_row`, for every row."""
        return self.domains.grantable_in_rows() - np.array(self._in_row_mw, dtype=np.int64)

    def node_headroom_mw(self, node: NodeId) -> int:
        """Growth that may be granted to the node now within all its rows; never negative."""
        return self.headroom_within(node, self.headroom_in_row)

    def headroom_within(self, node: NodeId, node_headroom_mw: Callable[[int], int]) -> int:
        """As `node_headroom_mw`, with other headroom per row."""
        now_mw = self.committed_mw(node)
        rows = self.domains.rows_of[node]
        return max(0, min((growth_mw(now_mw, s, node_headroom_mw(r)) for r, s in rows), default=0))

    def newest_lease_mw(self, node: NodeId) -> int | None:
        """The node's newest lease, in force or being sent; None if it has none."""
        entry = self._entries[node]
        if entry.standing != "leased":
            return None
        return entry.sent[-1].lease_mw if entry.sent else entry.acked_mw

    def may_send(self, node: NodeId, lease_mw: int) -> bool:
        """Whether a lease preserves I1: already covered, or its growth fits in every domain."""
        entry = self._entries[node]
        if entry.standing != "leased" or len(entry.sent) >= MAX_SENT:
            return False
        return lease_mw - self.committed_mw(node) <= self.node_headroom_mw(node)

    def send(self, node: NodeId, lease: SentLease) -> BookRecord:
        """Book a lease before it is sent. Raises ValueError where `may_send` is false."""
        if not self.may_send(node, lease.lease_mw):
            raise ValueError(
                f"lease of {lease.lease_mw} mW to {node} does not fit: committed "
                f"{self.committed_mw(node)} mW, headroom {self.node_headroom_mw(node)} mW"
            )
        entry = self._entries[node]
        # An older lease that is no larger than the new one can no longer raise the maximum.
        still_counts = tuple(s for s in entry.sent if s.lease_mw > lease.lease_mw)
        return self._put(msgspec.structs.replace(entry, sent=(*still_counts, lease)))

    def acknowledge(
        self, node: NodeId, epoch: Epoch, incarnation: Incarnation, seq: Sequence
    ) -> BookRecord | None:
        """Record an acknowledgement; None, without a change, if no such lease is outstanding."""
        entry = self._entries[node]
        name = (epoch, incarnation, seq)
        for at, sent in enumerate(entry.sent):
            if (sent.epoch, sent.incarnation, sent.seq) == name and entry.standing == "leased":
                return self._put(
                    msgspec.structs.replace(
                        entry, acked_mw=sent.lease_mw, sent=entry.sent[at + 1 :]
                    )
                )
        return None

    def adopt(self, node: NodeId, holding_mw: int) -> BookRecord:
        """Record the limit `holding_mw` that a newer incarnation read back from the driver."""
        return self._put(BookRecord(node=node, standing="leased", acked_mw=holding_mw))

    def distrust(self, node: NodeId) -> BookRecord:
        """Count the node in full until a newer incarnation adopts (I9)."""
        return self._put(msgspec.structs.replace(self._entries[node], standing="full"))

    def declare_off(self, node: NodeId) -> BookRecord:
        """Record the operator's declaration that the node draws nothing."""
        return self._put(BookRecord(node=node, standing="off"))

    def declare_on(self, node: NodeId) -> BookRecord:
        """Count the node at nameplate until it reconnects: it may draw again."""
        return self._put(BookRecord(node=node, standing="nameplate"))

    def _committed_of(self, entry: BookRecord) -> int:
        if entry.standing == "off":
            return 0
        leased_mw = max((entry.acked_mw, *(sent.lease_mw for sent in entry.sent)))
        if entry.standing == "leased":
            return leased_mw
        return max(self._nameplate_mw[entry.node], leased_mw)

    def _put(self, entry: BookRecord) -> BookRecord:
        before_mw = self._committed_mw[entry.node]
        after_mw = self._committed_of(entry)
        self._entries[entry.node] = entry
        self._committed_mw[entry.node] = after_mw
        at = self.domains.matrix.at[entry.node]
        self.committed[at] = after_mw
        self.newest[at] = self.newest_lease_mw(entry.node) or 0
        if after_mw != before_mw:
            for row, share in self.domains.rows_of[entry.node]:
                self._in_row_mw[row] += counted_mw(after_mw, share) - counted_mw(before_mw, share)
        return entry
