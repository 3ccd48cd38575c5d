"""Shares of redundant inputs: which rows they give, and what those hold in every loss."""

from wattline_protocol.ids import DomainId, NodeId
from wattline_protocol.site.model import Domain, InputShare, Node, Site
from wattline_scheduler.power.topology.domains import Domains
from wattline_scheduler.power.topology.rows import Row, counted_mw, growth_mw, rows_of_site

FEEDS = ("feed-a", "feed-b", "feed-c")
MW = 1_000_000


def node(name: str, *inputs: str, shares: tuple[InputShare, ...] = ()) -> Node:
    names = tuple(DomainId(one) for one in inputs)
    return Node(NodeId(name), "r", names, None, MW, 940, 7 * MW, shares=shares)


def half(other: str, after: int = 1000) -> InputShare:
    return InputShare(500, {DomainId(other): after})


def site(*nodes: Node) -> Site:
    """Three feeds with two PDUs each: pdu-a1, pdu-a2, pdu-b1 …"""
    feeds = [Domain(DomainId(feed), "power", None, 100 * MW, 1000) for feed in FEEDS]
    pdus = [
        Domain(DomainId(f"pdu-{feed[-1]}{number}"), "power", DomainId(feed), 40 * MW, 1000)
        for feed in FEEDS
        for number in (1, 2)
    ]
    return Site("s", "tcp://x:1", "tcp://x:2", (*feeds, *pdus), nodes)


def rows_in(rows: tuple[Row, ...], domain: str) -> dict[str, dict[str, int]]:
    """Shares by the loss that the row is about; "" = normal operation."""
    return {
        str(row.lost or ""): {str(n): share for n, share in row.shares.items()}
        for row in rows
        if row.domain == domain
    }


def test_a_node_with_redundant_inputs_counts_in_full_where_no_shares_are_stated() -> None:
    rows = rows_of_site(site(node("n1", "pdu-a1", "pdu-b1")))
    for domain in ("pdu-a1", "pdu-b1", "feed-a", "feed-b"):
        assert rows_in(rows, domain) == {"": {"n1": 1000}}
    assert rows_in(rows, "pdu-a2") == {"": {}}


def test_with_shares_each_loss_that_moves_load_is_a_row() -> None:
    pair = (half("pdu-b1"), half("pdu-a1"))
    rows = rows_of_site(site(node("n1", "pdu-a1", "pdu-b1", shares=pair)))
    # The loss of pdu-b1 and that of feed-b above it say the same of pdu-a1: one row is enough.
    assert rows_in(rows, "pdu-a1") == {"pdu-b1": {"n1": 1000}}
    assert rows_in(rows, "feed-a") == {"pdu-b1": {"n1": 1000}}


def test_a_feed_lost_takes_all_its_pdus_at_once() -> None:
    first = node("n1", "pdu-a1", "pdu-b1", shares=(half("pdu-b1"), half("pdu-a1")))
    second = node("n2", "pdu-a1", "pdu-b2", shares=(half("pdu-b2"), half("pdu-a1")))
    rows = rows_of_site(site(first, second))
    assert rows_in(rows, "pdu-a1") == {"feed-b": {"n1": 1000, "n2": 1000}}
    assert rows_in(rows, "pdu-b1") == {"pdu-a1": {"n1": 1000}}


def test_catcher_feeds_keep_one_row_for_each_neighbour() -> None:
    """Three feeds, each pair carries some nodes: no loss moves everything to one feed."""
    nodes = [
        node("ab", "pdu-a1", "pdu-b1", shares=(half("feed-b"), half("feed-a"))),
        node("ac", "pdu-a1", "pdu-c1", shares=(half("feed-c"), half("feed-a"))),
    ]
    rows = rows_of_site(site(*nodes))
    # The loss of a PDU is not listed, so the other input is taken to carry everything.
    assert rows_in(rows, "feed-a") == {
        "pdu-b1": {"ab": 1000, "ac": 500},
        "pdu-c1": {"ab": 500, "ac": 1000},
    }


def test_what_is_listed_for_the_domain_itself_goes_first() -> None:
    share = InputShare(500, {DomainId("feed-b"): 800, DomainId("pdu-b1"): 900})
    assert share.after(DomainId("feed-b"), [DomainId("pdu-b1")]) == 800
    assert share.after(DomainId("pdu-b1"), [DomainId("pdu-b1")]) == 900
    assert share.after(DomainId("pdu-b2"), [DomainId("pdu-b2")]) == 1000
    several = [DomainId("pdu-b1"), DomainId("pdu-b2")]
    assert InputShare(300, {DomainId("pdu-b1"): 500}).after(DomainId("feed-b"), several) == 1000


def test_shares_of_two_inputs_add_up_above_them_to_at_most_everything() -> None:
    pair = (InputShare(600), InputShare(600))
    rows = rows_of_site(site(node("n1", "pdu-a1", "pdu-a2", shares=pair)))
    assert rows_in(rows, "feed-a") == {"": {"n1": 1000}}
    assert rows_in(rows, "pdu-a1") == {"pdu-a2": {"n1": 1000}}


def test_growth_in_a_row_is_the_most_that_keeps_it() -> None:
    for share in (1000, 500, 333, 1):
        for now_mw in (0, 1, 999, 1_234_567):
            for headroom_mw in (0, 1, 17, 1_000_001):
                growth = growth_mw(now_mw, share, headroom_mw)
                before = counted_mw(now_mw, share)
                assert counted_mw(now_mw + growth, share) - before <= headroom_mw
                assert counted_mw(now_mw + growth + 1, share) - before > headroom_mw


def test_the_matrix_has_disjoint_rows_in_each_layer_and_inner_ones_first() -> None:
    nodes = [
        node(f"n{at}", "pdu-a1", "pdu-b1", shares=(half("pdu-b1"), half("pdu-a1")))
        for at in range(2)
    ]
    domains = Domains(site(*nodes, node("lone", "pdu-c1")))
    layers = domains.matrix.layers
    assert sum(int((layer.row < domains.matrix.row_count).sum()) for layer in layers) == 6
    seen = [
        {domains.rows[r].domain for r in layer.row if r < len(domains.rows)} for layer in layers
    ]
    inner = next(at for at, names in enumerate(seen) if "pdu-c1" in names)
    outer = next(at for at, names in enumerate(seen) if "feed-c" in names)
    assert inner < outer
