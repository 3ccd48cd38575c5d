"""Greetings, silence, off and on: who is believed, and what stays in the books meanwhile."""

import msgspec
import pytest

from support.core.harness import Harness, joined
from support.core.sites import gpu, job, site
from wattline_protocol.ids import Epoch, NodeId, Sequence
from wattline_protocol.wire.agent_messages import (
    Beat,
    CommandDone,
    Refused,
    Rehello,
    StopTask,
    TaskUpdate,
    Welcome,
)
from wattline_protocol.wire.client_messages import DeclareOff, DeclareOn, Denied, Drain
from wattline_scheduler.core.invariants import check_invariants


@pytest.fixture
def h() -> Harness:
    return joined(site().rack("a", 2).build())


def test_a_node_never_heard_counts_at_nameplate() -> None:
    h = Harness(site().rack("a", 2, kw=15.0).build())
    assert h.committed_kw("a1") == pytest.approx(10.2)
    assert h.node("a1").state == "never heard"
    assert "pdu-a" in h.cluster.state.overruns, "two nameplates do not fit 15 kW, and it is said"
    h.join()
    assert not h.cluster.state.overruns
    assert len(h.events("nodes_unheard")) == 1
    assert not h.events("over_budget") + h.events("budget_met"), "a start is no alarm"


def test_a_node_declared_off_in_the_site_file_counts_nothing() -> None:
    h = Harness(site().rack("a", 1, is_off=True).build())
    assert h.committed_kw("a1") == 0
    assert h.node("a1").state == "off"


def test_another_protocol_version_is_refused_with_both_versions(h: Harness) -> None:
    h.say("a1", h.agent("a1").hello(protocol=7))
    refused = h.sent_to("a1", Refused)[-1]
    assert isinstance(refused, Refused)
    assert "protocol 7" in refused.reason
    assert "speaks 1" in refused.reason


def test_a_node_that_claims_another_id_is_refused(h: Harness) -> None:
    before = h.node("a2").record
    h.say("a1", h.agent("a1").hello(node=NodeId("a2")))
    refused = h.sent_to("a1", Refused)[-1]
    assert isinstance(refused, Refused)
    assert "a1" in refused.reason
    assert "a2" in refused.reason
    assert h.node("a2").record == before


def test_the_same_hello_twice_gets_the_same_welcome(h: Harness) -> None:
    hello = h.agent("a1").hello()
    h.say("a1", hello)
    h.say("a1", hello)
    first, second = h.sent_to("a1", Welcome)[-2:]
    assert first == second


def test_two_agents_with_one_key_are_told_once(h: Harness) -> None:
    """Each takes the node from the other, which says Hello again with its next beat."""
    for number in range(8):
        h.say("a1", h.agent("a1").hello(hostname=f"host-{number % 2}"))
        h.run(2)
    (event,) = h.events("node_greets_often")
    assert event.level == "alarm"
    assert event.text == (
        "5 new greetings of a1 within 8 s, the last from host host-1: "
        "two agents use its key, or its agent ends again and again"
    )


def test_greetings_that_waited_for_a_scheduler_that_stood_still_are_one(h: Harness) -> None:
    for _ in range(8):
        h.say("a1", h.agent("a1").hello())
    h.run(2)
    assert not h.events("node_greets_often")


def test_an_agent_that_is_restarted_now_and_then_is_no_alarm(h: Harness) -> None:
    for _ in range(8):
        h.join("a1")
        h.run(12)
    assert not h.events("node_greets_often")


def test_a_late_repeat_of_an_older_hello_is_no_greeting(h: Harness) -> None:
    old = h.agent("a1").hello()
    h.say("a1", old)
    h.join("a1")
    incarnation = h.node("a1").incarnation
    h.say("a1", old)
    assert h.node("a1").incarnation == incarnation
    assert h.node("a1").is_adopted


def test_words_of_an_earlier_incarnation_change_nothing(h: Harness) -> None:
    number = h.submit(job().gpus(1))
    name = h.gang(number).live[0].node
    agent = h.agent(name)
    old_beat = agent.beat()
    old_end = TaskUpdate(agent.epoch, agent.incarnation, agent.reports()[0])
    h.join(name)
    before = h.node(name).beat
    h.mono_s += 5
    h.say(name, old_beat)
    h.say(name, old_end)
    assert h.node(name).beat is before
    asked = [m for m in h.sent_to(name, Rehello) if isinstance(m, Rehello)]
    assert len(asked) == 1, "asked once a period, not once a message"


def test_words_of_another_epoch_change_nothing(h: Harness) -> None:
    """A restored store may issue incarnation numbers anew: the epoch tells them apart."""
    before = h.node("a1").beat
    h.say("a1", h.agent("a1").beat(epoch=Epoch(99)))
    assert h.node("a1").beat is before
    assert h.sent_to("a1", Rehello)


def test_a_welcomed_agent_has_time_to_read_back_its_caps(h: Harness) -> None:
    agent = h.agent("a1")
    beat = agent.beat()
    h.cut_off.add(NodeId("a1"))
    h.say("a1", agent.hello())
    h.say("a1", beat)
    assert not h.sent_to("a1", Rehello)
    h.mono_s += 3
    h.say("a1", beat)
    assert h.sent_to("a1", Rehello)


def test_an_unknown_node_is_not_answered(h: Harness) -> None:
    assert not h.say("nowhere", h.agent("a1").hello())


def test_a_silent_node_is_told_of_and_heard_again(h: Harness) -> None:
    h.cut_off.add(NodeId("a1"))
    h.run(20)
    assert h.node("a1").state == "silent"
    assert h.events("node_silent")
    h.cut_off.clear()
    h.run(3)
    assert h.node("a1").state == "ok"
    assert h.events("node_heard")


def test_a_farewell_makes_a_node_silent_at_once_and_keeps_its_lease(h: Harness) -> None:
    h.agent("a1").say_farewell()
    h.settle()
    assert h.node("a1").state == "silent"
    assert h.committed_kw("a1") > 1
    assert "a1" not in {a.node for a in h.gang(h.submit(job().gpus(1))).live}


def test_an_observing_node_counts_in_full_and_gets_no_tasks(h: Harness) -> None:
    h.agent("a1").is_observe = True
    h.join("a1")
    h.run(2)
    assert h.node("a1").state == "observe"
    assert h.committed_kw("a1") == pytest.approx(10.2)
    assert h.gang(h.submit(job().gpus(1))).live[0].node == "a2"


# --- off and on -------------------------------------------------------------------------


def off(h: Harness, name: str) -> None:
    h.cut_off.add(NodeId(name))
    h.run(20)
    h.do(DeclareOff(NodeId(name), name))


def test_off_frees_the_watts_and_loses_the_tasks(h: Harness) -> None:
    number = h.submit(job().gpus(1))
    first = h.gang(number).live[0].node
    off(h, first)
    assert h.committed_kw(first) == 0
    h.run(3)
    assert h.state_of(number) == "RUNNING"
    assert h.gang(number).live[0].node != first
    assert h.gang(number).past[0].record.state == "NODE_FAIL"


@pytest.mark.parametrize("typed", ["", "yes", "a2"])
def test_off_needs_the_nodes_name_typed(h: Harness, typed: str) -> None:
    h.cut_off.add(NodeId("a1"))
    h.run(20)
    answer = h.ask(DeclareOff(NodeId("a1"), typed))
    assert isinstance(answer, Denied)
    assert "'a1'" in answer.reason
    assert h.committed_kw("a1") > 0


def test_a_node_that_is_heard_is_not_off(h: Harness) -> None:
    answer = h.ask(DeclareOff(NodeId("a1"), "a1"))
    assert isinstance(answer, Denied)
    assert answer.kind == "conflict"


@pytest.mark.parametrize("kind", ["epoch", "gpus"])
def test_a_hello_that_is_refused_shows_that_its_node_is_not_off(h: Harness, kind: str) -> None:
    off(h, "a1")
    hello = h.agent("a1").hello()
    if kind == "epoch":
        hello = msgspec.structs.replace(hello, epoch_seen=Epoch(10_000))
    else:
        gpus = (msgspec.structs.replace(hello.gpus[0], idle_mw=9_000_000), *hello.gpus[1:])
        hello = msgspec.structs.replace(hello, gpus=gpus)
    h.say("a1", hello)
    assert not h.node("a1").record.is_off
    assert h.cluster.state.books.entry(NodeId("a1")).standing == "full"
    check_invariants(h.cluster, h.now)


def test_a_hello_of_an_off_node_counts_it_in_full_at_once_with_an_alarm(h: Harness) -> None:
    off(h, "a1")
    h.say("a1", h.agent("a1").hello())
    assert h.committed_kw("a1") == pytest.approx(10.2)
    assert h.events("node_off_but_heard")[-1].level == "alarm"
    assert not h.node("a1").record.is_off


def test_any_word_of_an_off_node_counts_it_in_full(h: Harness) -> None:
    off(h, "a1")
    h.say("a1", h.agent("a1").beat())
    assert h.committed_kw("a1") == pytest.approx(10.2)


def test_on_counts_at_nameplate_until_heard(h: Harness) -> None:
    off(h, "a1")
    h.do(DeclareOn(NodeId("a1")))
    assert h.committed_kw("a1") == pytest.approx(10.2)
    h.cut_off.clear()
    h.join("a1")
    h.run(2)
    assert h.committed_kw("a1") < 2


# --- what agents report -----------------------------------------------------------------


def test_a_task_not_on_record_is_stopped(h: Harness) -> None:
    number = h.submit(job().gpus(1))
    name = h.gang(number).live[0].node
    task = next(iter(h.agent(name).tasks.values()))
    other = "a2" if name == "a1" else "a1"
    h.agent(other).tasks = {task.order.ref: task}
    h.join(other)
    assert h.sent_to(other, StopTask)
    assert h.events("stray_stopped")
    assert not h.agent(other).tasks, "and forgotten once it has ended"


def test_a_lost_gpu_is_given_to_no_task(h: Harness) -> None:
    h.do(Drain(NodeId("a2")))
    beat: Beat = h.agent("a1").beat()
    lost = msgspec.structs.replace(beat.gpus[0], lost=True)
    h.say("a1", msgspec.structs.replace(beat, gpus=(lost, *beat.gpus[1:])))
    number = h.submit(job().gpus(8))
    assert h.state_of(number) == "PENDING"
    assert h.events("gpu_lost")


def test_a_broken_gpu_makes_a_job_wait_not_impossible(h: Harness) -> None:
    for name in ("a1", "a2"):
        agent = h.agent(name)
        agent.gpus = [msgspec.structs.replace(agent.gpus[0], healthy=False), *agent.gpus[1:]]
        h.join(name)
    number = h.submit(job().gpus(8))
    assert h.state_of(number) == "PENDING"
    assert "no node has more than 8" in h.refuse(job().gpus(9))


def test_an_uncappable_gpu_counts_in_full(h: Harness) -> None:
    h.agent("a1").gpus = [gpu(i, can_cap=False) for i in range(8)]
    h.agent("a1").caps_mw = {g.index: g.cap_max_mw for g in h.agent("a1").gpus}
    h.join("a1")
    h.do(Drain(NodeId("a2")))
    h.submit(job().gpus(1))
    h.run(2)
    full_kw = (1_000 + 7 * 80 + 700 * 1.03) / 0.95 / 1000
    assert h.committed_kw("a1") >= full_kw - 0.001


def test_more_base_load_than_the_site_file_says_is_an_alarm_and_counts(h: Harness) -> None:
    before_kw = h.committed_kw("a1")
    h.say("a1", h.agent("a1").beat(non_gpu_mw=1_500_000))
    h.run(3)
    assert h.events("base_above_worst")[-1].level == "alarm"
    assert h.committed_kw("a1") == pytest.approx(before_kw + 0.5 / 0.95, abs=0.01)


def test_an_answer_to_nothing_changes_nothing(h: Harness) -> None:
    agent = h.agent("a1")
    effects = h.say("a1", CommandDone(agent.epoch, agent.incarnation, Sequence(77), "done"))
    assert effects == []
