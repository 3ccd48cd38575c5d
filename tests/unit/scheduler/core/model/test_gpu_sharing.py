"""Shares of GPUs in the scheduler: placed, counted once, paused together, learned of when alone."""

import pytest

from support.core.harness import Harness
from support.core.sites import JobBuilder, gpu, job, site
from wattline_protocol.ids import DomainId, GpuIndex, JobId, UserName
from wattline_protocol.wire.agent_messages import StartTask
from wattline_protocol.wire.client_messages import Restore, Shed
from wattline_scheduler.core.admission.learned_demand import fingerprint
from wattline_scheduler.core.invariants import InvariantBroken, check_invariants
from wattline_scheduler.core.leases.lease_load import booking_of, load_of
from wattline_scheduler.core.model.gpu_holders import tied
from wattline_scheduler.core.model.jobs.job_kind import kind_of
from wattline_scheduler.power.demand.node_load import GpuLoad
from wattline_scheduler.records import DemandRecord
from wattline_scheduler.views.jobs_view import job_in_memory
from wattline_scheduler.views.nodes_view import node_view

W = 1000
HALF = 500


def cluster(nodes: int = 1, gpus: int = 1, kw: float = 100.0) -> Harness:
    """Nodes a1, a2 … with so many GPUs each."""
    h = Harness(site().rack("a", nodes).site_budget(kw).build())
    for agent in h.agents.values():
        agent.gpus = [gpu(i) for i in range(gpus)]
        agent.__post_init__()
    h.join()
    h.run(2)
    return h


def half(name: str = "half") -> JobBuilder:
    return job(name).share(HALF)


def places(h: Harness, *numbers: JobId) -> list[tuple[str, int]]:
    lives = [attempt for number in numbers for attempt in h.gang(number).live]
    return [(one.node, index) for one in lives for index in one.record.gpus]


def on(h: Harness, name: str = "a1", index: int = 0) -> GpuLoad:
    """A busy GPU as the allocator sees it."""
    load = load_of(h.cluster.state, h.node(name), h.now)
    return next(one for one in load.gpus if one.index == index)


# --- placement --------------------------------------------------------------------------


def test_two_halves_have_one_gpu_and_a_third_waits_and_says_why() -> None:
    h = cluster()
    first, second, third = (h.submit(half()) for _ in range(3))
    assert places(h, first, second) == [("a1", 0), ("a1", 0)]
    assert [h.state_of(n) for n in (first, second, third)] == ["RUNNING", "RUNNING", "PENDING"]
    assert h.job(third).wait_reason == "waits for gpus: a1: 0.5 of a GPU; none is free"
    h.agent("a1").end(h.gang(first).live[0].record.ref)
    h.settle()
    assert places(h, third) == [("a1", 0)]


def test_the_order_says_the_share() -> None:
    h = cluster()
    h.submit(job().share(250))
    (start,) = h.sent_to("a1", StartTask)
    assert isinstance(start, StartTask)
    assert start.order.gpu_share_permille == 250
    assert start.order.gpus == (0,)


def test_a_share_goes_to_the_smallest_part_that_suffices_on_the_whole_site() -> None:
    h = cluster(nodes=2, gpus=2)
    large = h.submit(job("large").share(700))
    assert places(h, h.submit(job("beside").share(400))) != places(h, large)
    assert places(h, h.submit(job("fits").share(250))) == places(h, large)
    whole = h.submit(job("whole").gpus(1))
    assert set(places(h, whole)).isdisjoint(places(h, large))


def test_a_whole_gpu_is_never_one_that_is_held_in_part() -> None:
    h = cluster()
    h.submit(job().share(1))
    whole = h.submit(job("whole").gpus(1))
    assert h.state_of(whole) == "PENDING"


def test_the_memory_wanted_is_that_of_the_part() -> None:
    h = cluster()
    assert places(h, h.submit(half().gpu_memory(40))) == [("a1", 0)]
    assert "0.5 of a GPU with 41 GiB" in h.refuse(half("more").gpu_memory(41))


def test_a_gpu_in_exclusive_mode_is_given_out_whole() -> None:
    h = cluster()
    h.agent("a1").gpus = [gpu(0, can_share=False)]
    h.agent("a1").restart()
    h.settle()
    assert "compute mode" in h.refuse(half())
    assert h.state_of(h.submit(job())) == "RUNNING"


def test_a_share_of_several_gpus_is_refused() -> None:
    assert "a share is of one GPU" in cluster(gpus=2).refuse(half().gpus(2))


def test_holders_survive_a_restart_of_the_scheduler() -> None:
    h = cluster()
    first, second = (h.submit(half()) for _ in range(2))
    h.restart_scheduler()
    h.join()
    h.run(2)
    assert [h.state_of(n) for n in (first, second)] == ["RUNNING", "RUNNING"]
    assert len(h.node("a1").holders[GpuIndex(0)]) == 2
    assert h.state_of(h.submit(half())) == "PENDING"


def test_a_gang_has_a_part_on_each_of_its_nodes() -> None:
    h = cluster(nodes=2)
    gang = h.submit(half().nodes(2))
    assert places(h, gang) == [("a1", 0), ("a2", 0)]
    assert places(h, h.submit(half().nodes(2))) == [("a1", 0), ("a2", 0)]


# --- watts ------------------------------------------------------------------------------


def test_a_shared_gpu_counts_once() -> None:
    h = cluster()
    h.submit(half())
    before = h.counted_mw("a1")
    h.submit(half())
    assert h.counted_mw("a1") == before


def test_the_second_half_starts_where_watts_are_there_for_one_gpu_only() -> None:
    h = cluster(gpus=2, kw=1.6)  # 1 kW base, 80 W idle, a knee of 350 W with overshoot
    first, second = (h.submit(half()) for _ in range(2))
    assert places(h, first, second) == [("a1", 0), ("a1", 0)]
    third = h.submit(half())
    h.run(2)
    assert h.state_of(third) == "PENDING"
    assert "W more in site" in h.job(third).wait_reason


def test_it_counts_as_its_most_demanding_holder_does() -> None:
    h = cluster()
    h.submit(half("low").priority(25).watts_per_gpu(300))
    low = on(h)
    h.submit(half("high").priority(75).min_performance(0.9))
    both = on(h)
    assert (low.priority, both.priority) == (25, 75)
    assert low.target_mw < both.target_mw == on(h).ceiling_mw
    assert both.asked_mw > low.floor_mw == low.asked_mw
    assert both.asked_mw <= both.useful_mw <= both.target_mw
    kept = booking_of(h.cluster.state, h.node("a1"))
    assert kept.busy_mw >= both.useful_mw
    assert [priority for priority, _ in kept.yields] == [75]


def test_demand_is_measured_for_all_holders_together() -> None:
    h = cluster()
    h.agent("a1").wants_mw = 420 * W
    first, second = (h.submit(half()) for _ in range(2))
    h.run(30)
    assert 420 * W <= on(h).target_mw <= 490 * W
    h.agent("a1").end(h.gang(first).live[0].record.ref)
    h.settle()
    assert h.state_of(second) == "RUNNING"
    assert on(h).target_mw == on(h).ceiling_mw  # what one of them draws is not known yet


# --- learning ---------------------------------------------------------------------------


def test_a_kind_of_job_is_learned_only_while_it_is_alone() -> None:
    h = cluster()
    h.agent("a1").wants_mw = 420 * W
    first = h.submit(half().command("alone"))
    h.run(40)
    second = h.submit(half().command("joins"))
    (record,) = h.disk.of(DemandRecord)
    gpu_info = h.node("a1").gpus[GpuIndex(0)]
    assert record.fingerprint == fingerprint(h.job(first), gpu_info)
    assert 420 * W <= record.p95_mw <= 435 * W
    h.agent("a1").wants_mw = 600 * W
    h.run(40)
    h.end_tasks()
    assert h.state_of(second) == "COMPLETED"
    assert h.disk.of(DemandRecord) == (record,)


def test_a_share_is_another_kind_of_job_than_the_whole() -> None:
    whole, part = job().build(), half("work").build()
    assert kind_of(UserName("ada"), whole) != kind_of(UserName("ada"), part)


# --- pausing ----------------------------------------------------------------------------


def shed_to(h: Harness, kw: float) -> None:
    budget_mw = h.cluster.state.domains.budget_mw(DomainId("site"))
    h.do(Shed(None, by_mw=budget_mw - round(kw * 1e6)))


def test_holders_of_one_gpu_are_paused_together_and_go_on() -> None:
    h = cluster(gpus=2, kw=10.0)
    pair = [h.submit(half(name).priority(25)) for name in ("one", "other")]
    alone = h.submit(job("alone").gpus(1).priority(75))
    h.run(10)
    shed_to(h, 1.4)  # floors: (1000 + 2 x 206) / 0.95 = 1.49 kW, with one idle 1.35 kW
    h.run(8)
    assert [h.state_of(n) for n in pair] == ["PAUSED", "PAUSED"]
    assert h.state_of(alone) == "RUNNING"
    h.do(Restore(None))
    h.run(15)
    assert [h.state_of(n) for n in (*pair, alone)] == ["RUNNING"] * 3


def test_they_stand_where_the_highest_of_them_stands() -> None:
    h = cluster(gpus=2, kw=10.0)
    low = h.submit(half("low").priority(25))
    high = h.submit(half("high").priority(75))
    middle = h.submit(job("middle").gpus(1).priority(50))
    h.run(10)
    shed_to(h, 1.4)
    h.run(8)
    assert h.state_of(middle) == "PAUSED"
    assert [h.state_of(n) for n in (low, high)] == ["RUNNING", "RUNNING"]


def test_gangs_are_tied_through_all_gpus_that_they_share() -> None:
    h = cluster(nodes=2)
    both = h.submit(half("both").nodes(2))
    one, other = h.submit(half("one")), h.submit(half("other"))
    gangs = [h.gang(n) for n in (one, other, both)]
    (group,) = tied(h.cluster.state, gangs)
    assert {gang.key for gang in group} == {gang.key for gang in gangs}
    assert [len(group) for group in tied(h.cluster.state, gangs[:2])] == [1, 1]


# --- what people see --------------------------------------------------------------------


def test_views_name_all_holders_and_count_parts() -> None:
    h = cluster()
    first, second = (h.submit(half()) for _ in range(2))
    (shown,) = node_view(h.cluster.state, h.node("a1"), h.now).gpus
    assert (shown.job, shown.others, shown.jobs) == (
        first,
        (second,),
        f"{first} (0.5), {second} (0.5)",
    )
    view = job_in_memory(h.job(first), h.site.tariff)
    assert (view.gpus, view.gpu_count) == (1, "0.5")


def test_more_than_the_whole_is_noticed() -> None:
    h = cluster()
    first = h.submit(job("whole").gpus(1))
    node, attempt = h.node("a1"), h.gang(first).live[0]
    node.holders[GpuIndex(0)] = (attempt, attempt)
    with pytest.raises(InvariantBroken, match="holders"):
        check_invariants(h.cluster, h.now)
