"""Nodes, domains and the whole site as people see them; what is not measured is never zero."""

import msgspec
import pytest

from support.core.harness import Harness, joined
from support.core.sites import NAMEPLATE_MW, job, site
from wattline_protocol.ids import GpuIndex
from wattline_protocol.lists.node_table import free
from wattline_protocol.views.host_view import HostView
from wattline_protocol.views.site_views import DomainView, NodeView, SiteView
from wattline_protocol.wire.agents.host_load import HostLoad
from wattline_protocol.wire.client_messages import DeclareOff, Drain, Shed
from wattline_scheduler.plan.cycle import PATIENCE_S
from wattline_scheduler.time_slices import at_once
from wattline_scheduler.views import site_view as site_views
from wattline_scheduler.views.domains_view import domain_views
from wattline_scheduler.views.jobs_view import job_in_memory
from wattline_scheduler.views.nodes_view import host_view, node_view
from wattline_scheduler.views.site_view import site_view


def harness() -> Harness:
    return Harness(site().rack("a", 2, kw=15.0).rack("b", 1).build())


def node_of(h: Harness, name: str) -> NodeView:
    return node_view(h.cluster.state, h.node(name), h.now)


def domain_of(h: Harness, name: str) -> DomainView:
    return next(d for d in domain_views(h.cluster.state, h.now) if d.id == name)


def whole(h: Harness) -> SiteView:
    tariff = h.site.tariff
    parts = site_view(h.cluster.state, h.now, lambda job: job_in_memory(job, tariff), 7)
    return at_once(parts)


def test_a_node_never_heard_counts_at_its_nameplate() -> None:
    view = node_of(harness(), "a1")
    assert view.state == "never heard"
    assert view.committed_w == view.estimated_w == view.lease_w == NAMEPLATE_MW / 1000
    assert view.measured_w is None
    assert view.heard_ago_s is None
    assert view.gpus == ()


def test_a_node_shows_its_gpus_tasks_and_model() -> None:
    h = harness()
    h.join()
    number = h.submit(job("train").gpus(2))
    h.run(3.0)
    name = next(n for n, agent in h.agents.items() if agent.tasks)
    view = node_of(h, name)
    busy = [gpu for gpu in view.gpus if gpu.job == number]
    assert len(busy) == 2
    assert not any(gpu.is_idle for gpu in busy)
    assert all(gpu.is_idle for gpu in view.gpus if gpu.job is None)
    assert view.tasks == (f"{number}.0#1 train",)
    assert view.measured_w is None
    drawn_w = sum(gpu.power_w or 0 for gpu in view.gpus)
    assert view.estimated_w == pytest.approx((1000 + drawn_w) / 0.95, abs=0.01)
    assert view.estimated_w <= view.committed_w
    assert view.floor_w <= view.lease_w
    assert view.heard_ago_s is not None
    assert view.heard_ago_s < 1.5


def test_a_host_is_shown_as_it_reported_last_and_not_once_it_is_silent() -> None:
    h = harness()
    h.join("a1")
    load = HostLoad(disk_bytes=100, disk_used_bytes=71)
    h.say("a1", h.agent("a1").beat(cpu_pct=40.0, memory_used_bytes=5, host=load))
    record = h.node("a1").record
    assert host_view(h.node("a1")) == HostView(record.cpus, 40.0, record.memory_bytes, 5, load)
    assert host_view(h.node("a2")) is None


def test_a_lost_gpu_has_no_readings_and_is_not_counted_as_free() -> None:
    h = harness()
    h.join("a1")
    first, *others = h.agent("a1").beat().gpus
    read = msgspec.structs.replace(first, power_mw=90_000, temp_c=40, util_pct=7)
    h.say("a1", h.agent("a1").beat(gpus=(read, *others)))
    assert (node_of(h, "a1").gpus[0].util_pct, node_of(h, "a1").gpus_unavailable) == (7, 0)
    before = free(node_of(h, "a1"))
    h.say("a1", h.agent("a1").beat(gpus=(msgspec.structs.replace(read, lost=True), *others)))
    view = node_of(h, "a1")
    gpu = view.gpus[0]
    assert not gpu.healthy
    assert (gpu.power_w, gpu.cap_w, gpu.temp_c, gpu.util_pct, gpu.sm_clock_mhz) == (None,) * 5
    assert (view.gpus_unavailable, free(view)) == (1, before - 1)


def test_a_gpu_has_its_margin_to_the_slowdown() -> None:
    h = harness()
    h.join("a1")
    gpu = h.node("a1").gpus[GpuIndex(0)]
    h.node("a1").gpus[gpu.index] = msgspec.structs.replace(gpu, temp_limit_c=87)
    first, second = (msgspec.structs.replace(one, temp_c=60) for one in node_of(h, "a1").gpus[:2])
    assert (first.margin_c, second.margin_c) == (27, None)


def test_a_sensor_beats_the_model() -> None:
    h = harness()
    h.join("a1")
    h.say("a1", h.agent("a1").beat(node_mw=1_234_000, node_source="hwmon", inlet_c=21.5))
    view = node_of(h, "a1")
    assert (view.measured_w, view.estimated_w, view.inlet_c) == (1_234.0, 1_234.0, 21.5)


def test_a_gpu_without_a_reading_counts_at_its_cap() -> None:
    h = harness()
    h.join("a1")
    beat = h.agent("a1").beat()
    blind = tuple(type(s)(index=s.index, power_mw=None, cap_mw=300_000) for s in beat.gpus)
    h.say("a1", h.agent("a1").beat(gpus=blind))
    view = node_of(h, "a1")
    assert view.estimated_w == pytest.approx((1_000 + 8 * 309) / 0.95, abs=0.01)
    assert view.gpus[0].power_w is None


def test_a_silent_node_counts_with_its_lease() -> None:
    h = harness()
    h.join()
    before = node_of(h, "a1")
    h.cut_off.add(h.node("a1").id)
    h.run(20.0)
    view = node_of(h, "a1")
    assert view.state == "silent"
    assert view.estimated_w == view.committed_w == before.committed_w
    assert view.gpus[0].power_w is None
    assert view.gpus[0].cap_max_w == 700.0


def test_a_node_declared_off_draws_nothing() -> None:
    h = harness()
    h.do(DeclareOff(h.node("b1").id, "b1", "no rails"))
    view = node_of(h, "b1")
    assert (view.state, view.committed_w, view.estimated_w) == ("off", 0.0, 0.0)
    assert view.reason


def test_a_drained_node_says_why() -> None:
    h = harness()
    h.join("a1")
    h.do(Drain(h.node("a1").id, "new fan"))
    view = node_of(h, "a1")
    assert view.state == "drained"
    assert "new fan" in view.reason


def test_domains_add_up() -> None:
    h = harness()
    h.join()
    h.run(2.0)
    rack, top = domain_of(h, "pdu-a"), domain_of(h, "site")
    nodes = [node_of(h, name) for name in ("a1", "a2")]
    assert rack.measured_w == pytest.approx(sum(node.estimated_w for node in nodes))
    assert rack.committed_w == pytest.approx(sum(node.committed_w for node in nodes))
    assert rack.headroom_w == pytest.approx(rack.budget_w - rack.committed_w - rack.reserved_w)
    assert rack.parent == "site"
    assert top.measured_w > rack.measured_w
    assert rack.over_since_unix_s is None


def test_a_domain_over_its_budget_says_since_when() -> None:
    h = harness()
    assert domain_of(h, "pdu-a").headroom_w < 0
    assert domain_of(h, "pdu-a").over_since_unix_s is not None


def test_a_shed_is_shown_as_a_limit() -> None:
    h = harness()
    h.join()
    h.do(Shed(None, fraction=0.25, for_s=600.0, reason="grid"))
    top = domain_of(h, "site")
    assert top.budget_w == pytest.approx(0.75 * top.full_budget_w)
    (limit,) = top.limits
    assert (limit.source, limit.phase, limit.requester, limit.why) == (
        "operator",
        "in_force",
        "ops",
        "grid",
    )
    assert limit.end_unix_s == limit.start_unix_s + 600
    assert limit.is_binding
    h.do(Shed(None, by_mw=400_000_000, ramp_s=60))
    (limit,) = domain_of(h, "site").limits
    assert (limit.phase, limit.end_unix_s) == ("falling", None)
    assert limit.now_w is not None
    assert limit.now_w > limit.value_w


def test_the_snapshot_holds_everything() -> None:
    h = harness()
    h.join()
    first = h.submit(job("one").gpus(8))
    h.end_tasks()
    second = h.submit(job("two").gpus(8))
    view = whole(h)
    assert [one.id for one in view.jobs] == [first, second]
    assert [node.id for node in view.nodes] == ["a1", "a2", "b1"]
    assert view.events[-1].seq == h.cluster.state.journal.events[-1].seq
    assert (view.site, view.epoch, view.refused_messages) == ("test", 1, 7)
    assert not view.simulated
    h.agent("a1").say_hello(simulated=True)
    h.settle()
    assert whole(h).simulated


def test_of_a_large_site_nodes_come_without_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_views, "MAX_GPUS_SHOWN", 20)
    h = harness()
    h.join()
    h.submit(job().gpus(3))
    view = whole(h)
    assert all(node.gpus == () for node in view.nodes)
    assert sum(node.gpus_busy for node in view.nodes) == 3
    first = node_of(h, "a1")
    assert (first.gpu_count, first.gpu_models) == (len(first.gpus), (first.gpus[0].name,))


def test_of_many_jobs_the_most_urgent_and_the_newest_are_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    most = site_views.MostJobs(waiting=2, running=9, ended=1)
    monkeypatch.setattr(site_views, "IN_SNAPSHOT", most)
    h = harness()
    h.join()
    ended = [h.submit(job()) for _ in range(3)]
    h.end_tasks()
    waiting = [h.submit(job().held().priority(p)) for p in (10, 90, 50)]
    assert [one.id for one in whole(h).jobs] == [ended[-1], waiting[1], waiting[2]]


def test_the_head_of_the_queue_is_in_its_order_with_the_starts_that_the_planner_reserved() -> None:
    h = joined(site().rack("a", 2).build())
    for _ in range(2):
        h.submit(job("full").gpus(8).priority(95).runtime(600.0))
    later = h.submit(job("low").gpus(8).priority(10))
    sooner = h.submit(job("high").gpus(8).priority(90))
    h.submit(job("later").gpus(8).held())
    h.run(PATIENCE_S + 5.0)
    queue = whole(h).queue
    assert [one.job for one in queue] == [sooner, later]
    starts = queue[0].starts_unix_s
    assert starts is not None
    assert h.now.unix_s < starts <= h.now.unix_s + 700
    h.end_tasks()
    assert [one.job for one in whole(h).queue] == []
