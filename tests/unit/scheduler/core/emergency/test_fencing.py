"""Hosts that do not answer while a lowered budget is not met: switched off, and only then (I4)."""

from collections.abc import Callable

import msgspec
import pytest

from support.core.harness import Harness
from support.core.sites import SiteBuilder, job, site
from wattline_protocol.ids import DomainId, Instant, JobId, NodeId
from wattline_protocol.site.model import Site
from wattline_protocol.site.out_of_band import OffByCommand, OutOfBand
from wattline_protocol.wire.client_messages import (
    Answer,
    DeclareOff,
    DeclareOn,
    Denied,
    Done,
    Drain,
    Request,
    Restore,
    Shed,
)
from wattline_scheduler.core.leases.leases import STUCK_AFTER_S
from wattline_scheduler.core.model.effects import ActOutOfBand, Save
from wattline_scheduler.core.model.events import OutOfBandDone
from wattline_scheduler.core.model.power_off_attempts import BACKOFF_FIRST_S, BACKOFF_LONGEST_S
from wattline_scheduler.records import EventRecord

PDU = DomainId("pdu-a")
FULL = OutOfBand(OffByCommand(("status",), ("off",)), timeout_s=10.0)
ASKED_ONLY = OutOfBand(OffByCommand(("status",)), timeout_s=10.0)
NOT_BY_ITSELF = msgspec.structs.replace(FULL, is_automatic=False)


def with_switches(builder: SiteBuilder, declared: OutOfBand | None = FULL) -> Site:
    built = builder.build()
    nodes = tuple(msgspec.structs.replace(n, out_of_band=declared) for n in built.nodes)
    return msgspec.structs.replace(built, nodes=nodes)


def busy(declared: OutOfBand | None = FULL, nodes: int = 2, kw: float = 16.0) -> Harness:
    """Every node runs a job of 8 GPUs, the priority rises with its number, the PDU is tight."""
    h = Harness(with_switches(site().rack("a", nodes, kw=kw), declared))
    h.join()
    for _ in range(nodes):
        h.submit(job().gpus(8).priority(25))
    h.run(10)
    assert all(h.node(n.id).attempts for n in h.site.nodes)
    return h


@pytest.fixture
def h() -> Harness:
    return busy()


def acts(h: Harness) -> list[ActOutOfBand]:
    return [effect for effect in h.effects if isinstance(effect, ActOutOfBand)]


def hang(h: Harness, *names: str) -> None:
    """Their drivers hang: they beat on and acknowledge nothing."""
    for name in names:
        h.agent(name).is_slow_to_ack = True


def shed(h: Harness, kw: float) -> None:
    h.do(Shed(PDU, by_mw=int(kw * 1e6)))


def done(h: Harness, error: str = "", *, ago_s: float = 0.0) -> None:
    """What came of the newest try: off, or why not."""
    act = acts(h)[-1]
    seen_at = None if error else Instant(h.mono_s - ago_s)
    if not error:
        h.agent(act.node).switch_off()
    h.handle(OutOfBandDone(act.node, act.number, seen_at, error))
    h.settle()


def ask_later(h: Harness, request: Request) -> Callable[[], Answer | None]:
    """Ask for what is answered later; tells the answer once there is one."""
    number = h.start(request)
    return lambda: h.replies.get(number)


def headroom_kw(h: Harness) -> float:
    return h.cluster.state.books.headroom_mw(PDU) / 1e6


# --- when ---------------------------------------------------------------------------------


def test_a_node_that_does_not_answer_is_switched_off_when_the_others_cannot_make_it_up(
    h: Harness,
) -> None:
    hang(h, "a1")
    shed(h, 12.0)
    h.run(STUCK_AFTER_S - 0.5)
    assert not acts(h), "its time to answer is not over"
    h.run(15)
    assert [(act.node, act.power_off) for act in acts(h)] == [("a1", True)]
    assert headroom_kw(h) < 0, "an order to switch off frees nothing"
    done(h)
    assert h.node("a1").state == "off"
    assert h.committed_kw("a1") == 0.0
    assert headroom_kw(h) >= 0
    assert h.events("out_of_band_ordered")[-1].actor == "scheduler"
    assert "its out-of-band status" in h.events("node_off")[-1].text


def test_the_order_is_in_the_audit_log_on_disk_before_it_is_given(h: Harness) -> None:
    hang(h, "a1")
    shed(h, 12.0)
    h.run(15)
    order = acts(h)[0]
    at = h.effects.index(order)
    saved = [e.record for e in h.effects[:at] if isinstance(e, Save)]
    kinds = [r.event.kind for r in saved if isinstance(r, EventRecord)]
    assert "out_of_band_ordered" in kinds


def test_what_reachable_nodes_can_give_is_taken_first(h: Harness) -> None:
    hang(h, "a1")
    shed(h, 5.0)
    h.run(60)
    assert headroom_kw(h) >= 0
    assert not acts(h)


def test_reachable_nodes_are_paused_before_anybody_is_switched_off(h: Harness) -> None:
    """The one that answers can come down to idle: no cap is enough, a pause is."""
    hang(h, "a1")
    idle_kw = 1.75
    shed(h, 16.0 - h.committed_kw("a1") - idle_kw)
    h.run(60)
    assert h.events("gang_paused")
    assert headroom_kw(h) >= 0
    assert not acts(h)


def test_nobody_is_switched_off_without_an_overrun(h: Harness) -> None:
    hang(h, "a1")
    h.cut_off.add(NodeId("a2"))
    h.run(60)
    assert not acts(h)


def test_nobody_who_answers_is_switched_off(h: Harness) -> None:
    """The budget is below what both draw idle: nothing the nodes do is enough."""
    shed(h, 15.0)
    h.run(60)
    assert headroom_kw(h) < 0
    assert not acts(h)
    assert h.cluster.state.overruns[PDU].since_unix_s > 0


def test_a_node_that_was_silent_before_is_switched_off(h: Harness) -> None:
    h.cut_off.add(NodeId("a1"))
    h.run(20)
    shed(h, 12.0)
    h.run(15)
    assert [act.node for act in acts(h)] == ["a1"]


def test_a_node_that_is_away_for_a_moment_is_waited_for(h: Harness) -> None:
    """Its agent took its leave a moment ago: nothing was sent to it yet."""
    h.agent("a1").say_farewell()
    h.settle()
    h.cut_off.add(NodeId("a1"))
    shed(h, 12.0)
    h.run(10)
    assert not acts(h)
    h.run(20)
    assert [act.node for act in acts(h)] == ["a1"]


@pytest.mark.parametrize("declared", [None, ASKED_ONLY, NOT_BY_ITSELF], ids=["none", "ask", "off"])
def test_without_an_automatic_way_the_overrun_is_only_shown(declared: OutOfBand | None) -> None:
    h = busy(declared)
    hang(h, "a1")
    shed(h, 12.0)
    h.run(60)
    assert not acts(h)
    assert headroom_kw(h) < 0
    assert PDU in h.cluster.state.overruns


def test_a_domain_above_its_full_budget_is_no_reason(h: Harness) -> None:
    """A node that contradicts the books counts in full: nobody lowered a budget."""
    h.cut_off.add(NodeId("a1"))
    h.say("a2", h.agent("a2").beat(holding_mw=9_999_000))
    h.cut_off.add(NodeId("a2"))
    h.run(60)
    assert headroom_kw(h) < 0
    assert not acts(h)


def test_those_who_could_give_but_do_not_are_not_waited_for_for_ever(h: Harness) -> None:
    """a2 answers and could come down to idle by a pause, but its tasks do not freeze."""
    h.agent("a2").is_unstoppable = True
    hang(h, "a1")
    shed(h, 16.0 - h.committed_kw("a1") - 1.75)
    grace_s = h.site.timing.emergency_grace_s
    h.run(STUCK_AFTER_S + grace_s)
    assert not acts(h)
    h.run(15)
    assert [act.node for act in acts(h)] == ["a1"]


# --- whom ---------------------------------------------------------------------------------


def four(kw: float = 32.0) -> Harness:
    """Four busy nodes; the priority of their work falls from a1 to a4."""
    h = Harness(with_switches(site().rack("a", 4, kw=kw)))
    h.join()
    names = [node.id for node in h.site.nodes]
    for priority in (75, 50, 25, 10):
        number = h.submit(job().gpus(8).priority(priority))
        names.remove(node_of(h, number))
    assert not names
    h.run(10)
    return h


def node_of(h: Harness, number: JobId) -> NodeId:
    return h.gang(number).live[0].node


def by_priority(h: Harness) -> list[NodeId]:
    """Nodes, that of the lowest priority first."""
    jobs = sorted(h.cluster.state.work.jobs.values(), key=lambda j: j.spec.priority)
    return [node_of(h, j.id) for j in jobs]


def test_the_lowest_priority_goes_first_and_as_few_as_suffice() -> None:
    h = four()
    lowest = by_priority(h)[:3]
    hang(h, *by_priority(h))
    spare_kw = headroom_kw(h)
    shed(h, spare_kw + 1.0)
    h.run(15)
    assert [act.node for act in acts(h)] == [lowest[0]]
    shed(h, spare_kw + h.committed_kw(lowest[0]) + 1.0)
    h.run(5)
    assert sorted(act.node for act in acts(h)) == sorted(lowest[:2]), "one is on its way already"


def test_a_node_that_fails_is_replaced_by_another_and_left_alone_for_longer_each_time() -> None:
    h = four()
    first, second = by_priority(h)[:2]
    hang(h, *by_priority(h))
    shed(h, headroom_kw(h) + 1.0)
    h.run(15)
    done(h, "HTTP 503")
    assert h.events("out_of_band_failed")[-1].level == "alarm"
    assert h.committed_kw(first) > 0
    h.run(1.2)
    assert [act.node for act in acts(h)] == [first, second]
    tries = h.cluster.state.off_attempts
    waits = [tries.failed(first, Instant(0.0)) for _ in range(9)]
    assert waits[0] == 2 * BACKOFF_FIRST_S
    assert waits[-1] == BACKOFF_LONGEST_S


def test_one_node_has_one_try_at_a_time_and_it_is_given_up(h: Harness) -> None:
    hang(h, "a1")
    shed(h, 12.0)
    h.run(13)
    assert len(acts(h)) == 1
    h.run(FULL.timeout_s)
    assert "no result" in h.events("out_of_band_failed")[-1].text
    done(h)
    assert h.committed_kw("a1") > 0, "what comes after it was given up says nothing"
    h.agent("a1").is_powered = True
    h.run(BACKOFF_FIRST_S + 2)
    assert len(acts(h)) == 2
    assert acts(h)[1].number != acts(h)[0].number


# --- what is believed ---------------------------------------------------------------------


def in_need() -> Harness:
    """a1 hangs, and is being switched off."""
    h = busy()
    hang(h, "a1")
    shed(h, 12.0)
    h.run(13)
    assert len(acts(h)) == 1
    return h


def test_a_host_that_was_heard_after_it_was_seen_off_is_not_off() -> None:
    h = in_need()
    h.agent("a1").say_beat()
    h.settle()
    done(h, ago_s=0.001)
    assert h.node("a1").state != "off"
    assert "does the BMC belong to this host?" in h.events("out_of_band_failed")[-1].text


def test_an_old_confirmation_says_nothing() -> None:
    h = in_need()
    h.cut_off.add(NodeId("a1"))
    h.mono_s += 8.0
    done(h, ago_s=7.0)
    assert h.node("a1").state != "off"
    assert h.committed_kw("a1") > 0


@pytest.mark.parametrize("newer", ["hello", "on"])
def test_something_newer_than_the_order_voids_it(newer: str) -> None:
    h = in_need()
    if newer == "hello":
        h.join("a1")
    else:
        h.ask(DeclareOn(NodeId("a1")))
    done(h)
    assert h.node("a1").state != "off"
    assert h.committed_kw("a1") > 0


@pytest.mark.parametrize("restarts", [False, True])
def test_a_node_that_somebody_is_about_to_switch_on_is_left_alone(restarts: bool) -> None:
    """Between a look at a host that is off and its counting, it might be on again."""
    h = busy()
    h.cut_off.add(NodeId("a1"))
    h.run(20)
    h.do(DeclareOn(NodeId("a1")))
    assert h.events("node_spared")[-1].actor == "ops"
    shed(h, 12.0)
    if restarts:
        h.restart_scheduler()
        h.join("a2")
    h.run(30)
    assert not acts(h)
    hang(h, "a1")
    h.cut_off.clear()
    if restarts:
        h.join("a1")
    h.run(15)
    assert [act.node for act in acts(h)] == ["a1"], "it was heard since"


def test_a_node_declared_on_is_left_to_whoever_works_on_it() -> None:
    h = in_need()
    done(h)
    h.do(DeclareOn(NodeId("a1")))
    assert h.committed_kw("a1") == pytest.approx(10.2)
    h.run(60)
    assert len(acts(h)) == 1


def test_a_host_that_speaks_after_it_was_counted_off_counts_in_full_at_once() -> None:
    h = in_need()
    done(h)
    h.agent("a1").is_powered = True
    h.agent("a1").say_beat()
    h.settle()
    assert h.events("node_off_but_heard")[-1].level == "alarm"


def test_what_ran_there_is_lost_and_runs_again_elsewhere() -> None:
    h = in_need()
    (number,) = (j.id for j in h.cluster.state.work.jobs.values() if node_of(h, j.id) == "a1")
    done(h)
    h.do(Restore(PDU))
    h.agent("a2").end_all()
    h.settle()
    h.run(3)
    assert node_of(h, number) == "a2"


def test_after_a_restart_it_is_asked_again() -> None:
    """The order died with the scheduler; the budget is still lowered and a1 still silent."""
    h = in_need()
    h.cut_off.add(NodeId("a1"))
    h.restart_scheduler()
    h.agent("a2").say_hello()
    h.settle()
    h.run(10)
    assert len(acts(h)) == 1, "it may come back in the time that isolation takes"
    h.run(15)
    assert [act.node for act in acts(h)] == ["a1", "a1"]
    done(h)
    assert headroom_kw(h) >= 0


# --- for operators ------------------------------------------------------------------------

A1 = NodeId("a1")


def silent(declared: OutOfBand | None = FULL) -> Harness:
    h = busy(declared)
    h.cut_off.add(A1)
    h.run(20)
    return h


def test_node_off_asks_and_answers_once_it_is_known() -> None:
    h = silent()
    answer = ask_later(h, DeclareOff(A1))
    assert answer() is None
    assert acts(h)[-1].power_off is False
    done(h)
    assert isinstance(answer(), Done)
    assert h.events("node_off")[-1].actor == "ops"
    assert h.committed_kw("a1") == 0.0


def test_node_off_says_why_it_is_not_confirmed() -> None:
    h = silent(ASKED_ONLY)
    answer = ask_later(h, DeclareOff(A1))
    done(h, "its power state is on")
    denied = answer()
    assert isinstance(denied, Denied)
    assert "its power state is on" in denied.reason
    assert "--confirm a1" in denied.reason
    assert h.committed_kw("a1") > 0


def test_power_off_switches_it_off() -> None:
    h = silent(NOT_BY_ITSELF)
    answer = ask_later(h, DeclareOff(A1, power_off=True, reason="smoke"))
    assert acts(h)[-1].power_off is True
    done(h)
    assert isinstance(answer(), Done)
    assert "smoke" in h.node("a1").reason


def test_a_typed_confirmation_still_counts() -> None:
    h = silent()
    h.do(DeclareOff(A1, "a1"))
    assert not acts(h)
    assert h.committed_kw("a1") == 0.0


@pytest.mark.parametrize(
    ("declared", "request_", "said"),
    [
        (None, DeclareOff(A1), "is not the node's name"),
        (None, DeclareOff(A1, power_off=True), "names no out-of-band way"),
        (ASKED_ONLY, DeclareOff(A1, power_off=True), "names no out-of-band way"),
    ],
)
def test_without_a_way_it_is_refused(
    declared: OutOfBand | None, request_: DeclareOff, said: str
) -> None:
    h = silent(declared)
    answer = h.ask(request_)
    assert isinstance(answer, Denied)
    assert said in answer.reason


def test_a_second_operator_is_told_to_wait() -> None:
    h = silent()
    ask_later(h, DeclareOff(A1))
    second = h.ask(DeclareOff(A1, power_off=True))
    assert isinstance(second, Denied)
    assert "already" in second.reason


def test_a_node_that_is_heard_must_be_drained_before_it_is_switched_off(h: Harness) -> None:
    for wanted in (DeclareOff(A1), DeclareOff(A1, power_off=True)):
        refused = h.ask(wanted)
        assert isinstance(refused, Denied)
        assert "a1 reports" in refused.reason
    h.do(Drain(A1))
    h.end_tasks(only=lambda agent: agent.node == "a1")
    h.run(10)
    answer = ask_later(h, DeclareOff(A1, power_off=True))
    h.mono_s += 0.5
    done(h)
    assert isinstance(answer(), Done)


def test_who_waits_is_told_when_the_node_says_hello() -> None:
    h = silent()
    answer = ask_later(h, DeclareOff(A1))
    h.cut_off.clear()
    h.join("a1")
    denied = answer()
    assert isinstance(denied, Denied)
    assert "its agent has connected" in denied.reason
