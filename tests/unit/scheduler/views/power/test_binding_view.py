"""Which domains limit work now, and whose."""

from support.core.harness import joined
from support.core.sites import job, site
from wattline_protocol.wire.client_messages import Shed
from wattline_scheduler.views.power.binding_view import binding_views


def test_a_domain_with_watts_for_all_limits_no_job() -> None:
    h = joined(site().rack("a", 2, kw=15.0).build())
    h.submit(job().gpus(8))
    h.run(8)
    assert binding_views(h.cluster.state) == {}


def test_the_full_domain_names_the_jobs_that_it_slows_and_what_they_lack() -> None:
    h = joined(site().rack("a", 2, kw=15.0).build())
    low = h.submit(job("low").gpus(8).priority(25))
    h.submit(job("high").gpus(8).priority(75))
    h.run(10)
    h.do(Shed(None, by_mw=986_500_000, reason="test"))
    h.run(5)
    (domain,) = views = binding_views(h.cluster.state)
    assert domain == "site"
    view = views[domain]
    assert (view.gpus, view.jobs, view.first_jobs) == (8, 1, (low,))
    assert view.short_w > 0
    assert 0 < view.given_share < 1
    assert view.since_unix_s is not None
    assert view.since_unix_s <= h.now.unix_s
