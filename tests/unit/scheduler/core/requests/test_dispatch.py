"""Who may do what; what is refused, and what would fit instead."""

import math

import msgspec
import pytest

from support.core.harness import Harness, joined
from support.core.sites import JobBuilder, gpu, job, site
from wattline_protocol.ids import DomainId, JobId, NodeId
from wattline_protocol.job.selection import only
from wattline_protocol.job.spec import ArraySpec, ServiceSpec
from wattline_protocol.site.model import Role
from wattline_protocol.wire.client_messages import (
    Acted,
    Cancel,
    DeclareOff,
    DeclareOn,
    Denied,
    Drain,
    GetSite,
    Hold,
    Release,
    Request,
    Requeue,
    Restore,
    Shed,
    Submit,
    Submitted,
    Undrain,
    Update,
)
from wattline_scheduler.core.model.effects import Reply, Save
from wattline_scheduler.records import JobRecord


@pytest.fixture
def h() -> Harness:
    return joined(site().rack("a", 2).rack("b", 1).build())


ON_SITE: list[Request] = [
    Drain(NodeId("a1")),
    Undrain(NodeId("a1")),
    DeclareOff(NodeId("a1"), "a1"),
    DeclareOn(NodeId("a1")),
    Shed(None, fraction=0.1),
    Restore(None),
]
ON_JOBS: list[Request] = [
    Cancel(only(JobId(1))),
    Hold(only(JobId(1))),
    Release(only(JobId(1))),
    Requeue(only(JobId(1)), "t"),
    Update(only(JobId(1)), {"priority": "high"}),
]


@pytest.mark.parametrize("role", ["submitter", "gateway", "agent"])
@pytest.mark.parametrize("request_", ON_SITE, ids=lambda r: type(r).__name__)
def test_the_site_is_for_operators(h: Harness, request_: Request, role: Role) -> None:
    answer = h.ask(request_, role=role)
    assert isinstance(answer, Denied)
    assert answer.kind == "not_allowed"
    assert "operator" in answer.reason


@pytest.mark.parametrize("role", ["gateway", "agent"])
@pytest.mark.parametrize(
    "request_", [*ON_JOBS, Submit(job().build(), "t")], ids=lambda r: type(r).__name__
)
def test_jobs_are_for_submitters(h: Harness, request_: Request, role: Role) -> None:
    answer = h.ask(request_, role=role)
    assert isinstance(answer, Denied)
    assert answer.kind == "not_allowed"


@pytest.mark.parametrize("request_", ON_JOBS, ids=lambda r: type(r).__name__)
def test_submitters_act_on_their_own_jobs_only(h: Harness, request_: Request) -> None:
    h.submit(job(), user="ada")
    answer = h.ask(request_, user="bob", role="submitter")
    assert isinstance(answer, Denied)
    assert "ada" in answer.reason


def test_operators_act_on_all_jobs(h: Harness) -> None:
    number = h.submit(job(), user="ada")
    assert isinstance(h.ask(Cancel(only(number)), user="olga", role="operator"), Acted)


def test_an_unknown_job_and_an_unknown_node_are_not_found(h: Harness) -> None:
    for request_ in (Cancel(only(JobId(99))), Drain(NodeId("z9"))):
        answer = h.ask(request_)
        assert isinstance(answer, Denied)
        assert answer.kind == "not_found"


def test_reads_are_not_for_the_core(h: Harness) -> None:
    answer = h.ask(GetSite())
    assert isinstance(answer, Denied)


def test_the_same_token_gives_the_same_job(h: Harness) -> None:
    first = h.ask(Submit(job().build(), "once"))
    again = h.ask(Submit(job().build(), "once"))
    assert isinstance(first, Submitted)
    assert first == again
    assert len(h.cluster.state.work.jobs) == 1


def test_the_same_token_still_does_after_a_restart(h: Harness) -> None:
    first = h.ask(Submit(job().build(), "once"))
    h.restart_scheduler()
    assert h.ask(Submit(job().build(), "once")) == first


def test_another_users_token_is_another_job(h: Harness) -> None:
    first = h.ask(Submit(job().build(), "once"), user="ada", role="submitter")
    other = h.ask(Submit(job().build(), "once"), user="bob", role="submitter")
    assert first != other


IMPOSSIBLE: list[tuple[JobBuilder, str]] = [
    (job().nodes(4), "the site has 3"),
    (job().gpus(9), "no node has more than 8"),
    (job().gpu_type("mi300"), "the site has NVIDIA H100"),
    (job().gpu_memory(141), "the largest has 80 GiB"),
    (job().gpus(8).cpus_per_gpu(9), "no node has more than 64"),
    (job().memory(513), "no node has more than 512 GiB"),
    (job().nodes(3).same_rack(), "no rack has 3 of them"),
]


@pytest.mark.parametrize(("wanted", "words"), IMPOSSIBLE, ids=[words for _, words in IMPOSSIBLE])
def test_the_impossible_is_refused_at_once_with_what_would_fit(
    h: Harness, wanted: JobBuilder, words: str
) -> None:
    assert words in h.refuse(wanted)


def test_more_watts_than_a_full_budget_has_are_refused_with_the_domain() -> None:
    h = joined(site().rack("a", 1, kw=3.0).build())
    reason = h.refuse(job().gpus(8))
    assert "watts" in reason
    assert "pdu-a" in reason
    h.submit(job().gpus(2))


def test_more_heat_than_a_zone_can_remove_is_refused() -> None:
    h = joined(site().rack("a", 1).zone_budget(3.0).build())
    reason = h.refuse(job().gpus(8))
    assert "cooling" in reason
    assert "room" in reason


def test_a_full_site_and_a_lowered_budget_do_not_make_a_job_impossible(h: Harness) -> None:
    h.submit(job().array(3).gpus(8))
    h.do(Shed(DomainId("site"), fraction=0.9))
    number = h.submit(job().gpus(8))
    assert h.state_of(number) == "PENDING"


LABELS = [
    ({"fabric": "eth"}, "no node has fabric=eth; the site's labels are fabric=ib, fabric=roce"),
    ({"fabrik": "ib"}, "the site's labels are fabric=ib, fabric=roce, storage=nvme"),
    ({"fabric": "ib", "storage": "nvme"}, "nodes with storage=nvme lack fabric=ib"),
]


@pytest.mark.parametrize(("wanted", "words"), LABELS)
def test_labels_that_no_node_has_are_refused_before_any_was_heard(
    wanted: dict[str, str], words: str
) -> None:
    ib = site().rack("a", 2, labels={"fabric": "ib"})
    h = Harness(ib.rack("b", 1, labels={"fabric": "roce", "storage": "nvme"}).build())
    assert words in h.refuse(job().labels(**wanted))
    assert "requests 3 nodes with fabric=ib; the site has 2" in h.refuse(
        job().nodes(3).labels(fabric="ib")
    )
    assert h.state_of(h.submit(job().nodes(2).labels(fabric="ib"))) == "PENDING"


def test_what_labelled_nodes_lack_is_refused_though_others_have_it() -> None:
    h = Harness(site().rack("a", 1, labels={"fabric": "ib"}).rack("b", 1).build())
    h.agent("a1").gpus = h.agent("a1").gpus[:4]
    h.join()
    h.run(2)
    assert "no node has more than 4" in h.refuse(job().gpus(8).labels(fabric="ib"))
    placed = h.submit(job().gpus(4).labels(fabric="ib"))
    assert h.gang(placed).live[0].node == "a1"
    waiting = h.submit(job().labels(fabric="ib"))
    assert h.job(waiting).wait_reason == "waits for gpus: a1: 1 more free GPU"


def test_what_labelled_nodes_lack_is_not_said_of_the_site() -> None:
    h = Harness(site().rack("a", 1, labels={"fabric": "ib"}).rack("b", 1).build())
    h.agent("b1").gpus = [gpu(i, name="NVIDIA A100-SXM4-80GB") for i in range(8)]
    h.join()
    h.run(2)
    said = h.refuse(job().gpu_type("a100").labels(fabric="ib"))
    assert "of nodes with fabric=ib: no GPU is of type a100; they have NVIDIA H100" in said


def test_a_gpu_sold_as_80_gb_is_not_said_to_have_80_gib() -> None:
    h = Harness(site().rack("a", 1).build())
    h.agent("a1").gpus = [
        msgspec.structs.replace(gpu(i), memory_bytes=81_559 << 20) for i in range(8)
    ]
    h.join()
    h.run(2)
    said = h.refuse(job().gpu_memory(80))
    assert "requests GPUs with 80 GiB; the largest has 79.6 GiB" in said
    h.submit(job().gpu_memory(79))


def test_before_nodes_said_hello_nothing_is_judged() -> None:
    h = Harness(site().rack("a", 2).build())
    number = h.submit(job().gpus(64).gpu_type("whatever"))
    assert h.state_of(number) == "PENDING"
    assert "never heard" in h.job(number).wait_reason


def test_one_known_node_does_not_judge_for_the_unknown_one() -> None:
    h = Harness(site().rack("a", 2).build())
    h.join("a1")
    assert h.state_of(h.submit(job().gpu_type("b200"))) == "PENDING"


def test_a_mixed_site_places_by_type(h: Harness) -> None:
    h.agent("b1").gpus = [gpu(i, name="NVIDIA A100-SXM4-40GB", gib=40) for i in range(8)]
    h.join("b1")
    h.run(2)
    number = h.submit(job().gpu_type("A100", "l40s"))
    assert h.gang(number).live[0].node == "b1"


def indices(*numbers: int) -> JobBuilder:
    return job()._with(array=ArraySpec(numbers))


MALFORMED: list[tuple[JobBuilder, str]] = [
    (job(""), "needs a name"),
    (job().priority(101), "between 0 and 100"),
    (job().nodes(0), "at least 1 node"),
    (job().array(0), "1 to 10000"),
    (job().array(10_001), "1 to 10000"),
    (indices(2**63 - 1), "array index 9223372036854775807 is not from 0 to 10000000"),
    (indices(0, -1), "array index -1 is not from 0 to 10000000"),
    (indices(3, 1), "array index 1 follows 3; indices ascend, without duplicates"),
    (indices(3, 3), "array index 3 follows 3"),
    (job().array(2, at_a_time=2**64 - 1), "at_a_time 18446744073709551615 is not from 0"),
    (job()._with(service=ServiceSpec(2)), "replicas are for services"),
    (job().runtime(-1), "negative"),
    (job().runtime(math.nan), "limits.runtime is nan"),
    (job().gpus(2**63), "at most 64 is allowed"),
    (job().nodes(2**63), "at most 4096"),
    (job().cpus_per_gpu(2**64), "at most 1024"),
    (job().memory(2**40), "resources.memory is"),
    (job().gpu_memory(2**40), "resources.gpu_memory_min is"),
    (job().retries(2**63), "at most 1000"),
    (job()._with(env={"X": "y" * 200_000}), "bytes"),
]


@pytest.mark.parametrize(("wanted", "words"), MALFORMED, ids=[words for _, words in MALFORMED])
def test_what_is_malformed_is_refused_in_words(h: Harness, wanted: JobBuilder, words: str) -> None:
    assert words in h.refuse(wanted)


def test_a_submission_is_on_disk_before_it_is_acknowledged(h: Harness) -> None:
    h.effects.clear()
    h.ask(Submit(job().build(), "once"))
    saved = next(
        i
        for i, e in enumerate(h.effects)
        if isinstance(e, Save) and isinstance(e.record, JobRecord)
    )
    replied = next(i for i, e in enumerate(h.effects) if isinstance(e, Reply))
    assert saved < replied
