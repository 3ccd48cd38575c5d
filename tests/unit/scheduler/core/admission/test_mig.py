"""MIG devices in the scheduler: each to one task, watts of a GPU once, refused with what fits."""

import msgspec
import pytest

from support.core.harness import Harness, joined
from support.core.preempting import work
from support.core.sites import A_FEW, NAMEPLATE_MW, JobBuilder, gpu, job, migs, site
from wattline_protocol.ids import DomainId, GpuIndex, JobId, UserName
from wattline_protocol.site.model import Account, Quota
from wattline_protocol.wire.agent_messages import GpuInfo, StartTask
from wattline_protocol.wire.client_messages import Shed
from wattline_protocol.wire.mig import MigInstance
from wattline_scheduler.core.invariants import InvariantBroken, check_invariants
from wattline_scheduler.core.leases.lease_load import booking_of
from wattline_scheduler.core.model.jobs.job_kind import kind_of
from wattline_scheduler.plan.model.columns import MOST_IDLE_MW
from wattline_scheduler.views.accounts_view import account_views
from wattline_scheduler.views.jobs_view import job_in_memory
from wattline_scheduler.views.nodes_view import node_view


def cluster(
    *profiles: str,
    nodes: int = 1,
    whole: int = 0,
    kw: float = 100.0,
    accounts: tuple[Account, ...] = (),
) -> Harness:
    """Nodes a1, a2 … with one GPU that is divided so, then so many whole ones."""
    plain = site().rack("a", nodes).site_budget(kw).build()
    h = Harness(msgspec.structs.replace(plain, accounts=accounts))
    for agent in h.agents.values():
        divided = gpu(0, mig=migs(*profiles, node=agent.node))
        agent.gpus = [divided, *(gpu(1 + i) for i in range(whole))]
        agent.__post_init__()
    h.join()
    h.run(2)
    return h


def small(name: str = "small") -> JobBuilder:
    return job(name).mig("1g.10gb")


def devices(h: Harness, *numbers: JobId) -> list[str]:
    """UUIDs of what these jobs were given."""
    lives = [attempt for number in numbers for attempt in h.gang(number).live]
    return [one.record.mig.uuid for one in lives if one.record.mig is not None]


# --- placement --------------------------------------------------------------------------


def test_each_task_has_a_device_of_its_own_and_the_next_waits_and_says_why() -> None:
    h = cluster("1g.10gb", "1g.10gb", "3g.40gb")
    first, second, third = (h.submit(small()) for _ in range(3))
    assert devices(h, first, second) == ["MIG-a1-0", "MIG-a1-1"]
    assert [h.state_of(n) for n in (first, second, third)] == ["RUNNING", "RUNNING", "PENDING"]
    assert h.job(third).wait_reason == "waits for gpus: a1: 1 more free MIG 1g.10gb"
    h.agent("a1").end(h.gang(first).live[0].record.ref)
    h.settle()
    assert devices(h, third) == ["MIG-a1-0"]


def test_the_order_names_the_device_and_its_part_of_the_gpu() -> None:
    h = cluster("1g.10gb", "3g.40gb")
    h.submit(job().mig("3g.40gb"))
    (start,) = h.sent_to("a1", StartTask)
    assert isinstance(start, StartTask)
    assert start.order.gpus == (0,)
    assert (start.order.mig, start.order.gpu_share_permille) == ("MIG-a1-1", 428)


def test_a_gpu_in_mig_mode_is_given_out_neither_whole_nor_in_shares() -> None:
    h = cluster(*A_FEW, whole=1)
    whole, part = h.submit(job().gpus(1)), h.submit(job().share(500))
    assert [a.record.gpus for a in h.gang(whole).live] == [(1,)]
    assert h.state_of(part) == "PENDING"
    assert devices(h, h.submit(small())) == ["MIG-a1-0"]


def test_devices_of_a_gpu_in_use_go_first() -> None:
    h = cluster("1g.10gb", "1g.10gb", nodes=2)
    first = h.submit(small())
    again = h.submit(small())
    assert [d[:6] for d in devices(h, first, again)] == ["MIG-a1", "MIG-a1"]


def test_a_gang_has_a_device_on_each_of_its_nodes() -> None:
    h = cluster(*A_FEW, nodes=2)
    assert devices(h, h.submit(small().nodes(2))) == ["MIG-a1-0", "MIG-a2-0"]


def test_what_is_held_survives_a_restart_of_the_scheduler() -> None:
    h = cluster("1g.10gb", "1g.10gb")
    first = h.submit(small())
    h.restart_scheduler()
    h.join()
    h.run(2)
    assert h.state_of(first) == "RUNNING"
    assert devices(h, first) == ["MIG-a1-0"]
    assert devices(h, h.submit(small())) == ["MIG-a1-1"]


def test_a_gpu_that_is_divided_anew_offers_its_new_devices() -> None:
    h = cluster("1g.10gb")
    assert "the site has 1g.10gb" in h.refuse(job().mig("3g.40gb"))
    h.agent("a1").gpus = [gpu(0, mig=migs("3g.40gb", node="a1"))]
    h.agent("a1").restart()
    h.settle()
    assert devices(h, h.submit(job().mig("3g.40gb"))) == ["MIG-a1-0"]


def test_lower_priorities_make_way_on_a_device_that_suits() -> None:
    h = cluster("1g.10gb", "3g.40gb")
    low, other = h.submit(small("low").priority(25)), h.submit(job("other").mig("3g.40gb"))
    work(h, low, 100.0)
    work(h, other, 100.0)
    high = h.submit(small("high").priority(75))
    h.run(2)
    assert [h.state_of(n) for n in (low, other, high)] == ["PENDING", "RUNNING", "RUNNING"]


# --- repartitioned under work --------------------------------------------------------------


def divide(h: Harness, mig: tuple[MigInstance, ...] | None) -> None:
    """An operator divides GPU 0 of a1 anew under what runs there, which the driver allows where
    that has not touched its device; the agent tells of it."""
    h.agent("a1").gpus = [gpu(0, mig=mig), *h.agent("a1").gpus[1:]]
    h.agent("a1").say_hello()
    h.settle()
    h.run(2)


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_gpu_divided_anew_under_its_holder_takes_no_work_until_that_is_gone(
    is_restarted: bool,
) -> None:
    h = cluster("3g.40gb")
    old = h.submit(job("old").mig("3g.40gb"))
    divide(h, migs("4g.40gb", "3g.40gb", node="anew"))
    if is_restarted:
        h.restart_scheduler()
        h.join()
        h.run(2)
    assert h.state_of(old) == "RUNNING"
    new = [h.submit(job().mig(profile)) for profile in ("4g.40gb", "3g.40gb")]
    h.run(2)
    assert [h.state_of(n) for n in new] == ["PENDING", "PENDING"], "together they are too much"
    assert node_view(h.cluster.state, h.node("a1"), h.now).problems == (
        f"GPU 0 was repartitioned under job {old}: it is not allocated until that has ended",
    )
    h.agent("a1").end(h.gang(old).live[0].record.ref)
    h.settle()
    assert devices(h, *new) == ["MIG-anew-0", "MIG-anew-1"]
    assert node_view(h.cluster.state, h.node("a1"), h.now).problems == ()


def test_a_gpu_that_is_whole_again_under_the_holder_of_a_device_is_not_shared_either() -> None:
    h = cluster("1g.10gb")
    old = h.submit(small())
    divide(h, None)
    share, whole = h.submit(job().share(500)), h.submit(job().gpus(1))
    h.run(2)
    assert [h.state_of(n) for n in (old, share, whole)] == ["RUNNING", "PENDING", "PENDING"]
    h.agent("a1").end(h.gang(old).live[0].record.ref)
    h.settle()
    assert h.state_of(share) == "RUNNING"


def test_a_gpu_put_in_mig_mode_under_its_holder_says_so() -> None:
    h = cluster(whole=1)
    h.agent("a1").gpus = [gpu(0)]
    h.agent("a1").restart()
    h.settle()
    old = h.submit(job().gpus(1))
    divide(h, migs("3g.40gb", node="anew"))
    new = h.submit(job().mig("3g.40gb"))
    h.run(2)
    assert [h.state_of(n) for n in (old, new)] == ["RUNNING", "PENDING"]
    (problem,) = node_view(h.cluster.state, h.node("a1"), h.now).problems
    assert problem.startswith(f"GPU 0 was repartitioned under job {old}: ")


def test_a_gpu_whose_devices_are_more_than_it_gives_none() -> None:
    h = cluster("4g.40gb", "4g.40gb", whole=1)
    first, whole = h.submit(job().mig("4g.40gb")), h.submit(job().gpus(1))
    assert [h.state_of(n) for n in (first, whole)] == ["PENDING", "RUNNING"]
    assert node_view(h.cluster.state, h.node("a1"), h.now).problems == (
        "GPU 0 has more MIG devices than it can hold, by its driver: it is not allocated",
    )


def test_two_devices_with_one_uuid_are_not_allocated() -> None:
    """Both tasks would be on one device. Once a Hello names two, the other one was given to a third
    task, of which the GPU had no part left, and the scheduler ended."""
    h, (one, other) = cluster(), migs("3g.40gb", "3g.40gb", node="a1")
    divide(h, (one, one))
    number = h.submit(job().mig("3g.40gb").array(3))
    h.run(2)
    assert [gang.phase_name for gang in h.job(number).gangs] == ["pending"] * 3
    assert node_view(h.cluster.state, h.node("a1"), h.now).problems == (
        "GPU 0 has two MIG devices with one UUID, by its driver: it is not allocated",
    )
    divide(h, (one, other))
    assert [gang.phase_name for gang in h.job(number).gangs] == ["running", "running", "pending"]


# --- refusals ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (job().mig("2g.20gb"), "no GPU has a MIG device 2g.20gb; the site has 1g.10gb, 3g.40gb"),
        (job().gpus(1), "every GPU is in MIG mode; request one of their MIG devices: 1g.10gb, 3g"),
        (job().mig("1g.10gb").gpu_memory(11), "the largest has 10 GiB"),
        (job().mig("1g.10gb").gpu_type("a100"), "no MIG device 1g.10gb is of type a100"),
        (job().mig("1g.10gb").gpus(2), "a task gets one MIG device"),
        (job().mig("1g.10gb").share(500), "a task gets one MIG device"),
        (job().mig("1g.10gb").idle_gpu(0.1, 60, "stop"), "measures no utilisation"),
    ],
)
def test_what_no_gpu_has_is_refused_with_what_there_is(wanted: JobBuilder, words: str) -> None:
    assert words in cluster("1g.10gb", "3g.40gb").refuse(wanted)


def test_without_any_mig_device_the_refusal_says_so() -> None:
    h = joined(site().rack("a", 1).build())
    assert h.refuse(small()) == "no GPU has a MIG device 1g.10gb; no GPU is in MIG mode"


# --- quotas -----------------------------------------------------------------------------


def test_a_quota_counts_the_compute_slices_of_a_device_and_so_does_its_account() -> None:
    h = cluster(*["3g.40gb"] * 2, nodes=2, accounts=(Account("lab", quota=Quota(gpus=1)),))
    paid = [h.submit(job().mig("3g.40gb").account("lab")) for _ in range(3)]
    assert [h.state_of(n) for n in paid] == ["RUNNING", "RUNNING", "PENDING"]
    h.run(2)
    assert h.job(paid[2]).wait_reason == (
        "quota of account lab reached: 1 GPU at a time, 0.856 GPUs in use, it requests "
        "0.428 GPUs; available when other jobs of the quota end"
    )
    for _ in range(2):  # as it is, and after a restart of the scheduler
        shown = account_views(h.cluster.state, h.now)
        (account,) = (one for one in shown.accounts if one.name == "lab")
        (quota,) = shown.quotas
        assert account.gpus_running == quota.used == 0.856
        h.restart_scheduler()
        h.join()
        h.run(2)


def test_a_quota_of_watts_counts_a_device_as_such_a_part_of_its_gpu() -> None:
    h = cluster(
        *["3g.40gb"] * 2, whole=1, accounts=(Account("lab", quota=Quota(power_mw=10_000_000)),)
    )
    book = h.cluster.state.work.quotas.all[0]
    part = h.submit(job().mig("3g.40gb").account("lab"))
    part_mw = book.held_mw
    h.submit(job().gpus(1).account("lab"))
    whole_mw = book.held_mw - part_mw
    assert h.state_of(part) == "RUNNING"
    assert part_mw == pytest.approx(0.428 * whole_mw, rel=0.001)


def test_who_wants_more_than_its_quota_ever_has_is_refused_by_slices() -> None:
    h = cluster(*["3g.40gb"] * 2, nodes=3, accounts=(Account("lab", quota=Quota(gpus=1)),))
    asked = job().mig("3g.40gb").account("lab")
    assert h.refuse(asked.nodes(3)) == (
        "requests 1.284 GPUs, the quota of account lab is 1 GPU at a time"
    )
    assert h.state_of(h.submit(asked.nodes(2))) == "RUNNING"


# --- watts ------------------------------------------------------------------------------


def test_all_devices_of_a_gpu_count_its_watts_once() -> None:
    h = cluster("1g.10gb", "1g.10gb")
    h.submit(small())
    before = h.counted_mw("a1")
    h.submit(small())
    assert h.counted_mw("a1") == before


def test_the_second_device_starts_where_watts_are_there_for_one_gpu_only() -> None:
    h = cluster("1g.10gb", "1g.10gb", whole=1, kw=1.6)  # 1 kW base, 80 W idle, 350 W at the knee
    first, second = h.submit(small()), h.submit(small())
    assert [h.state_of(n) for n in (first, second)] == ["RUNNING", "RUNNING"]
    third = h.submit(job("whole").gpus(1))
    h.run(2)
    assert "W more in site" in h.job(third).wait_reason


def test_holders_of_one_gpu_are_paused_together() -> None:
    h = cluster("1g.10gb", "1g.10gb", whole=1, kw=10.0)
    pair = [h.submit(small(name).priority(25)) for name in ("one", "other")]
    alone = h.submit(job("alone").gpus(1).priority(75))
    h.run(10)
    budget_mw = h.cluster.state.domains.budget_mw(DomainId("site"))
    h.do(Shed(None, by_mw=budget_mw - 1_400_000))
    h.run(8)
    assert [h.state_of(n) for n in pair] == ["PAUSED", "PAUSED"]
    assert h.state_of(alone) == "RUNNING"


def test_a_profile_is_another_kind_of_job() -> None:
    kinds = {kind_of(UserName("ada"), wanted.build()) for wanted in (job(), small("work"))}
    assert len(kinds) == 2


# --- books and views --------------------------------------------------------------------


def test_a_device_with_two_breaks_an_invariant() -> None:
    h = cluster("1g.10gb", "1g.10gb")
    first, second = h.submit(small()), h.submit(small())
    one, other = h.gang(first).live[0], h.gang(second).live[0]
    other.record = msgspec.structs.replace(other.record, mig=one.record.mig)
    with pytest.raises(InvariantBroken, match="GPU 0 of a1 is given to"):
        check_invariants(h.cluster, h.now)


def test_people_see_devices_and_who_has_them() -> None:
    h = cluster("1g.10gb", "3g.40gb")
    number = h.submit(small())
    state = h.cluster.state
    view = node_view(state, h.node("a1"), h.now)
    (shown,) = view.gpus
    assert shown.jobs == f"1g.10gb {number}, 3g.40gb –"
    reported = job_in_memory(h.job(number), h.site.tariff, with_attempts=True)
    assert reported.gpu_count == "1g.10gb"
    assert reported.attempts[0].places == "0 1g.10gb"
    assert (reported.utilisation, reported.verdict) == (None, "unknown")
    assert h.node("a1").free_milli(GpuIndex(0)) == 858


def divided(index: int) -> GpuInfo:
    """A GPU of seven devices."""
    return gpu(index, mig=migs(*["1g.10gb"] * 7, node=f"a1-{index}"))


def test_watts_that_a_stolen_key_claims_for_gpus_in_use_end_no_plan() -> None:
    """A device that is free counts what the tasks on its GPU do: their sum exceeded 32 bits, and
    each further run ended with its first plan."""
    h = Harness(site().rack("a", 1).build())
    agent = h.agent("a1")
    agent.gpus = [divided(at) for at in range(5)]
    agent.__post_init__()
    h.join()
    h.run(2)
    numbers = [h.submit(small().min_performance(1.0)) for _ in range(5 * 7)]
    h.run(2)
    for number in numbers:
        (attempt,) = h.gang(number).live
        if number % 7:
            agent.end(attempt.record.ref)
    h.settle()
    claims = {"cap_max_mw": 2 * NAMEPLATE_MW, "overshoot_permille": 5_000}
    agent.gpus = [msgspec.structs.replace(one, **claims) for one in agent.gpus]
    agent.restart()
    h.settle()
    assert not h.events("books_contradicted")
    assert sum(mw for _, mw in booking_of(h.cluster.state, h.node("a1")).held) * 6 > MOST_IDLE_MW
    h.submit(small())
    h.restart_scheduler()
    h.join()
    h.run(2)
    h.submit(small())
