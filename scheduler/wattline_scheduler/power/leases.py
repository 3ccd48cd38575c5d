"""From wanted leases to those that may be sent now: shrink before grow.

Shrinks go out at once; their watts are free only when acknowledged. Growth is granted from what
the books say is free at this moment, highest priority first, so I1 holds in every interleaving.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from wattline_protocol.ids import NodeId
from wattline_scheduler.power.books import Books

DEAD_BAND_PERMILLE = 10
DEAD_BAND_MIN_MW = 20_000
"""Smaller changes are not worth a driver call on every GPU of the node."""


@dataclass(frozen=True, slots=True)
class LeaseWish:
    """What a node should hold; `must` overrides the dead band (a start waits, a budget fell)."""

    node: NodeId
    lease_mw: int
    priority: int
    must: bool = False


@dataclass(frozen=True, slots=True)
class LeaseDecision:
    """A lease that keeps I1 when it is booked in this order."""

    node: NodeId
    lease_mw: int


def plan_leases(books: Books, wishes: Sequence[LeaseWish]) -> list[LeaseDecision]:
    """Decisions in order: every shrink, then growth, as far as the room reaches.

    Growth that a start waits for comes first, whole or not at all, and what it lacks is kept
    free for it; the rest goes by priority, in part when the part is worth a driver call.
    Decided against the books as they are: book each decision (`Books.send`) before asking again.
    """
    shrinks: list[LeaseWish] = []
    growths: list[LeaseWish] = []
    for wish in wishes:
        now_mw = books.newest_lease_mw(wish.node)
        if now_mw is None or _is_small(wish, now_mw):
            continue
        (shrinks if wish.lease_mw < now_mw else growths).append(wish)
    decisions = [LeaseDecision(w.node, w.lease_mw) for w in shrinks]
    growths.sort(key=lambda w: (not w.must, -w.priority))
    return decisions + _grow(books, growths)


def _is_small(wish: LeaseWish, now_mw: int) -> bool:
    if wish.must:
        return wish.lease_mw == now_mw
    band_mw = max(DEAD_BAND_MIN_MW, now_mw * DEAD_BAND_PERMILLE // 1000)
    return abs(wish.lease_mw - now_mw) < band_mw


def _grow(books: Books, growths: list[LeaseWish]) -> list[LeaseDecision]:
    used_mw = dict.fromkeys(books.domains.by_id, 0)
    decisions: list[LeaseDecision] = []
    for wish in growths:
        above = books.domains.of[wish.node]
        committed_mw = books.committed_mw(wish.node)
        room_mw = max(0, min((books.room_in(d) - used_mw[d] for d in above), default=0))
        lease_mw = min(wish.lease_mw, committed_mw + room_mw)
        if _is_granted(books, wish, lease_mw):
            decisions.append(LeaseDecision(wish.node, lease_mw))
        elif not wish.must:
            continue
        for domain in above:
            used_mw[domain] += max(0, (wish.lease_mw if wish.must else lease_mw) - committed_mw)
    return decisions


def _is_granted(books: Books, wish: LeaseWish, lease_mw: int) -> bool:
    now_mw = books.newest_lease_mw(wish.node) or 0
    if wish.must:
        return lease_mw == wish.lease_mw
    return lease_mw - now_mw >= DEAD_BAND_MIN_MW
