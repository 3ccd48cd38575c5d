"""Lease plan: from wished leases to those that may be sent now, shrink before grow.

Shrinks are sent at once; their watts are free only when acknowledged. Growth is granted from the
headroom in the books at this moment, highest priority first, so I1 holds in every interleaving.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from wattline_protocol.ids import NodeId
from wattline_scheduler.power.allocation.lease_pacing import DEAD_BAND_MIN_MW
from wattline_scheduler.power.books.books import Books
from wattline_scheduler.power.topology.rows import counted_mw


@dataclass(frozen=True, slots=True)
class LeaseWish:
    """The lease that should replace a node's newest one. `must`: in full or not at all."""

    node: NodeId
    lease_mw: int
    priority: int
    must: bool = False


@dataclass(frozen=True, slots=True)
class LeaseDecision:
    """A lease that preserves I1 if booked in this order."""

    node: NodeId
    lease_mw: int


def plan_leases(books: Books, wishes: Sequence[LeaseWish]) -> list[LeaseDecision]:
    """Decisions in order: every shrink, then growth, as far as the headroom reaches.

    Growth that a start waits for comes first, in full or not at all, and headroom that it lacks is
    reserved for it; the rest goes by priority, in part if the part is worth a driver call. Decided
    against the books as they are: book each decision (`Books.send`) before calling again.
    """
    shrinks: list[LeaseWish] = []
    growths: list[LeaseWish] = []
    for wish in wishes:
        now_mw = books.newest_lease_mw(wish.node)
        if now_mw is None or wish.lease_mw == now_mw:
            continue
        (shrinks if wish.lease_mw < now_mw else growths).append(wish)
    decisions = [LeaseDecision(w.node, w.lease_mw) for w in shrinks]
    growths.sort(key=lambda w: (not w.must, -w.priority))
    return decisions + _grow(books, growths)


def _grow(books: Books, growths: list[LeaseWish]) -> list[LeaseDecision]:
    left_mw: list[int] = books.headroom_in_rows().tolist()
    decisions: list[LeaseDecision] = []
    for wish in growths:
        committed_mw = books.committed_mw(wish.node)
        headroom_mw = books.headroom_within(wish.node, left_mw.__getitem__)
        lease_mw = min(wish.lease_mw, committed_mw + headroom_mw)
        if _is_granted(books, wish, lease_mw):
            decisions.append(LeaseDecision(wish.node, lease_mw))
        elif not wish.must:
            continue
        then_mw = max(committed_mw, wish.lease_mw if wish.must else lease_mw)
        for row, share in books.domains.rows_of[wish.node]:
            left_mw[row] -= counted_mw(then_mw, share) - counted_mw(committed_mw, share)
    return decisions


def _is_granted(books: Books, wish: LeaseWish, lease_mw: int) -> bool:
    now_mw = books.newest_lease_mw(wish.node) or 0
    if wish.must:
        return lease_mw == wish.lease_mw
    return lease_mw - now_mw >= DEAD_BAND_MIN_MW
