"""Who can never start in a reservation is refused; what becomes so later says never, and stays."""

from collections.abc import Callable

import msgspec
import pytest

from support.core.harness import BEAT_S, Harness, end_one, joined
from support.core.parts import explain_job
from support.core.reserved import HOUR_S, kept, nodes_of, reason, started
from support.core.sites import JobBuilder, gpu, job, site
from support.programs.fake_agents import FakeAgent
from wattline_protocol.ids import NodeId
from wattline_protocol.job.selection import only
from wattline_protocol.job.spec import SecretUse
from wattline_protocol.text.quantities import parse_duration_s
from wattline_protocol.wire.client_messages import Denied, Update
from wattline_protocol.wire.reservations import Unreserve


def test_what_never_fits_on_its_nodes_is_refused() -> None:
    """Here or by an update; a node that was never heard may have anything."""
    plain = site().rack("a", 2, kw=80.0).site_budget(80.0).build()
    h = Harness(plain)
    h.join("a1")
    h.do(kept())
    text = "reservation course is not sufficient: requests 2 nodes; it has 1"
    assert h.refuse(job().nodes(2).reservation("course")) == text
    outside = h.submit(job().nodes(2))
    answer = h.ask(Update(only(outside), {"reservation": "course"}))
    assert isinstance(answer, Denied)
    assert text in answer.reason
    h.do(kept("unheard", nodes=("a2",)))
    h.submit(job().gpus(8).reservation("unheard"))


WEAK_KW = 6.0
"""For the floors of one node at work, and not of two."""


def unlike() -> Harness:
    """Rack b is too weak for a gang of all its GPUs; only rack a has the fabric."""
    racks = site().rack("a", 3, kw=80.0, labels={"fabric": "ib"}).rack("b", 2, kw=WEAK_KW)
    h = joined(racks.site_budget(160.0).build())
    h.do(kept(nodes=("b*",)))
    return h


@pytest.mark.parametrize(
    ("wanted", "lacks"),
    [
        (lambda: job().nodes(3), "is not sufficient: requests 3 nodes; it has 2"),
        (
            lambda: job().labels(fabric="ib"),
            "is not sufficient: requests 1 node with fabric=ib; it has 0",
        ),
        (
            lambda: job().nodes(2).gpus(8),
            "were empty, at full budgets: 1 of 2 nodes found; waits for watts: b2: ",
        ),
    ],
)
def test_a_refusal_says_what_the_nodes_of_a_reservation_lack(
    wanted: Callable[[], JobBuilder], lacks: str
) -> None:
    h = unlike()
    assert f"reservation course {lacks}" in h.refuse(wanted().reservation("course"))
    h.submit(wanted())


def test_a_refusal_says_what_gpus_the_nodes_of_a_reservation_have() -> None:
    h = Harness(site().rack("a", 2, kw=80.0).site_budget(80.0).build())
    h.agents[NodeId("a1")] = FakeAgent(NodeId("a1"), [gpu(at) for at in range(4)])
    h.join()
    h.run(2)
    h.do(kept())
    text = "reservation course is not sufficient: requests 8 GPUs per node; no node has more than 4"
    assert h.refuse(job().gpus(8).reservation("course")).startswith(text)


def test_who_would_not_have_ended_when_another_one_follows_is_refused_with_what_would_do() -> None:
    h = started()
    h.do(kept(nodes=("a*",), for_s=600.0))
    h.do(kept("night", nodes=("a1",), start="in 10m", is_maintenance=True))

    def asks(nodes: int, runtime_s: float) -> JobBuilder:
        return job().gpus(8).nodes(nodes).runtime(runtime_s).reservation("course")

    refused = h.refuse(asks(2, 2 * HOUR_S))
    begins, _, limit = refused.partition("; a run time limit of ")
    assert begins.startswith("reservation night for maintenance begins 2023-11-14 22:23 UTC, its")
    assert limit == "8m would do (--time)"
    h.run(30)
    assert nodes_of(h, h.submit(asks(1, 2 * HOUR_S))) == ["a2"], "nothing follows there"
    both = h.submit(asks(2, parse_duration_s(limit.partition(" ")[0])))
    assert h.state_of(both) == "PENDING"
    h.do(kept("day", nodes=("a2",), start="in 10m", is_maintenance=True))
    assert "would do (--time)" in h.refuse(asks(1, 2 * HOUR_S))
    h.run(600 - 90, BEAT_S)
    assert h.refuse(asks(1, 60.0)).endswith("; name another one, or none")


def test_nodes_that_lack_its_secrets_yet_are_those_of_a_job_in_a_reservation() -> None:
    h = started()
    h.do(kept(nodes=("a*",)))
    wanted = job().gpus(8).nodes(2).runtime(600.0).reservation("course")
    uses = {"KEY": SecretUse("wandb")}
    number = h.submit(JobBuilder(msgspec.structs.replace(wanted.build(), secrets=uses)))
    assert "no node has secret wandb of user ada" in h.job(number).wait_reason
    assert not h.events("books_contradicted")


def test_who_has_not_said_how_long_it_runs_is_let_in_and_told() -> None:
    """Others of its kind may tell how long it takes."""
    h = started()
    h.do(kept())
    h.do(kept("night", start="in 1h", is_maintenance=True))
    number = h.submit(job().reservation("course"))
    never = "and it may not end by then: it can never start there (--time)"
    assert reason(h, number).startswith("waits for reservation: a1: reservation night for mainten")
    assert reason(h, number).endswith(never)
    h.do(Update(only(number), {"time": "10m"}))
    assert h.state_of(number) == "RUNNING"


def test_what_follows_later_lets_who_waits_start_never_and_taken_back_again() -> None:
    h = started(nodes=1)
    holder = h.submit(job().gpus(8).runtime(1_000.0))
    h.do(kept(for_s=600.0))
    number = h.submit(job().gpus(8).runtime(300.0).reservation("course"))
    h.run(1)
    assert reason(h, number) == "waits for gpus: a1: 8 more free GPUs"
    h.do(kept("night", start="in 10m", is_maintenance=True))
    h.run(320, BEAT_S)
    view = explain_job(h.cluster.state, h.job(number), h.now)
    assert view.start_unix_s is None
    assert view.start_why.startswith("never: reservation night for maintenance begins 2023-11-14 ")
    end_one(h, holder, 1)
    assert "it may not end by then: it can never start there" in reason(h, number)
    h.do(Update(only(number), {"priority": 60}))
    h.do(Unreserve("night"))
    h.run(1)
    assert h.state_of(number) == "RUNNING"


def test_a_longer_limit_that_what_follows_does_not_leave_is_refused() -> None:
    h = started(nodes=1)
    h.do(kept())
    h.do(kept("night", start="in 1h", is_maintenance=True))
    runs = h.submit(job().gpus(8).runtime(1_800.0).reservation("course"))
    waits = h.submit(job().gpus(8).runtime(1_800.0).reservation("course"))
    refused = h.ask(Update(only(waits), {"time": "2h"}))
    assert isinstance(refused, Denied)
    assert refused.reason.startswith(f"job {waits} could never start: reservation night for maint")
    h.do(Update(only(runs), {"time": "2h"}))
    assert h.state_of(runs) == "RUNNING"


def test_a_node_that_turns_out_to_have_less_lets_who_waits_start_never() -> None:
    h = Harness(site().rack("a", 2, kw=80.0).site_budget(80.0).build())
    h.join("a1")
    h.do(kept(nodes=("a2",)))
    number = h.submit(job().gpus(8).reservation("course"))
    assert "never heard" in reason(h, number)
    h.agents[NodeId("a2")] = FakeAgent(NodeId("a2"), [gpu(at) for at in range(4)])
    h.join("a2")
    never = "can never start: reservation course is not sufficient: requests 8 GPUs per node"
    assert reason(h, number).startswith(never)
    h.agents[NodeId("a2")] = FakeAgent(NodeId("a2"))
    h.join("a2")
    h.run(2)
    assert nodes_of(h, number) == ["a2"]


def test_what_may_hold_its_place_until_its_reservation_ends_is_why_nobody_can_say_when() -> None:
    h = started(nodes=1)
    h.submit(job().gpus(8).runtime(2 * HOUR_S))
    h.do(kept())
    number = h.submit(job().gpus(1).reservation("course"))
    view = explain_job(h.cluster.state, h.job(number), h.now)
    said = "jobs on its nodes may run until the nodes are reserved"
    assert (view.start_unix_s, view.start_why) == (None, f"unknown: {said}")
