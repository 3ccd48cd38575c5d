"""Each rule by which a node's committed watts may change."""

import numpy as np
import pytest

from wattline_protocol.ids import DomainId, Epoch, Incarnation, NodeId, Sequence
from wattline_protocol.site.model import Domain, Node, Site
from wattline_scheduler.power.allocation.lease_pacing import worth_it
from wattline_scheduler.power.allocation.lease_plan import LeaseDecision, LeaseWish, plan_leases
from wattline_scheduler.power.books.books import MAX_SENT, Books
from wattline_scheduler.power.topology.domains import Domains
from wattline_scheduler.records import SentLease

A, B, FEED = NodeId("a"), NodeId("b"), DomainId("feed")
W = 1000


def site(budget_w: int = 10_000) -> Site:
    def node(name: NodeId) -> Node:
        return Node(name, "r1", (FEED,), None, 1_000 * W, 940, 7_000 * W)

    feed = Domain(FEED, "power", None, budget_w * W, 1000)
    return Site("s", "tcp://x:1", "tcp://x:2", (feed,), (node(A), node(B)))


def books(budget_w: int = 10_000) -> Books:
    s = site(budget_w)
    return Books(s, Domains(s), ())


def sent(seq: int, watts: int, *, epoch: int = 1, incarnation: int = 1) -> SentLease:
    return SentLease(Epoch(epoch), Incarnation(incarnation), Sequence(seq), watts * W)


def ack(b: Books, seq: int, *, epoch: int = 1, incarnation: int = 1) -> bool:
    return b.acknowledge(A, Epoch(epoch), Incarnation(incarnation), Sequence(seq)) is not None


def test_a_node_never_heard_counts_at_nameplate() -> None:
    b = books()
    assert b.committed_in(FEED) == 14_000 * W
    assert b.headroom_mw(FEED) == -4_000 * W
    assert not b.may_send(A, 1_000 * W)


def test_adoption_replaces_nameplate() -> None:
    b = books()
    b.adopt(A, 2_000 * W)
    assert b.committed_mw(A) == 2_000 * W


def test_a_shrink_frees_nothing_before_its_acknowledgement() -> None:
    b = books()
    b.adopt(A, 5_000 * W)
    b.send(A, sent(1, 2_000))
    assert b.committed_mw(A) == 5_000 * W
    assert ack(b, 1)
    assert b.committed_mw(A) == 2_000 * W


def test_growth_counts_from_the_moment_it_is_booked() -> None:
    b = books()
    b.adopt(A, 2_000 * W)
    b.adopt(B, 2_000 * W)
    b.send(A, sent(1, 6_000))
    assert b.committed_mw(A) == 6_000 * W
    assert b.headroom_mw(FEED) == 2_000 * W


def test_growth_over_the_budget_is_not_booked() -> None:
    b = books()
    b.adopt(A, 2_000 * W)
    b.adopt(B, 6_000 * W)
    with pytest.raises(ValueError, match="does not fit"):
        b.send(A, sent(1, 4_001))


def test_an_older_larger_lease_counts_until_a_newer_one_is_acknowledged() -> None:
    b = books()
    b.adopt(B, 1_000 * W)
    b.adopt(A, 1_000 * W)
    b.send(A, sent(1, 5_000))
    b.send(A, sent(2, 2_000))
    assert b.committed_mw(A) == 5_000 * W
    assert ack(b, 2)
    assert b.committed_mw(A) == 2_000 * W
    assert not ack(b, 1), "what is older than an acknowledged lease is settled"


@pytest.mark.parametrize(
    ("seq", "epoch", "incarnation"),
    [(1, 2, 1), (1, 1, 2), (2, 1, 1)],
    ids=["epoch", "incarnation", "seq"],
)
def test_only_an_outstanding_lease_can_be_acknowledged(
    seq: int, epoch: int, incarnation: int
) -> None:
    b = books()
    b.adopt(A, 5_000 * W)
    b.send(A, sent(1, 2_000))
    assert not ack(b, seq, epoch=epoch, incarnation=incarnation)
    assert b.committed_mw(A) == 5_000 * W


def test_a_distrusted_node_counts_in_full_until_it_adopts_again() -> None:
    b = books()
    b.adopt(A, 2_000 * W)
    b.distrust(A)
    assert b.committed_mw(A) == 7_000 * W
    assert not ack(b, 1)
    b.adopt(A, 2_500 * W)
    assert b.committed_mw(A) == 2_500 * W


def test_off_counts_nothing_and_on_counts_nameplate() -> None:
    b = books()
    b.adopt(A, 2_000 * W)
    b.declare_off(A)
    assert b.committed_mw(A) == 0
    b.declare_on(A)
    assert b.committed_mw(A) == 7_000 * W


def test_the_books_survive_a_restart() -> None:
    s = site()
    b = Books(s, Domains(s), ())
    records = [b.adopt(A, 2_000 * W), b.adopt(B, 2_000 * W), b.send(A, sent(1, 5_000))]
    again = Books(s, Domains(s), (records[1], records[2]))
    assert again.committed_mw(A) == 5_000 * W
    assert again.committed_in(FEED) == 7_000 * W


def test_unanswered_leases_are_bounded() -> None:
    b = books()
    b.adopt(A, 7_000 * W)
    for seq in range(1, MAX_SENT + 1):
        b.send(A, sent(seq, 7_000 - seq))
    assert not b.may_send(A, 1_000 * W)


def test_shrinks_come_before_growth_and_growth_by_priority() -> None:
    b = books(budget_w=8_000)
    b.adopt(A, 3_000 * W)
    b.adopt(B, 3_000 * W)
    low, high = LeaseWish(A, 6_000 * W, 25), LeaseWish(B, 4_500 * W, 75)
    assert plan_leases(b, [low, high]) == [LeaseDecision(B, 4_500 * W), LeaseDecision(A, 3_500 * W)]
    down = LeaseWish(A, 2_000 * W, 25)
    assert plan_leases(b, [high, down])[0] == LeaseDecision(A, 2_000 * W)


def test_a_start_that_must_wait_keeps_its_room_free() -> None:
    b = books(budget_w=8_000)
    b.adopt(A, 3_000 * W)
    b.adopt(B, 3_000 * W)
    start = LeaseWish(A, 6_000 * W, 25, must=True)
    assert plan_leases(b, [start, LeaseWish(B, 4_500 * W, 75)]) == []


def test_small_changes_are_not_worth_a_driver_call() -> None:
    b = books()
    b.adopt(A, 3_000 * W)
    b.adopt(B, 3_000 * W)
    wish = np.array([3_005 * W, 2_990 * W])
    nobody, everybody = np.zeros(2, dtype=np.bool_), np.ones(2, dtype=np.bool_)
    assert not worth_it(wish, b.newest, nobody).any()
    assert worth_it(wish, b.newest, everybody).all()
    assert worth_it(np.array([3_030 * W, 2_960 * W]), b.newest, nobody).all()
