"""Why a node has the watts it has: the domain that binds, since when, who is served before."""

from support.core.harness import Harness, joined
from support.core.sites import job, site
from wattline_protocol.views.site_views import WhyView
from wattline_protocol.wire.client_messages import Shed
from wattline_scheduler.views.why_view import why_view


def two_nodes() -> Harness:
    return joined(site().rack("a", 2, kw=15.0).build())


def why(h: Harness, name: str) -> WhyView:
    return why_view(h.cluster.state, h.node(name))


def test_nothing_binds_a_node_whose_demand_is_covered() -> None:
    h = two_nodes()
    h.submit(job().gpus(2).priority(25))
    h.run(8)
    view = why(h, next(n for n, agent in h.agents.items() if agent.tasks))
    assert (view.binding, view.since_unix_s) == (None, None)
    assert view.served == ()
    assert view.reason.startswith("its demand is covered")
    assert [gpu.binding for gpu in view.gpus] == [None, None]
    assert view.allotted_w is not None
    assert view.wanted_w is not None
    assert view.allotted_w >= view.wanted_w


def test_a_bound_node_is_told_by_which_domain_since_when_and_behind_whom() -> None:
    h = two_nodes()
    low = h.submit(job("low").gpus(8).priority(25))
    high = h.submit(job("high").gpus(8).priority(75))
    h.run(10)
    h.do(Shed(None, by_mw=986_500_000, reason="test"))
    since = h.now.unix_s
    h.run(5)
    name = h.gang(low).live[0].node
    view = why(h, name)
    assert view.binding == "site"
    assert view.when_lost is None
    assert view.since_unix_s is not None
    assert since <= view.since_unix_s <= since + 2
    assert view.grantable_w is not None
    assert view.lease_w == view.allotted_w
    assert [share.priority for share in view.served] == [75, 25]
    ahead, beside = view.served
    assert (ahead.jobs, ahead.gpus, ahead.gpus_below_demand) == ((high,), 8, 0)
    assert (beside.jobs, beside.gpus, beside.gpus_below_demand) == ((low,), 8, 8)
    assert all(gpu.binding == "site" and gpu.given_w < gpu.wanted_w for gpu in view.gpus)
    assert "site is full" in view.reason
    assert why(h, h.gang(high).live[0].node).binding is None


def test_a_node_not_heard_says_so() -> None:
    h = Harness(site().rack("a", 1).build())
    view = why(h, "a1")
    assert (view.allotted_w, view.wanted_w, view.binding) == (None, None, None)
    assert view.reason == "counts at nameplate until its first Hello"


def test_a_node_whose_job_is_paused_says_so() -> None:
    h = two_nodes()
    low = h.submit(job("low").gpus(8).priority(25))
    h.submit(job("high").gpus(8).priority(75))
    h.run(10)
    name = h.gang(low).live[0].node
    h.do(Shed(None, by_mw=994_800_000))
    h.run(8)
    assert h.state_of(low) == "PAUSED"
    assert why(h, name).reason.startswith(f"job {low} is paused here until ")
    assert "site has the least headroom" in why(h, name).reason
