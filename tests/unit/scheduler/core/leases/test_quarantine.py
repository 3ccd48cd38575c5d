"""Keys whose agents contradict the books again and again (I9)."""

import msgspec
import pytest

from support.core.harness import Harness, joined
from support.core.sites import gpu, job, migs, site
from wattline_protocol.ids import Epoch, GpuIndex, NodeId, Sequence
from wattline_protocol.wire.agent_messages import (
    Adopted,
    Beat,
    GpuInfo,
    LeaseRefused,
    Refused,
    TaskReport,
    TaskUpdate,
    TaskUsage,
)
from wattline_protocol.wire.bounds import MAX_COUNT
from wattline_protocol.wire.client_messages import DeclareOff, Denied, Done
from wattline_protocol.wire.nodes.acts import Readmit
from wattline_protocol.wire.raised_cap import RaisedCap
from wattline_scheduler.core.admission.planner_view import MAX_CPUS
from wattline_scheduler.core.leases.distrust import (
    MAX_CLASSES_OF_HOST,
    MAX_DEVICES_OF_GPU,
    MAX_GPUS_OF_HOST,
    MOST_NAMEPLATES,
)
from wattline_scheduler.core.leases.lease_load import load_of
from wattline_scheduler.core.leases.quarantine import UNRESOLVED_S

LIAR, OTHER = "a1", "a2"


@pytest.fixture
def h() -> Harness:
    return joined(site().rack("a", 2, kw=30.0).build())


def lie(h: Harness) -> None:
    """Names a lease that was never sent."""
    h.say(LIAR, h.agent(LIAR).beat(lease_seq=Sequence(99_999)))


def quarantine(h: Harness) -> None:
    for _ in range(3):
        lie(h)
        h.join(LIAR)
    assert h.node(LIAR).state == "quarantined"


def test_one_contradiction_is_mended_by_a_hello(h: Harness) -> None:
    lie(h)
    assert h.cluster.state.contradicted
    h.join(LIAR)
    assert not h.cluster.state.contradicted
    assert h.node(LIAR).state == "ok"


def test_three_within_ten_minutes_are_quarantined_with_an_alarm(h: Harness) -> None:
    quarantine(h)
    (event,) = h.events("node_quarantined")
    assert event.level == "alarm"
    assert "a1 contradicted the books 3 times within" in event.text
    assert "wattline node readmit a1" in event.text


def test_three_over_a_day_are_not(h: Harness) -> None:
    for _ in range(5):
        lie(h)
        h.join(LIAR)
        h.mono_s += 400
    assert h.node(LIAR).state == "ok"


def test_one_that_says_no_hello_is_quarantined(h: Harness) -> None:
    lie(h)
    h.mono_s += UNRESOLVED_S + 1
    h.tick()
    assert h.node(LIAR).record.is_quarantined


def test_it_counts_in_full_whatever_it_says(h: Harness) -> None:
    quarantine(h)
    full_kw = h.node(LIAR).site.nameplate_mw / 1e6
    assert h.committed_kw(LIAR) == pytest.approx(full_kw)
    h.join(LIAR)
    agent = h.agent(LIAR)
    h.say(LIAR, Adopted(agent.epoch, agent.incarnation, 3_000_000, (200_000,) * 8, ()))
    lie(h)
    assert h.committed_kw(LIAR) == pytest.approx(full_kw)
    assert h.cluster.state.books.entry(NodeId(LIAR)).standing == "full"


def test_the_rest_of_the_domain_grows_again(h: Harness) -> None:
    quarantine(h)
    number = h.submit(job().gpus(8))
    h.run(5)
    assert h.gang(number).phase_name == "running"
    assert h.gang(number).live[0].node == OTHER


def test_nothing_is_placed_there(h: Harness) -> None:
    quarantine(h)
    first, second = h.submit(job().gpus(8)), h.submit(job().gpus(8))
    h.run(5)
    assert {h.gang(first).phase_name, h.gang(second).phase_name} == {"running", "pending"}


def test_what_runs_there_is_followed_to_its_end(h: Harness) -> None:
    number = h.submit(job().gpus(8))
    h.run(5)
    name = h.gang(number).live[0].node
    for _ in range(3):
        h.say(name, h.agent(name).beat(lease_seq=Sequence(99_999)))
        h.join(name)
    assert h.node(name).state == "quarantined"
    assert h.gang(number).phase_name == "running"
    h.agent(name).end(h.gang(number).live[0].record.ref)
    h.run(3)
    assert h.gang(number).phase_name == "ended"


def test_it_survives_a_restart(h: Harness) -> None:
    quarantine(h)
    h.restart_scheduler()
    h.join()
    assert h.node(LIAR).state == "quarantined"
    assert h.cluster.state.books.entry(NodeId(LIAR)).standing == "full"


def test_an_operator_readmits_it(h: Harness) -> None:
    quarantine(h)
    assert isinstance(h.ask(Readmit(NodeId(LIAR), "new key"), user="olga"), Done)
    (event,) = h.events("node_readmitted")
    assert (event.actor, "new key" in event.text) == ("olga", True)
    assert h.cluster.state.books.entry(NodeId(LIAR)).standing == "full", "until it says Hello"
    h.run(3)
    assert h.cluster.state.books.entry(NodeId(LIAR)).standing == "leased"
    assert h.node(LIAR).state == "ok"


def test_readmitting_takes_a_quarantine_and_an_operator(h: Harness) -> None:
    answer = h.ask(Readmit(NodeId(OTHER)))
    assert isinstance(answer, Denied)
    assert answer.reason == "a2 is not quarantined (state: ok)"
    assert isinstance(h.ask(Readmit(NodeId(LIAR)), role="submitter"), Denied)


def test_off_counts_nothing_and_heard_again_counts_in_full(h: Harness) -> None:
    quarantine(h)
    h.agent(LIAR).is_powered = False
    h.run(20)
    h.ask(DeclareOff(NodeId(LIAR), confirmation=LIAR))
    assert h.committed_kw(LIAR) == 0
    h.agent(LIAR).is_powered = True
    h.join(LIAR)
    assert h.node(LIAR).state == "quarantined"
    assert h.committed_kw(LIAR) == pytest.approx(h.node(LIAR).site.nameplate_mw / 1e6)


def test_in_full_above_the_budget_is_an_overrun_with_its_cause(h: Harness) -> None:
    h = joined(site().rack("a", 2, kw=11.5).build())
    quarantine(h)
    assert "pdu-a" in h.cluster.state.overruns


# --- lies of other kinds ----------------------------------------------------------------


@pytest.mark.parametrize("mw", [0, 1, 10_000_000_000])
def test_an_impossible_holding_is_never_booked(h: Harness, mw: int) -> None:
    for _ in range(3):
        h.say(LIAR, h.agent(LIAR).hello())
        agent = h.agent(LIAR)
        h.say(LIAR, Adopted(agent.epoch, agent.incarnation, mw, (200_000,) * 8, ()))
        agent.said.clear()
        assert h.committed_kw(LIAR) * 1e6 <= MOST_NAMEPLATES * h.node(LIAR).site.nameplate_mw
    assert h.events("books_contradicted")


def hello_with(h: Harness, gpus: tuple[GpuInfo, ...]) -> str:
    """What a Hello with other GPUs is refused for; empty = it is not."""
    agent = h.agent(LIAR)
    agent.gpus, agent.caps_mw = list(gpus), {one.index: one.cap_max_mw for one in gpus}
    h.sent.clear()
    h.say(LIAR, agent.hello())
    agent.said.clear()
    refused = [m.reason for m in h.sent_to(LIAR, Refused) if isinstance(m, Refused)]
    return refused[-1] if refused else ""


def small(index: int, **more: object) -> GpuInfo:
    """One of many that a host could supply with power."""
    watts = {"cap_min_mw": 20_000, "cap_default_mw": 30_000, "cap_max_mw": 30_000}
    return gpu(index, idle_mw=9_000, **watts, **more)  # type: ignore[arg-type]  # as there


def test_no_host_has_so_many_gpus_that_every_tick_and_plan_is_slow(h: Harness) -> None:
    assert not hello_with(h, tuple(map(small, range(MAX_GPUS_OF_HOST))))
    many = hello_with(h, tuple(map(small, range(MAX_GPUS_OF_HOST + 1))))
    assert many == "a1 reports 65 GPUs, a host has 64 at most"
    profiles = ("1g.10gb",) * (MAX_DEVICES_OF_GPU + 1)
    assert not hello_with(h, (small(0, mig=migs(*profiles[1:])),))
    divided = hello_with(h, (small(0, mig=migs(*profiles)),))
    assert divided == "a1 reports more than 7 MIG devices of a GPU"


def test_a_quarantine_names_what_each_hello_was_refused_for() -> None:
    """It said that there was no Hello, and the node's state was `never heard`."""
    h = Harness(site().rack("a", 2, kw=30.0).build())
    assert hello_with(h, tuple(map(small, range(MAX_GPUS_OF_HOST + 1))))
    h.mono_s += UNRESOLVED_S + 1
    h.tick()
    node, (event,) = h.node(LIAR), h.events("node_quarantined")
    cause = "reports 65 GPUs, a host has 64 at most; no Hello has resolved this within 31 s"
    assert event.text.startswith(f"a1 {cause}: its key is quarantined.")
    assert (node.state, node.reason) == ("quarantined", f"{cause}; see `wattline node readmit a1`")


def test_a_host_with_too_many_cpus_is_offered_with_as_many_as_there_may_be(h: Harness) -> None:
    """A table of the planner was of their number: it took 16 GiB, and the scheduler ended."""
    h.say(LIAR, msgspec.structs.replace(h.agent(LIAR).hello(), cpus=MAX_COUNT))
    h.settle()
    h.run(1)
    number = h.submit(job().gpus(1))
    h.run(2)
    assert h.state_of(number) == "RUNNING"
    columns, at = h.cluster.state.fleet_view.columns, h.cluster.state.fleet_view.position
    assert columns.cpus[at[h.node(LIAR).id]] == MAX_CPUS


def test_one_key_makes_no_endless_number_of_gpu_classes(h: Harness) -> None:
    """The planner forgets none: each plan would be slower with each Hello."""
    refusals = []
    for number in range(2 * MAX_CLASSES_OF_HOST // MAX_GPUS_OF_HOST):
        at = range(MAX_GPUS_OF_HOST)
        refusals.append(hello_with(h, tuple(small(n, name=f"model {number} {n}") for n in at)))
        h.run(1)
    assert not any(refusals[:3])
    text = "a1 has reported more than 256 kinds of GPUs since the scheduler started"
    assert set(refusals[4:]) == {text}
    others = 1  # "no GPU"
    assert len(h.cluster.state.fleet_view.columns.classes) <= MAX_CLASSES_OF_HOST + others
    assert not hello_with(h, tuple(gpu(at) for at in range(8)))


def test_a_floor_that_cannot_be_is_found_whatever_made_it(h: Harness) -> None:
    """Each figure alone may be: only together with a placement they exceed the nameplate."""
    limit_mw = MOST_NAMEPLATES * h.node(LIAR).site.nameplate_mw
    h.submit(job().gpus(8))
    h.submit(job().gpus(8))
    h.run(3)
    node = h.node(LIAR)
    assert node.load is not None
    node.gpus = {
        at: msgspec.structs.replace(gpu, cap_min_mw=gpu.cap_max_mw, cap_max_mw=3 * gpu.cap_max_mw)
        for at, gpu in node.gpus.items()
    }
    node.non_gpu_worst_mw = node.site.nameplate_mw
    node.load = load_of(h.cluster.state, node, h.now)  # as a placement or a division leaves it
    while node.load.floor_mw <= limit_mw:
        node.gpus = {
            at: msgspec.structs.replace(gpu, cap_min_mw=2 * gpu.cap_min_mw)
            for at, gpu in node.gpus.items()
        }
        node.load = load_of(h.cluster.state, node, h.now)
    h.say(LIAR, h.agent(LIAR).beat())
    assert any("more than 2 times its nameplate" in e.text for e in h.events("books_contradicted"))


def test_a_refusal_names_no_more_than_the_books_have(h: Harness) -> None:
    h.submit(job().gpus(8))
    h.run(3)
    node = next(n for n in h.cluster.state.nodes.values() if n.attempts)
    agent = h.agent(node.id)
    h.say(node.id, LeaseRefused(agent.epoch, agent.incarnation, node.lease_seq, 9 * 10**9, "no"))
    assert node.lowest_mw <= h.cluster.state.books.committed_mw(node.id)


def test_a_node_adds_nothing_to_what_others_used(h: Harness) -> None:
    """An attempt of another node that was lost is not for this one to tell about."""
    number = h.submit(job().gpus(8))
    h.run(3)
    attempt = h.gang(number).live[0]
    mine, other = attempt.node, OTHER if attempt.node == LIAR else LIAR
    h.agent(mine).is_powered = False
    h.run(20)
    h.ask(DeclareOff(NodeId(mine), confirmation=mine))
    before = h.job(number).spent
    report = TaskReport(attempt.record.ref, "ended", (), usage=TaskUsage(gpu_s=1e9))
    liar = h.agent(other)
    h.say(other, TaskUpdate(liar.epoch, liar.incarnation, report))
    assert h.job(number).spent == before


def test_one_key_cannot_stop_growth_by_an_epoch_of_its_own(h: Harness) -> None:
    """All others were heard in this run, so their entries are right whatever the epoch is."""
    h.say(LIAR, h.agent(LIAR).hello(epoch_seen=Epoch(10_000)))
    assert h.cluster.state.contradicted
    h.agent(LIAR).is_powered = False
    h.mono_s += UNRESOLVED_S + 1
    h.tick()
    assert h.node(LIAR).record.is_quarantined
    assert not h.cluster.state.contradicted


def test_an_epoch_claim_stands_while_others_were_not_heard() -> None:
    """Then it may be true, and the store an old copy."""
    h = joined(site().rack("a", 2, kw=30.0).build())
    h.restart_scheduler()
    h.say(LIAR, h.agent(LIAR).hello(epoch_seen=Epoch(10_000)))
    h.mono_s += UNRESOLVED_S + 1
    h.tick()
    assert not h.node(LIAR).record.is_quarantined
    assert h.cluster.state.contradicted


def test_a_raised_cap_names_job_and_user(h: Harness) -> None:
    number = h.submit(job().gpus(8))
    h.run(3)
    attempt = h.gang(number).live[0]
    raised = RaisedCap(GpuIndex(0), 700_000, 300_000, culprits=(attempt.record.ref,))
    beat: Beat = h.agent(attempt.node).beat(raised=(raised,))
    h.say(attempt.node, beat)
    (event,) = h.events("cap_uncontrolled")
    assert event.level == "alarm"
    assert f"job {number} of {h.job(number).record.owner} had the rights" in event.text
    unknown = RaisedCap(GpuIndex(0), 700_000, 300_000)
    h.say(attempt.node, h.agent(attempt.node).beat(raised=(unknown,)))
    (problem,) = (p for p in h.cluster.state.problems.open.values())
    assert "caps changed by an unknown process" in problem.record.evidence
    h.say(attempt.node, h.agent(attempt.node).beat())
    assert len(h.events("cap_holds")) == 1
