"""Cordon: one GPU is offered to no job, by UUID; what runs on it continues."""

import pytest

from support.core.harness import Harness
from support.core.preempting import fill
from support.core.sites import gpu, job, migs, site
from wattline_protocol.ids import JobId, NodeId
from wattline_protocol.job.spec import PRIORITIES
from wattline_protocol.wire.agent_messages import GpuInfo
from wattline_protocol.wire.client_messages import Denied
from wattline_protocol.wire.nodes.acts import Cordon, Uncordon
from wattline_scheduler.views.nodes_view import node_view

A1 = NodeId("a1")


@pytest.fixture
def h() -> Harness:
    """One node of two GPUs."""
    made = Harness(site().rack("a", 1).site_budget(100.0).build())
    lists(made, gpu(0), gpu(1))
    return made


def lists(h: Harness, *gpus: GpuInfo) -> None:
    """The agent of the node starts with these GPUs."""
    agent = h.agent(A1)
    agent.gpus = list(gpus)
    agent.__post_init__()
    h.join()
    h.run(2)


def gpus_of(h: Harness, number: JobId) -> tuple[int, ...]:
    live = h.gang(number).live
    return live[0].record.gpus if live else ()


def refused(h: Harness, request: Cordon | Uncordon) -> str:
    answer = h.ask(request)
    assert isinstance(answer, Denied)
    return answer.reason


def test_it_gets_no_job_until_it_is_uncordoned_and_the_reason_says_so(h: Harness) -> None:
    assert h.do(Cordon(A1, "0", "fan fails")) == "GPU 0 of a1 is cordoned; no job runs on it"
    first, second = h.submit(job().gpus(1)), h.submit(job().gpus(1))
    assert gpus_of(h, first) == (1,)
    assert h.job(second).wait_reason == "waits for gpus: a1: 1 more free GPU (GPU 0 is cordoned)"
    assert h.do(Uncordon(A1, "GPU-0")) == "GPU 0 of a1 is no longer cordoned"
    assert gpus_of(h, second) == (0,)


def test_work_on_it_continues_and_is_not_followed_by_other_work(h: Harness) -> None:
    whole = h.submit(job().gpus(2))
    assert h.do(Cordon(A1, "1")) == f"GPU 1 of a1 is cordoned; job {whole} continues on it"
    h.run(3)
    assert h.state_of(whole) == "RUNNING"
    h.end_tasks()
    part, other = h.submit(job().share(500)), h.submit(job().gpus(2))
    assert gpus_of(h, part) == (0,)
    assert h.state_of(other) == "PENDING"


def test_nothing_is_preempted_for_a_gpu_that_would_not_be_offered(h: Harness) -> None:
    low = [fill(h, job().gpus(1).priority(PRIORITIES["low"]), run_s=900.0) for _ in range(2)]
    for number in low:
        (index,) = gpus_of(h, number)
        h.do(Cordon(A1, f"{index}"))
    high = h.submit(job().gpus(1).priority(PRIORITIES["high"]))
    assert [h.state_of(number) for number in low] == ["RUNNING", "RUNNING"]
    h.do(Uncordon(A1, "0"))
    assert gpus_of(h, high) == (0,)


def test_views_show_reason_operator_and_time_and_do_not_count_it_as_free(h: Harness) -> None:
    h.do(Cordon(A1, "0", "fan fails"), user="olga")
    view = node_view(h.cluster.state, h.node(A1), h.now)
    assert [one.is_cordoned for one in view.gpus] == [True, False]
    assert (view.gpu_count, view.gpus_busy, view.gpus_cordoned) == (2, 0, 1)
    (one,) = view.cordons
    assert (one.uuid, one.index, one.reason, one.user) == ("GPU-0", 0, "fan fails", "olga")
    assert one.unix_s == h.now.unix_s
    assert not view.problems, "an operator did it: it is no alarm"


def test_a_cordon_without_a_reason_keeps_the_earlier_one(h: Harness) -> None:
    h.do(Cordon(A1, "0"), user="olga")
    assert h.node(A1).record.cordons[0].reason == "no reason given"
    h.do(Cordon(A1, "0", "fan fails"))
    h.do(Cordon(A1, "GPU-0"))
    assert [one.reason for one in h.node(A1).record.cordons] == ["fan fails"]


def test_it_survives_a_restart_and_follows_the_gpu_to_another_index(h: Harness) -> None:
    h.do(Cordon(A1, "0"))
    h.restart_scheduler()
    lists(h, gpu(0, uuid="GPU-1"), gpu(1, uuid="GPU-0"))
    assert [(one.uuid, one.index) for one in h.node(A1).record.cordons] == [("GPU-0", 1)]
    assert gpus_of(h, h.submit(job().gpus(1))) == (0,)
    assert h.state_of(h.submit(job().gpus(1))) == "PENDING"


def test_a_gpu_that_is_replaced_is_free_of_it_and_it_is_said(h: Harness) -> None:
    h.do(Cordon(A1, "1", "fan fails"), user="olga")
    lists(h, gpu(0), gpu(1, uuid="GPU-9"))
    assert not h.node(A1).record.cordons
    (event,) = h.events("gpu_cordon_ended")
    assert event.text == (
        "GPU 1 of a1 (GPU-1), cordoned by olga (fan fails), was replaced by GPU-9, "
        "which is not cordoned"
    )
    assert gpus_of(h, h.submit(job().gpus(2))) == (0, 1)


def test_a_gpu_that_cannot_be_read_for_a_time_is_still_cordoned(h: Harness) -> None:
    """Its agent was restarted while the driver did not answer for it."""
    h.do(Cordon(A1, "1", "XID 79"))
    lists(h, gpu(0), gpu(1, uuid=""))
    lists(h, gpu(0), gpu(1))
    assert gpus_of(h, h.submit(job().gpus(1))) == (0,)
    assert h.state_of(h.submit(job().gpus(1))) == "PENDING"
    assert not h.events("gpu_cordon_ended")


def test_a_gpu_that_is_absent_for_a_time_is_still_cordoned(h: Harness) -> None:
    """The other one gets its index meanwhile, and is not cordoned for it."""
    h.do(Cordon(A1, "0"))
    for _ in range(2):
        lists(h, gpu(0, uuid="GPU-1"))
        assert gpus_of(h, first := h.submit(job().gpus(1))) == (0,)
        h.end_tasks()
        assert h.state_of(first) == "COMPLETED"
    assert len(h.events("gpu_cordon_absent")) == 1
    assert node_view(h.cluster.state, h.node(A1), h.now).gpus_cordoned == 0
    lists(h, gpu(0), gpu(1))
    assert gpus_of(h, h.submit(job().gpus(1))) == (1,)
    lists(h, gpu(0, uuid="GPU-1"))
    assert h.do(Uncordon(A1, "GPU-0")) == "GPU GPU-0 of a1 is no longer cordoned"


def test_no_device_of_a_cordoned_gpu_is_offered(h: Harness) -> None:
    lists(h, gpu(0, mig=migs("1g.10gb", node="x")), gpu(1))
    device = migs("1g.10gb", node="x")[0].uuid
    assert refused(h, Cordon(A1, device)) == f"{device} is a MIG device; cordon its GPU, a1:0"
    h.do(Cordon(A1, "0"))
    assert h.state_of(h.submit(job().mig("1g.10gb"))) == "PENDING"


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (Cordon(A1, "7"), "there is no GPU '7' on a1; it has GPUs 0, 1"),
        (Cordon(A1, "GPU-11"), "there is no GPU 'GPU-11' on a1; the nearest is GPU-1"),
        (Uncordon(A1, "1"), "GPU 1 of a1 is not cordoned; no GPU there is"),
        (Cordon(NodeId("a2"), "0"), "there is no node 'a2'; the site has a1"),
    ],
    ids=["index", "uuid", "not cordoned", "node"],
)
def test_a_wrong_name_is_refused_with_the_nearest(
    h: Harness, request_: Cordon | Uncordon, reason: str
) -> None:
    assert refused(h, request_) == reason
    assert not h.node(A1).record.cordons


def test_a_gpu_without_uuid_cannot_be_cordoned(h: Harness) -> None:
    lists(h, gpu(0, uuid=""), gpu(1))
    assert refused(h, Cordon(A1, "0")) == (
        "the driver of a1 reports no UUID of GPU 0; drain the node instead"
    )


def test_a_node_that_never_reported_names_no_gpus() -> None:
    unheard = Harness(site().rack("a", 1).build())
    assert refused(unheard, Cordon(A1, "0")) == "a1 has not reported its GPUs yet"
