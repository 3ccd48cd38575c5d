"""The books keep I1 under any order of sends, acknowledgements and losses."""

from hypothesis import given
from hypothesis import strategies as st

from support.strategies.power import sites
from wattline_protocol.ids import Epoch, Incarnation, Instant, NodeId, Sequence
from wattline_protocol.site.model import Site
from wattline_scheduler.power.allocation.lease_plan import LeaseWish, plan_leases
from wattline_scheduler.power.books.books import Books
from wattline_scheduler.power.topology.budgets import Limit
from wattline_scheduler.power.topology.domains import Domains
from wattline_scheduler.power.topology.rows import counted_mw
from wattline_scheduler.records import SentLease

COIN: st.SearchStrategy[bool] = st.booleans()
EPOCH, INCARNATION = Epoch(1), Incarnation(1)


def lease(seq: int, lease_mw: int) -> SentLease:
    return SentLease(EPOCH, INCARNATION, Sequence(seq), lease_mw)


def wishes_for(node: NodeId) -> st.SearchStrategy[LeaseWish]:
    return st.builds(
        LeaseWish, st.just(node), st.integers(1_000_000, 7_000_000), st.just(50), st.booleans()
    )


def sums_agree(books: Books, site: Site) -> bool:
    domains = books.domains
    return all(
        books.committed_in(d)
        == max(
            sum(counted_mw(books.committed_mw(n), share) for n, share in row.shares.items())
            for row in (domains.rows[r] for r in domains.rows_in[d])
        )
        for d in domains.by_id
    )


@given(sites(), st.data())
def test_growth_never_exceeds_a_budget_whatever_is_lost(site: Site, data: st.DataObject) -> None:
    domains = Domains(site)
    books = Books(site, domains, ())
    for node in site.nodes:
        books.adopt(node.id, 1_100_000)
    fits = {d for d in domains.by_id if books.headroom_mw(d) >= 0}
    outstanding: list[tuple[NodeId, Sequence]] = []
    for seq in range(1, data.draw(st.integers(1, 25)) + 1):
        wishes = [
            LeaseWish(node.id, data.draw(st.integers(1_000_000, 7_000_000)), 50, data.draw(COIN))
            for node in site.nodes
        ]
        for decision in plan_leases(books, wishes):
            if books.may_send(decision.node, decision.lease_mw):
                books.send(decision.node, lease(seq, decision.lease_mw))
                outstanding.append((decision.node, Sequence(seq)))
        while data.draw(COIN) and outstanding:
            name, acked = outstanding.pop(data.draw(st.integers(0, len(outstanding) - 1)))
            books.acknowledge(name, EPOCH, INCARNATION, acked)
        assert sums_agree(books, site)
        assert all(books.headroom_mw(d) >= 0 for d in fits)


@given(st.lists(st.integers(1_000_000, 6_000_000), min_size=1, max_size=8), st.data())
def test_committed_covers_whatever_the_agent_may_hold(sent: list[int], data: st.DataObject) -> None:
    """The agent applies leases in order of sequence, may miss any, acknowledges what it holds."""
    site = data.draw(sites(max_nodes=1))
    domains = Domains(site)
    for domain in domains.by_id:
        # Growth is impossible: only shrinks below the first lease are booked.
        domains.put(Limit(domain, "shed", "operator", 0, Instant(0.0)), Instant(0.0))
    books = Books(site, domains, ())
    node = site.nodes[0].id
    books.adopt(node, max(sent))
    holds, newest_applied = max(sent), 0
    for seq, lease_mw in enumerate(sent, start=1):
        if not books.may_send(node, lease_mw):
            continue
        books.send(node, lease(seq, lease_mw))
        if data.draw(COIN):
            holds, newest_applied = lease_mw, seq
            if data.draw(COIN):
                books.acknowledge(node, EPOCH, INCARNATION, Sequence(newest_applied))
        assert books.committed_mw(node) >= holds
