"""Pictures are made in small parts."""

import pytest

from support.core.harness import joined
from support.core.sites import job, site
from wattline_protocol.ids import NodeId, Now
from wattline_protocol.views.site_views import JobView, NodeView
from wattline_scheduler.core.leases.measured_draw import Draw
from wattline_scheduler.core.model.jobs.job import Job
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State
from wattline_scheduler.shell.clients.pictures import site_feed
from wattline_scheduler.shell.clients.pictures.site_feed import SiteFeed
from wattline_scheduler.views.jobs_view import job_in_memory
from wattline_scheduler.views.nodes_view import node_view


def test_each_row_that_is_built_is_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    h = joined(site().rack("a", 3).build())
    numbers = [h.submit(job(f"j{number}").gpus(1)) for number in range(3)]
    built: list[object] = []

    def show_job(one: Job) -> JobView:
        built.append(one.id)
        return job_in_memory(one, h.site.tariff)

    def show_node(state: State, node: NodeNow, now: Now, draw: Draw) -> NodeView:
        built.append(node.id)
        return node_view(state, node, now, draw)

    monkeypatch.setattr(site_feed, "node_view", show_node)
    feed = SiteFeed(h.cluster.state, show_job, lambda: 0)
    counts = [len(built) for _ in feed.refresh(h.now)]
    names = [NodeId(name) for name in ("a1", "a2", "a3")]
    assert sorted(built, key=str) == sorted([*names, *numbers], key=str)
    steps = [after - before for before, after in zip([0, *counts], counts, strict=False)]
    assert (max(steps), sum(steps)) == (1, 6)
